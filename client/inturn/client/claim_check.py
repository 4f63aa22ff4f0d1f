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
from inturn.client.retries import retry_rpc
from inturn.client.transport import Message, SessionTransport
from inturn.errors import Backpressure, JournalUnavailable, SessionNotFound
from inturn.events import Event, split

PUT_WITHIN: Final = 1.0
"""Seconds that the journal has to take a content; a sender with a deadline must not wait longer for it."""
RETRY_AFTER: Final = 10.0
"""Seconds after which a run that is full may have made room: a worker ends it once its turn allows."""


@dataclass(frozen=True)
class ClaimCheck:
    """Decides how the events of one session travel."""

    transport: SessionTransport

    async def carried(self, event: Event) -> Message:
        """Return the message that travels for an event.

        Raises:
            Backpressure: It is large, the run has no room for it, and this client names no journal.
            JournalUnavailable: The same, and the journal that it names does not answer.
            Unavailable: The server could not be asked what room there is.
        """
        wire = event.wire()
        size = sizes.written(wire)
        if size <= sizes.INLINE:
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

    async def _check_room(self, size: int, away: BaseException | None) -> None:
        """Check that the run has room for so many bytes; it needs no worker."""
        session, patience = str(self.transport.key), self.transport.patience
        try:
            seen = await retry_rpc(self.transport.describe, patience=patience, session=session)
        except SessionNotFound:
            return
        used = seen.raw_description.workflow_execution_info.history_size_bytes
        if seen.status is not WorkflowExecutionStatus.RUNNING or used + size <= sizes.INLINE_RUN:
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
