"""One turn after the other, each with its seconds, by either way to send."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.sides import Side


class Timer(ABC):
    """Runs the turns of a session that has begun."""

    def __init__(self, side: Side, session_id: str) -> None:
        self._side, self._session = side, session_id

    @abstractmethod
    async def turn(self, event_id: str) -> float:
        """Run a turn; return its seconds."""


class ByAsk(Timer):
    """Times turns by the clock of the caller who waits for the answer."""

    async def turn(self, event_id: str) -> float:
        began = time.perf_counter()
        await self._side.ask(self._session, event_id)
        return time.perf_counter() - began


class BySend(Timer):
    """Times turns by the server's clock: from the signal to the end of the turn's last workflow task."""

    def __init__(self, side: Side, session_id: str) -> None:
        super().__init__(side, session_id)
        self._events: AsyncIterator[HistoryEvent] = side.handle(session_id).fetch_history_events(wait_new_event=True)

    async def turn(self, event_id: str) -> float:
        await self._side.send(self._session, event_id)
        sent = answered = 0
        async for event in self._events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                sent, answered = event.event_time.ToNanoseconds(), 0
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                answered = 1
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and sent and answered:
                return (event.event_time.ToNanoseconds() - sent) / 1e9
        raise RuntimeError("the history ended before the turn")
