"""When a conversation is compacted, and how much of it stays.

Invariant: one set of rules for the worker and for `inturn.testing.run`, over numbers alone. A request is made so that
it and its answer fit into the model's window; what fits into no window is said before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inturn.models.facts import ModelFacts

SHORTEST: Final = 1_024
"""Tokens of an answer that is worth its prompt: where there is room or money for less, none is asked for."""
SUMMARY: Final = 4_096
"""Tokens of a summary."""
RESULT: Final = 32 * 1024
"""Bytes of a tool's result where there is room."""
SMALL_RESULT: Final = 512
"""Bytes of one where there is hardly any."""
_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class Compaction:
    """How an agent's sessions are compacted; `Agent(compaction=None)` does it only where nothing else helps.

    Attributes:
        soft: The part of the window that a conversation may fill: beyond it the next turn begins with a summary.
        keep_turns: Turns that stay as they are, one at least, where they take no more than a fifth of the window.
        instructions: What the summary is asked for, instead of the default.
        model: Who writes it; `None`: the agent's own model.
        window: Tokens that a conversation may have, where that is less than the model's window: long contexts cost.
    """

    soft: float = 0.7
    keep_turns: int = 4
    instructions: str | None = None
    model: str | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        """Check what no session is needed for.

        Raises:
            ValueError: A setting is none of its kind.
        """
        if not _is_number(self.soft) or not 0 < self.soft <= 1:
            raise ValueError(f"soft={self.soft!r:.60} is no part of the window, more than 0 and at most 1")
        if type(self.keep_turns) is not int or self.keep_turns < 1:
            raise ValueError(f"keep_turns={self.keep_turns!r:.60} is no number of turns, 1 or more")
        if self.window is not None and (type(self.window) is not int or self.window < 4 * SHORTEST):
            raise ValueError(f"window={self.window!r:.60} is no window: {4 * SHORTEST:,} tokens at least")
        for name, text in (("instructions", self.instructions), ("model", self.model)):
            if text is not None and not _says(text):
                raise ValueError(f"{name}={text!r:.60} is blank, or no text that can be sent: None, or say something")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _says(value: object) -> bool:
    """Return whether a value is a text that says something, and can be sent."""
    try:
        return isinstance(value, str) and bool(value.encode().strip())
    except UnicodeEncodeError:  # half a character
        return False


@dataclass(frozen=True, slots=True)
class Room:
    """The tokens that a request has.

    Attributes:
        window: Of the request and its answer together.
        answer: Of the longest answer.
        bounded: Answers are shorter where there is less room.
        longest: Of the longest answer that the model gives to anybody, as far as that is known.
    """

    window: int
    answer: int
    bounded: bool = True
    longest: int = 4 * SUMMARY

    @classmethod
    def of(cls, known: ModelFacts, max_tokens: int, compaction: Compaction | None) -> Room:
        """Return the room of a model's requests, by its facts and an agent's settings."""
        asked = compaction.window if compaction is not None else None
        answer = min(max_tokens, known.max_output) if known.known else max_tokens
        if not known.known:  # what nobody knows is a guess, and less than what somebody says of it
            window = max(known.window, 2 * answer) if asked is None else asked
            longest = max(answer, SUMMARY)
        else:
            window = known.window if asked is None else min(known.window, asked)
            longest = known.max_output
        if compaction is None:
            return cls(window, answer, bounded=False, longest=longest)
        return cls(window, min(answer, window // 2), longest=longest)

    @property
    def margin(self) -> int:
        """What is left free: numbers are guesses."""
        return self.window // 50

    @property
    def kept(self) -> int:
        """What is kept as it is, at most."""
        return self.window // 5

    @property
    def summary(self) -> int:
        """What a summary takes."""
        return min(SUMMARY, self.window // 8)

    @property
    def longest_summary(self) -> int:
        """What a summary may take at most: beyond that it is none."""
        return max(2 * self.summary, self.window // 10)

    @property
    def most(self) -> int:
        """What a request may have that brings the longest answer."""
        return self.window - min(self.answer, self.window // 2) - self.margin

    def new(self, pending: int, beside: int) -> int:
        """Return what is counted of something new: what it takes is a guess, and a fifth stays for what was said.

        Args:
            pending: What it takes.
            beside: What stands beside it whatever is left out.
        """
        beside += self.summary
        return pending if self.fits(beside + pending) else min(pending, max(0, self.most - beside - self.kept))

    def summary_of(self, tokens: int) -> int:
        """Return the most tokens of an answer that summarises so many: what the model thinks of it counts."""
        left = min(self.longest, 4 * self.summary, self.window - tokens - self.margin)
        return max(self.summary, left)

    def fits(self, tokens: int) -> bool:
        """Return whether a request leaves room for the longest answer."""
        return tokens <= self.most

    def takes(self, pending: int) -> bool:
        """Return whether what is new can be sent at all, with nothing beside it but a summary."""
        return pending <= self.window - min(self.answer, self.window // 4) - min(2_000, self.window // 10)

    def answer_to(self, tokens: int) -> int:
        """Return the most tokens of the answer to a request: fewer where there is less room, but never none."""
        left = max(SHORTEST, self.window - tokens - self.margin)
        return min(self.answer, left) if self.bounded else self.answer

    def results(self, tokens: int, calls: int) -> tuple[int | None, int]:
        """Return the bytes that each result of a step may have (`None`: as many as ever), and how many calls may run.

        Args:
            tokens: Of the request behind the calls, without their results.
            calls: How many there are.
        """
        share = max(0, (self.window - tokens - self.answer) // 2) * _BYTES
        each = share // max(1, calls)
        if each >= RESULT:
            return None, calls
        return max(SMALL_RESULT, each), calls if each >= SMALL_RESULT else max(1, share // SMALL_RESULT)
