"""Large events: what they say goes into the journal first, and a reference travels (claim check).

Invariant: whatever is acknowledged fits into its run. A reference takes hardly any of it; where there is no journal to
refer to, the content goes along as long as the run has room to spare, and is refused before anybody acknowledges it
beyond that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from temporalio.client import WorkflowExecutionStatus

from inturn import sizes
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.transport import Message, SessionTransport
from inturn.errors import Backpressure, JournalUnavailable, SessionNotFound
from inturn.events import Event, split

PUT_WITHIN: Final = 1.0
"""Seconds that the journal has to take a content; a sender with a deadline must not wait longer for it."""
RETRY_AFTER: Final = 10.0
"""Seconds after which a run that is full may have made room: a worker ends it once its turn allows."""


LOOK_AFTER: Final = 64 * 1024
"""Bytes of small events after which a client looks at what the run has."""
OVERHEAD: Final = 300
"""Bytes that a signal has in a history beside its event."""
SESSIONS: Final = 10_000
"""For so many at once a client remembers what it sent."""


@dataclass(frozen=True)
class ClaimCheck:
    """Decides how the events of one session travel."""

    transport: SessionTransport

    async def carried(self, event: Event) -> Message:
        """Return the message that travels for an event.

        Raises:
            Backpressure: The run has no room for it: where it is large, this client names no journal.
            JournalUnavailable: The same, and the journal that it names does not answer.
            Unavailable: The server could not be asked what room there is.
        """
        wire = event.wire()
        size = sizes.written(wire)
        if size <= sizes.INLINE:
            await self._look_now_and_then(size)
            return wire
        travels, kept = split(event)
        away: BaseException | None = None
        try:
            async with asyncio.timeout(PUT_WITHIN):
                journal = await self.transport.connection.journal()
                if journal is not None:
                    claim = await journal.put_content(self.transport.key, str(event.event_id), kept)
                    return travels | {"claim": claim}
        except (JournalUnavailable, TimeoutError) as error:
            away = error
        await self._check_room(size, away)
        return wire

    async def _look_now_and_then(self, size: int) -> None:
        """Check the run's room once for many small events; once it has none, for each."""
        session, sent = str(self.transport.key), self.transport.connection.unlooked
        if len(sent) > SESSIONS:
            sent.clear()
        sent[session] = sent.get(session, 0) + size + OVERHEAD
        if sent[session] < LOOK_AFTER:
            return
        if (used := await self._used()) > sizes.SIGNALLED_RUN:
            message = f"session {session} has no room: its run has {used:,} bytes, and ends once a worker lets it"
            raise Backpressure(message, retry_after=RETRY_AFTER)
        sent.pop(session, None)

    async def _used(self) -> int:
        """Return the bytes that the run's history has, by the server: it needs no worker."""
        patience = self.transport.patience
        try:
            seen = await retry_rpc(self.transport.describe, patience=patience, session=str(self.transport.key))
        except SessionNotFound:
            return 0
        info = seen.raw_description.workflow_execution_info
        return info.history_size_bytes if seen.status is WorkflowExecutionStatus.RUNNING else 0

    async def _check_room(self, size: int, away: BaseException | None) -> None:
        """Check that the run has room for a large event."""
        session, used = str(self.transport.key), await self._used()
        if used + size <= sizes.INLINE_RUN:
            return
        full = f"session {session} has no room for an event of {size:,} bytes: its run has {used:,}"
        if away is not None:
            reason = str(away) or f"it did not answer within {PUT_WITHIN:g} s"
            raise JournalUnavailable(f"{full}, and the journal cannot take it: {reason}") from away
        raise Backpressure(
            f"{full} of the {sizes.INLINE_RUN:,} that large events of clients without a journal may take: "
            "Client(journal=…) or INTURN_JOURNAL, as for the worker, has no such bound",
            retry_after=RETRY_AFTER,
        )
