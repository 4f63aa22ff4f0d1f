"""What inturn is measured against: the least that answers events one at a time on Temporal.

A queue, one main loop, a no-op activity with constant arguments. No dedup, no limits, no continue-as-new, no journal.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Any, Final

from temporalio import activity, workflow

REQUEST: Final = "go"
ANSWER: Final = "done"


@workflow.defn(name="Bare")
class Bare:
    """A session without promises."""

    def __init__(self) -> None:
        self._queue: deque[dict[str, Any]] = deque()
        self._answers: dict[str, str] = {}

    @workflow.signal
    def submit(self, event: dict[str, Any]) -> None:
        """Take an event."""
        self._queue.append(event)

    @workflow.update
    async def ask(self, event: dict[str, Any]) -> str:
        """Take an event and wait for its answer."""
        self._queue.append(event)
        await workflow.wait_condition(lambda: event["event_id"] in self._answers)
        return self._answers.pop(event["event_id"])

    @workflow.run
    async def run(self) -> None:
        """Answer for ever."""
        while True:
            await workflow.wait_condition(lambda: bool(self._queue))
            event = self._queue.popleft()
            answer = await workflow.execute_activity(noop, REQUEST, start_to_close_timeout=timedelta(seconds=30))
            if event.get("wait"):
                self._answers[event["event_id"]] = answer


@activity.defn
async def noop(request: str) -> str:
    """Do nothing."""
    return ANSWER
