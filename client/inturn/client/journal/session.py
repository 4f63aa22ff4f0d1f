"""What a session's handle reads of the journal, and what it makes of it.

Invariant: none of it needs a worker, and none of it leaves a trace in any history.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from inturn.client.journal.forking import fork
from inturn.client.reader import SessionReader
from inturn.client.temporal.transport import SessionTransport
from inturn.values import Delta, Entry


class JournalledSession:
    """A session as the journal has it."""

    def __init__(self, transport: SessionTransport) -> None:
        """Read one session."""
        self._transport = transport
        self._reader = SessionReader(transport.connection, transport.key)

    async def fork(self, new_id: str, *, upto: str | None = None) -> Self:
        """Make a session that goes on from where a turn of this one ended, and return its handle.

        The fork begins with the same frozen instructions and tools, and with all that was said up to there; its events
        are its own, and nothing of this session changes. It costs no history: its first event starts it. The same call
        again returns the same fork. Of a fork, `entries` gives what came since, and `transcript` all.

        Args:
            new_id: An id that no session of the tenant ever had.
            upto: An event whose turn has ended. `None`: as far as this session is, without a turn that runs.

        Raises:
            InvalidEvent: No such turn of this session has ended, or there is a session with the new id.
            SessionNotFound: The journal has no such session.
            JournalUnavailable: The journal cannot be written.
            Unavailable: The server did not say whether the new id is in use.
        """
        return type(self)(await fork(self._transport, new_id, upto))

    def entries(self, after: int = 0, *, event_id: str | None = None, follow: bool = False) -> AsyncIterator[Entry]:
        """Yield the journal's entries in order.

        Args:
            after: The last `seq` that is known already.
            event_id: Only entries of this event.
            follow: Do not end with the last entry but wait for more, until the session is closed.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        return self._reader.entries(after, event_id=event_id, follow=follow)

    def stream(self, event_id: str | None, *, after: int = 0, deltas: bool = True) -> AsyncIterator[Entry | Delta]:
        """Yield the entries of one turn as they are written, up to its end. A merged event's go on in its host's turn.

        Args:
            event_id: The event; it may be one that is only about to be sent. `None`: all, until the session is closed.
            after: The last `seq` that is known already.
            deltas: Whether what the model says comes as it says it, before the entry that holds it (see `Delta`).

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        return self._reader.stream(event_id, after=after, deltas=deltas)

    async def transcript(self) -> list[dict[str, Any]]:
        """Return the conversation as the model sees it: messages of Anthropic's Messages API.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        return await self._reader.transcript()

    async def read_blob(self, ref: str) -> bytes:
        """Return the whole of a tool result that the journal keeps beside its entry, which is cut and names it.

        Args:
            ref: `sha256:…`, as the entry has it; of this session, or of one that it was forked from.

        Raises:
            InvalidEvent: The session has no such reference.
            JournalUnavailable: The journal cannot be read.
        """
        return await self._reader.blob(ref)
