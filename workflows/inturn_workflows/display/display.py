"""The table that the Temporal UI shows of a session, kept up to date.

Invariant: it costs no command, no event and no wait, and is written once for all that changes in one go: a flood of
signals in one task is one table.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow

from inturn_workflows.display.details import details
from inturn_workflows.state import SessionState
from inturn_workflows.steps import ActivitySteps


class Display:
    """Writes a session's current details."""

    def __init__(self, state: SessionState, steps: ActivitySteps) -> None:
        """Show this session."""
        self._state = state
        self._steps = steps
        self._stale = False
        self.idle = True
        """The main loop waits for something to do."""

    def refresh(self) -> None:
        """Let the table be written, once all that is ready to run now has run.

        As a callback of the loop it is no command, and nothing waits for it: not the end of the run either.
        """
        if not self._stale:
            self._stale = True
            asyncio.get_running_loop().call_soon(self._write)

    def show(self) -> None:
        """Refresh the table and, in the rare states, the search attributes."""
        self.refresh()
        self._steps.show_state()

    def _write(self) -> None:
        self._stale = False
        if not (self.idle and self._may_take()):  # else the main loop takes it in this task, and shows that
            workflow.set_current_details(details(self._state, self._steps.waiting_calls(), workflow.time()))

    def _may_take(self) -> bool:
        inbox = self._state.inbox
        return bool(inbox.queue) and not self._state.paused and inbox.bucket.full_at <= workflow.time()
