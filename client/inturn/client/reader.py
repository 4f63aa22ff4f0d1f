"""Reading a session's journal.

Invariant: a reader sees every entry once, in order of seq, from wherever it begins; who follows sees new ones as they
are committed, and who asks for it what models say before that. Reading needs no worker and leaves no trace in any
history.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from inturn.client.preview import Preview
from inturn.client.temporal.connection import Connection
from inturn.errors import InvalidEvent
from inturn.journal.log.pruned import CLOSES
from inturn.journal.views.transcript import Transcript
from inturn.keys import SessionKey
from inturn.values import Delta, Entry, Parked

MAX_SEQ: Final = 2**63
"""What no seq reaches: the journal keeps them in 64 bits."""
_ENDS: Final = frozenset({"turn.completed", "turn.interrupted", "turn.failed"})
_WITHOUT_TURN: Final = frozenset({"event.parked", "event.cancelled", "event.expired", "event.rejected"})
_ANSWERS: Final = ("agent.message",)
_WINDOW: Final = 50
"""Entries among which the last answer is looked for at first; a session may have a hundred thousand."""
_LAST: Final = (*_ENDS, *_WITHOUT_TURN, "event.merged")


@dataclass
class SessionReader:
    """The views of one session."""

    connection: Connection
    key: SessionKey

    async def entries(
        self, after: int = 0, *, event_id: str | None = None, follow: bool = False
    ) -> AsyncIterator[Entry]:
        """Yield entries in order; see `Session.entries`."""
        _check(after)
        journal = await self.connection.any_journal()
        if not follow:
            async for entry in journal.entries(self.key, after=after, event_id=event_id):
                yield entry
            return
        async with aclosing(self._followed(after, event_id)) as found:
            async for new in found:
                if isinstance(new, Entry):
                    yield new

    async def _followed(
        self, after: int, event_id: str | None, preview: Preview | None = None
    ) -> AsyncGenerator[Entry | Delta]:
        """Yield entries as they are committed, until the session is closed; and what comes before them of answers."""
        journal, hub = await self.connection.any_journal(), await self.connection.hub()
        closed = await self._closed(after)
        if preview and after:
            await self._note_answers(preview, after, event_id)
        with hub.watching.watched(self.key) if preview else nullcontext():
            while not closed:
                head, rows = await hub.news(self.key, after=after, place=preview.place if preview else None)
                if head > after:
                    async for entry in journal.entries(self.key, after=after, event_id=event_id):
                        after, closed = entry.seq, closed or entry.type in CLOSES
                        if preview:
                            preview.note(entry)
                        yield entry
                    after = max(after, head)
                    # The close is no entry of the event: what is asked for may never come.
                    closed = closed or (event_id is not None and await self._closed(after))
                for delta in (delta for row in rows if preview for delta in preview.shown(row)):
                    yield delta

    async def _note_answers(self, preview: Preview, after: int, event_id: str | None) -> None:
        """Note what its reader has of answers: the last will do, for each is by a higher attempt than those before."""
        journal, start, window = await self.connection.any_journal(), after, _WINDOW
        while start > 0:
            start, window = max(0, start - window), 2 * window
            found = await journal.read(self.key, after=start, limit=window, event_id=event_id, types=_ANSWERS)
            for entry in found:
                preview.note(entry, upto=after)
            if found and found[0].seq <= after:
                return

    async def _closed(self, after: int) -> bool:
        """Return whether the session's close is among the entries up to `after`."""
        journal = await self.connection.any_journal()
        closed = await journal.read(self.key, limit=1, types=CLOSES)
        return bool(closed) and closed[0].seq <= after

    async def stream(
        self, event_id: str | None, *, after: int = 0, deltas: bool = True
    ) -> AsyncIterator[Entry | Delta]:
        """Yield one turn's entries as they come, up to its end, or all of the session; see `Session.stream`."""
        _check(after)
        if event_id is None:
            async with aclosing(self._followed(after, None, Preview(None) if deltas else None)) as found:
                async for new in found:
                    yield new
        followed = event_id
        while followed is not None:
            current, followed = followed, None
            if after and (end := await self._ended(current, after)):
                followed = end.body.get("into") if end.type == "event.merged" else None
                continue
            async with aclosing(self._followed(after, current, Preview(current) if deltas else None)) as found:
                async for entry in found:
                    yield entry
                    if isinstance(entry, Delta):
                        continue
                    if entry.type == "event.merged":
                        followed = entry.body.get("into")
                        break
                    if _is_end(entry) and not await self._redriven(current, entry.seq):
                        return

    async def _ended(self, event_id: str, after: int) -> Entry | None:
        """Return the entry up to `after` with which an event ended; `None` where there is one behind, or a redrive."""
        journal = await self.connection.any_journal()
        last: Entry | None = None
        async for entry in journal.entries(self.key, event_id=event_id, types=_LAST):
            if entry.type == "event.merged" or _is_end(entry):
                last = entry
        if last is None or last.seq > after or await self._redriven(event_id, last.seq):
            return None
        return last

    async def _redriven(self, event_id: str, after: int) -> bool:
        """Return whether another turn of the event began behind `after`."""
        journal = await self.connection.any_journal()
        return bool(await journal.read(self.key, after=after, limit=1, event_id=event_id, types=("turn.started",)))

    async def transcript(self) -> list[dict[str, Any]]:
        """Return the messages as the model sees them."""
        journal, transcript = await self.connection.any_journal(), Transcript()
        async for entry in journal.conversation(self.key):
            transcript.apply(entry)
        return transcript.request_messages()

    async def parked(self) -> list[Parked]:
        """Return the latest events that are parked now, as the journal knows them."""
        journal = await self.connection.any_journal()
        return [_parked(entry) for entry in await journal.parked(self.key)]

    async def blob(self, ref: str) -> bytes:
        """Return the bytes of a reference that one of the session's entries holds.

        Raises:
            InvalidEvent: This session has no such reference.
            JournalUnavailable: The journal cannot be read.
        """
        journal = await self.connection.any_journal()
        data = await journal.blob(self.key, ref)
        if data is None:
            raise InvalidEvent(f"session {self.key} has nothing under {ref!r:.100}: its entries hold the references")
        return data


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
        reader = SessionReader(self.connection, SessionKey(self.tenant, session_id))
        async for entry in reader.entries(await self.position(session_id), follow=follow):
            yield entry
            await self.move(session_id, entry.seq)

    async def position(self, session_id: str) -> int:
        """Return the seq of the last entry that was handled, 0 where none was."""
        journal = await self.connection.any_journal()
        return await journal.cursor(self.tenant, self.name, session_id)

    async def move(self, session_id: str, seq: int) -> int:
        """Move it to `seq`, never back; return where it is."""
        if not 0 <= seq < MAX_SEQ:
            raise InvalidEvent(f"a cursor moves to the seq of an entry, not to {seq!r:.100}")
        journal = await self.connection.any_journal()
        return await journal.move_cursor(self.tenant, self.name, session_id, seq)


def _check(after: int) -> None:
    if not 0 <= after < MAX_SEQ:
        raise InvalidEvent(f"after is {after!r:.100}, it must be the seq of an entry, or 0")


def _is_end(entry: Entry) -> bool:
    """Return whether a turn may end with an entry; one of a delivery that was set aside ends none."""
    return entry.type in _ENDS | _WITHOUT_TURN and "delivery" not in entry.body


def _parked(entry: Entry) -> Parked:
    body = entry.body
    return Parked(
        event_id=entry.event_id or "",
        error=str(body.get("error", "")),
        attempts=int(body.get("attempts") or 0),
        at=entry.at,
        preview=str(body.get("preview", "")),
    )
