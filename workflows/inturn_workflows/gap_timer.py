"""Gaps end while a turn runs, too; between turns the session's main loop sees to it.

Invariant: what waits for a missing number is let go at its time, however long the running turn takes (a person may be
asked in it): it may be there to interrupt or to steer that turn, and it takes others' room in the hold buffer.
"""

from __future__ import annotations

import asyncio
import contextlib

from temporalio import workflow

from inturn_workflows.display.display import Display
from inturn_workflows.faults import Faults
from inturn_workflows.state import SessionState


class GapTimer:
    """Waits for the ends of gaps beside the running turn."""

    def __init__(self, state: SessionState, display: Display, faults: Faults) -> None:
        self._state = state
        self._display = display
        self._faults = faults
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where something is held while a turn runs."""
        idle = self._task is None or self._task.done()
        if idle and self._holds():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._release()
        except Exception as error:  # the main loop meets it again, and sets aside what it struck
            self._faults.note("ending a gap", error)

    async def _release(self) -> None:
        while self._holds():
            due = self._due()
            if due is not None and due <= workflow.time():
                self._state.release_held(workflow.time())
                self._display.refresh()
                continue
            await self._until(due)

    async def _until(self, due: float | None) -> None:
        left = None if due is None else max(due - workflow.time(), 0.001)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await workflow.wait_condition(lambda: not self._holds() or self._due() != due)

    def _holds(self) -> bool:
        return self._state.turn is not None and bool(self._state.inbox.sequencer.held)

    def _due(self) -> float | None:
        state = self._state
        if state.paused or state.closing or not state.policy_known:
            return None
        return state.inbox.sequencer.next_due(state.inbox_policy())
