"""Room for one step's request: when its conversation is compacted, and how often.

Invariant: the same for the worker and for `inturn.testing.run`. What stands for the beginning is written down before
any request relies on it. A step compacts once by its own count; a few times more, and by less trusting means, only
where the model itself says that it is too much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from inturn.errors import ModelError
from inturn.journal.views.transcript import Transcript
from inturn.models import ModelMessage, ModelRequest
from inturn.turns import tokens
from inturn.turns.compaction import Compaction, Room
from inturn.turns.room.compacting import Compacting
from inturn.turns.room.summaries import Summariser
from inturn.turns.thinning import thinned
from inturn.values import Usage

MOST: Final = 4
"""Times that one step compacts."""

LeaveOut = Callable[[dict[str, Any]], Awaitable[Transcript]]
"""Writes down what is left out of what is shown."""
Write = Callable[[dict[str, Any], int, Usage], Awaitable[Transcript]]
"""Writes down what stands for the beginning; also given: the how many-th it is of its step, and what it used."""


@dataclass(frozen=True, slots=True)
class RoomMaker:
    """Makes room for a step.

    Attributes:
        room: What its requests have.
        settings: The agent's; `None`: only what must be.
        by: Who summarises.
        of: The step's name in its session.
        request: Makes the request of a transcript.
        write: Writes an entry.
        leave_out: Writes one that leaves something out.
    """

    room: Room
    settings: Compaction | None
    by: Summariser
    of: str
    request: Callable[[Transcript], ModelRequest]
    write: Write
    leave_out: LeaveOut

    async def make_room(self, transcript: Transcript, event_id: str, *, first: bool, asked: bool) -> Transcript:
        """Return the transcript, compacted where its request leaves too little room, or somebody asked for it.

        Args:
            transcript: The conversation.
            event_id: Whose turn it is.
            first: It is the turn's first step.
            asked: Somebody asked for it.

        Raises:
            ModelError: What is new fits into no request; or the model is away, which passes.
        """
        self._check(transcript, event_id)
        return await self._thinned(await self._with_room(transcript, first=first, asked=asked))

    async def _with_room(self, transcript: Transcript, *, first: bool, asked: bool) -> Transcript:
        if compactions_of(self.of, transcript):
            return transcript  # what comes is only guessed: of more, the model itself says that it is too much
        making = self._compacting(transcript)
        full = self.settings is not None and making.full
        if not (full or asked or (first and self._is_much(transcript.size) and making.worth_it())):
            return transcript
        return await self._compact(making, transcript, needed=full) or transcript

    def _is_much(self, size: int) -> bool:
        return self.settings is not None and size > self.settings.soft * self.by.window(self.room)

    async def _thinned(self, transcript: Transcript) -> Transcript:
        """Return the transcript without the oldest of what it shows, where that is too much for one request."""
        most = self.by.form(self.by.model).images
        body = None if most is None else thinned(transcript, self.request(transcript).messages, most)
        return transcript if body is None else await self.leave_out(body)

    def results(self, message: ModelMessage, guessed: int, calls: int) -> tuple[int | None, int]:
        """Return the bytes that each result of an answer's calls may have, and how many of them run.

        `guessed`: the tokens of the request that it answers.
        """
        if self.settings is None:
            return None, calls
        return self.room.results(size_of(message, guessed), calls)

    def _check(self, transcript: Transcript, event_id: str) -> None:
        """Refuse what fits into no request, and is this event's own."""
        pending = transcript.asked_size(event_id)
        if self.settings is not None and not self.room.takes(pending):
            message = f"too large for the model's window: {pending:,} tokens at least, of {self.room.window:,}"
            raise ModelError(message, kind="own")

    async def compact(self, transcript: Transcript) -> Transcript | None:
        """Compact once more, since the model itself says that it is too much; `None`: there is nothing to compact.

        Nothing is known of how much would fit: as little as can be is kept.

        Raises:
            ModelError: The model is away, or its account is in trouble: that passes.
        """
        return await self._compact(self._compacting(transcript, tight=True), transcript, needed=True, tight=True)

    async def _compact(
        self, making: Compacting, transcript: Transcript, *, needed: bool, tight: bool = False
    ) -> Transcript | None:
        done = compactions_of(self.of, transcript)
        number = len(done) + 1
        if number > MOST:
            return None
        body = await making.body(needed=needed, asks=not any(body.get("tight", False) == tight for body in done))
        if body is None:
            return None
        body |= {"tight": True} if tight else {}
        smaller = await self.write({**body, "of": self.of}, number, making.used)
        return smaller if len(compactions_of(self.of, smaller)) == number else None

    def _compacting(self, transcript: Transcript, *, tight: bool = False) -> Compacting:
        return Compacting(self.by, self.request(transcript), transcript, self.room, tight=tight)


def compactions_of(step: str, transcript: Transcript) -> list[dict[str, Any]]:
    """Return what a step compacted, whichever attempt of it."""
    return [entry.body for entry in transcript.compactions if entry.body.get("of") == step]


def size_of(message: ModelMessage, guessed: int) -> int:
    """Return the tokens of a request and its answer: as the model counted them, or else as they were guessed."""
    usage = message.usage
    counted = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return (counted or guessed) + (usage.output_tokens or tokens.of_value(message.content))
