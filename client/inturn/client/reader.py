"""Reading a session's journal.

Invariant: a reader sees every entry once, in order of seq, from wherever it begins; who follows sees new ones as they
are committed. Reading needs no worker and leaves no trace in any history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from inturn.client.connection import Connection
from inturn.keys import SessionKey
from inturn.values import Entry, Parked

_PAGE: Final = 500
_SHORTEST_LOOK: Final = 0.03
_LONGEST_LOOK: Final = 0.5
_ENDS: Final = frozenset({"turn.completed", "turn.interrupted", "turn.failed"})
_WITHOUT_TURN: Final = frozenset({"event.parked", "event.cancelled", "event.expired", "event.rejected"})


@dataclass
class Reading:
    """The views of one session."""

    connection: Connection
    key: SessionKey

    async def entries(
        self, after: int = 0, *, event_id: str | None = None, follow: bool = False
    ) -> AsyncIterator[Entry]:
        """Yield entries in order; see `Session.entries`."""
        journal = await self.connection.any_journal()
        look = _SHORTEST_LOOK
        while True:
            page = await journal.read(self.key, after=after, limit=_PAGE, event_id=event_id)
            for entry in page:
                after = entry.seq
                yield entry
                if follow and entry.type == "session.closed":
                    return
            if len(page) == _PAGE:
                continue
            if not follow:
                return
            look = _SHORTEST_LOOK if page else min(look * 1.5, _LONGEST_LOOK)
            await asyncio.sleep(look)

    async def stream(self, event_id: str, *, after: int = 0) -> AsyncIterator[Entry]:
        """Yield one turn's entries as they come, up to its end; see `Session.stream`."""
        followed: str | None = event_id
        while followed is not None:
            current, followed = followed, None
            if after and (end := await self._ended(current, after)):
                followed = end.body.get("into") if end.type == "event.merged" else None
                continue
            async for entry in self.entries(after, event_id=current, follow=True):
                yield entry
                if entry.type == "event.merged":
                    followed = entry.body.get("into")
                    break
                if _is_end(entry) and not await self._driven_again(current, entry.seq):
                    return

    async def _ended(self, event_id: str, after: int) -> Entry | None:
        """Give the entry up to `after` with which an event ended, where that is the last word."""
        journal = await self.connection.any_journal()
        types = (*_ENDS, *_WITHOUT_TURN, "event.merged")
        ends = await journal.read(self.key, event_id=event_id, types=types)
        ends = [entry for entry in ends if entry.type == "event.merged" or _is_end(entry)]
        if not ends or ends[-1].seq > after or await self._driven_again(event_id, ends[-1].seq):
            return None
        return ends[-1]

    async def _driven_again(self, event_id: str, after: int) -> bool:
        """Tell whether another turn of the event has begun: a redrive."""
        journal = await self.connection.any_journal()
        return bool(await journal.read(self.key, after=after, limit=1, event_id=event_id, types=("turn.started",)))

    async def transcript(self) -> list[dict[str, Any]]:
        """Give the messages as the model sees them."""
        from inturn.journal.views.transcript import Transcript

        transcript = Transcript()
        async for entry in self.entries():
            transcript.apply(entry)
        return transcript.request_messages()

    async def parked(self) -> list[Parked]:
        """Give the latest events that are parked now, as the journal knows them."""
        journal = await self.connection.any_journal()
        return [_parked(entry) for entry in await journal.parked(self.key)]


def _is_end(entry: Entry) -> bool:
    """Tell whether a turn may end with an entry; one of a delivery that was set aside says nothing of the turn."""
    return entry.type in _ENDS | _WITHOUT_TURN and "delivery" not in entry.body


@dataclass(frozen=True)
class Cursor:
    """A stored place in sessions' journals, by name.

    It moves forward only, and only after its entry was handled: when the loop over `entries` asks for the next one. A
    reader that dies in the middle of an entry sees that entry again.
    """

    connection: Connection
    tenant: str
    name: str

    async def entries(self, session_id: str, *, follow: bool = False) -> AsyncIterator[Entry]:
        """Yield a session's entries from the stored place on.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        reading = Reading(self.connection, SessionKey(self.tenant, session_id))
        async for entry in reading.entries(await self.position(session_id), follow=follow):
            yield entry
            await self.move(session_id, entry.seq)

    async def position(self, session_id: str) -> int:
        """Give the seq of the last entry that was handled, 0 where none was."""
        journal = await self.connection.any_journal()
        return await journal.cursor(self.tenant, self.name, session_id)

    async def move(self, session_id: str, seq: int) -> int:
        """Move it to `seq`, never back; gives where it stands."""
        journal = await self.connection.any_journal()
        return await journal.move_cursor(self.tenant, self.name, session_id, seq)


def _parked(entry: Entry) -> Parked:
    body = entry.body
    return Parked(
        event_id=entry.event_id or "",
        error=str(body.get("error", "")),
        attempts=int(body.get("attempts") or 0),
        at=entry.at,
        preview=str(body.get("preview", "")),
    )
