"""The approvals of one session that wait for a person.

Invariant: what is shown is what was asked, with the arguments as the journal holds them; looking needs no worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from inturn.client.temporal.transport import SessionTransport
from inturn.errors import JournalUnavailable
from inturn.journal.views.approvals import ANSWERED, APPROVAL_ENTRY_TYPES, arguments, pending
from inturn.journal.views.turns import entries_of
from inturn.values import Approval, SessionStatus


@dataclass(frozen=True)
class ApprovalAnswer:
    """The answer of an approval: `approved`, `denied` or `expired`."""

    answer: str
    by: str | None


@dataclass
class ApprovalReader:
    """Reads the approvals of one session."""

    transport: SessionTransport

    async def pending(self) -> tuple[Approval, ...]:
        """Return those that the journal knows.

        Raises:
            JournalUnavailable: It cannot be read.
        """
        journal = await self.transport.connection.any_journal()
        event_id = await journal.latest_event(self.transport.key)
        if event_id is None:
            return ()
        return tuple(pending(await entries_of(journal, self.transport.key, event_id, APPROVAL_ENTRY_TYPES)))

    async def answer(self, approval_id: str) -> ApprovalAnswer | None:
        """Return the answer that the journal holds; `None` where it has none, or cannot be read."""
        try:
            journal = await self.transport.connection.any_journal()
            async for entry in journal.entries(self.transport.key, types=(ANSWERED,)):
                if entry.body.get("approval_id") == approval_id:
                    return ApprovalAnswer(str(entry.body.get("answer")), entry.body.get("by"))
        except JournalUnavailable:
            pass
        return None

    async def detailed(self, status: SessionStatus) -> SessionStatus:
        """Return the session's own status with the arguments added: they never travel through it."""
        if not status.approvals or status.turn is None:
            return status
        try:
            journal = await self.transport.connection.any_journal()
            entries = await entries_of(journal, self.transport.key, status.turn.event_id, ("agent.tool_use",))
        except JournalUnavailable:
            return status
        args = arguments(entries)
        approvals = tuple(a.model_copy(update={"args": args.get(a.call_id)}) for a in status.approvals)
        return status.model_copy(update={"approvals": approvals})
