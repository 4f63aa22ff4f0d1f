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
        keep_turns: Turns that stay as they are, where they take no more than a fifth of the window.
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
        """Check the numbers.

        Raises:
            ValueError: One is none of its kind.
        """
        if not 0 < self.soft <= 1:
            raise ValueError(f"soft={self.soft!r:.60} is no part of the window, more than 0 and at most 1")
        if self.keep_turns < 0:
            raise ValueError(f"keep_turns={self.keep_turns!r:.60} is no number of turns")
        if self.window is not None and self.window < 4 * SHORTEST:
            raise ValueError(f"window={self.window!r:.60} is no window: {4 * SHORTEST:,} tokens at least")


@dataclass(frozen=True, slots=True)
class Room:
    """The tokens that a request has.

    Attributes:
        window: Of the request and its answer together.
        answer: Of the longest answer.
        bounded: Answers are shorter where there is less room.
    """

    window: int
    answer: int
    bounded: bool = True

    @classmethod
    def of(cls, known: ModelFacts, max_tokens: int, compaction: Compaction | None) -> Room:
        """Return the room of a model's requests, by its facts and an agent's settings."""
        asked = compaction.window if compaction is not None else None
        window = known.window if asked is None else min(known.window, asked)
        most = min(max_tokens, known.max_output) if known.known else max_tokens
        return cls(window, min(most, window // 2), bounded=compaction is not None)

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
    def most(self) -> int:
        """What a request may have that brings the longest answer."""
        return self.window - self.answer - self.margin

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
