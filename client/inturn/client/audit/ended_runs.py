"""What was left open when a session's run was ended from outside: terminated, failed or timed out.

Invariant: judged by the server's history and the journal alone; no worker is needed, and what cannot be known is not
taken for nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from inturn.client.audit.accepted import Accepted, HistoryReader
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InturnError
from inturn.journal.views.turns import ended_events

WITHIN: Final = 5.0
"""Seconds for reading the run."""


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
                journal = await self.transport.connection.any_journal()
                ended = await ended_events(journal, self.transport.key)
                aliases = await journal.aliases(self.transport.key)
        except (InturnError, TimeoutError):
            return None
        return None if accepted.gone else accepted.after(ended, (), aliases)
