"""What people see of a session, kept up to date: the table in the Temporal UI, and search attributes.

Invariant: the table costs no command, no event and no wait, and is written once for all that changes in one go: a flood
of signals in one task is one table.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow

from inturn_workflows.display.details import details
from inturn_workflows.display.search_attributes import SearchAttributes
from inturn_workflows.state import SessionState


class Display:
    """Writes a session's current details and search attributes."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._attributes = SearchAttributes(state)
        self._stale = False
        self.idle = True
        """The main loop waits for something to do."""

    def refresh(self) -> None:
        """Schedule the table to be written, once all that is ready to run now has run.

        As a callback of the loop it is no command, and nothing waits for it: not the end of the run either.
        """
        if not self._stale:
            self._stale = True
            asyncio.get_running_loop().call_soon(self._write)

    def show(self) -> None:
        """Refresh the table and, in the rare states, the search attributes."""
        self.refresh()
        self._attributes.upsert()

    def _write(self) -> None:
        self._stale = False
        if not (self.idle and self._may_take()):  # else the main loop takes it in this task, and shows that
            workflow.set_current_details(details(self._state, workflow.time()))

    def _may_take(self) -> bool:
        inbox = self._state.inbox
        return bool(inbox.queue) and not self._state.paused and inbox.rate.full_at <= workflow.time()
