"""What was left open when a session's run was ended from outside: terminated, failed or timed out.

Invariant: judged by the server's history and the journal alone; no worker is needed, and what cannot be known is not
taken for nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus

from inturn.client.audit.histories import Accepted, HistoryReader
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InturnError

WITHIN: Final = 5.0
"""Seconds for reading the run."""
_FROM_OUTSIDE: Final = {
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TIMED_OUT: "timed out",
    WorkflowExecutionStatus.CANCELED: "cancelled",
}


def ended_how(seen: WorkflowExecutionDescription) -> str | None:
    """Return how the session's latest run was ended from outside; `None` where it was not."""
    return None if seen.status is None else _FROM_OUTSIDE.get(seen.status)


@dataclass
class EndedRuns:
    """Looks at a run that was ended from outside."""

    transport: SessionTransport

    async def open_events(self, run_id: str) -> list[str] | None:
        """Return the events that a run had accepted, or had begun with, and that have no end; `None`: unknown."""
        accepted = Accepted()
        try:
            async with asyncio.timeout(WITHIN):
                await HistoryReader(self.transport).read(run_id, accepted)
                ended = await self._ended()
        except (InturnError, TimeoutError):
            return None
        return None if accepted.gone else [event_id for event_id in accepted.events if event_id not in ended]

    async def _ended(self) -> set[str]:
        journal, key = await self.transport.connection.any_journal(), self.transport.key
        ended = {event_id for event_id, ending in (await journal.endings(key)).items() if ending.outcome is not None}
        async for entry in journal.entries(key, types=("event.rejected",)):
            ended |= {entry.event_id} if entry.event_id else set()
        return ended
