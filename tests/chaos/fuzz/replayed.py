"""Millions of hostile messages, given to the session's own code by replays of histories that were never lived.

Invariant: code, sandbox and SDK are those of a worker; only the server is left out. A history is a first run with all
of its signals in one task, as it is where no worker was up, and that task is not over.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from multiprocessing import get_context
from typing import Any, Final
from unittest.mock import patch

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from inturn import sizes
from inturn_worker.replaying import replayer
from inturn_workflows.session import Session
from inturn_workflows.state import SessionState
from tests.chaos.fuzz.messages import Messages, readable_id

MOST_SIGNALS: Final = 3_000
"""In one history: fewer than a run ends for."""
LARGEST: Final = 200_000
"""Bytes of a message: millions of larger ones would be about the machine's memory."""
BEGAN: Final = 1_790_000_000
"""When each history begins, in seconds since 1970."""
RUN_ID: Final = "01a22a19-bae6-7a43-9788-527efa9e72d7"
LAST: Final = "last"


@dataclass
class Told:
    """What came of some histories."""

    messages: int = 0
    histories: int = 0
    accepted: int = 0
    by_id: int = 0
    seconds: float = 0.0
    largest_state: int = 0
    """Bytes that a session would carry, at most."""
    findings: list[str] = field(default_factory=list[str])

    def __iadd__(self, other: Told) -> Told:
        """Add what came of others, done at the same time."""
        for name in ("messages", "histories", "accepted", "by_id"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest_state = max(self.largest_state, other.largest_state)
        self.findings += other.findings
        return self


def bombard(messages: int, seed: int, *, processes: int = os.cpu_count() or 1) -> Told:
    """Give a session as many messages, in histories of their own; return what came of it."""
    began, told = time.monotonic(), Told()
    shares = [(f"{seed}/{n}", messages // processes) for n in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for share in pool.map(_bombarded, shares):
            told += share
    told.seconds = round(time.monotonic() - began, 1)
    return told


def _bombarded(share: tuple[str, int]) -> Told:
    return asyncio.run(_replay(*share))


async def _replay(seed: str, messages: int) -> Told:
    replays = replayer()
    made, told = Messages(seed, largest=LARGEST), Told()
    with _sessions() as sessions:
        while told.messages < messages:
            history, ids = _history(made, made.chance.randrange(1, MOST_SIGNALS))
            result = await replays.replay_workflow(history, raise_on_replay_failure=False)
            told.histories += 1
            told.messages += len(history.events) - 3
            if result.replay_failure is not None:
                told.findings.append(f"{seed}, history {told.histories}: {str(result.replay_failure)[:300]}")
            else:
                _judge(sessions.pop(), ids, told)
            sessions.clear()
    return told


def _judge(session: Session, ids: set[str], told: Told) -> None:
    """Look into a session that took all of a history's messages."""
    state: SessionState = session._state  # what a query would show of it says less
    told.by_id += len(ids)
    counts = state.inbox.balance(running=state.running)
    told.accepted += (accepted := counts.pop("accepted"))
    name = f"history {told.histories}"
    if state.fault is not None:
        told.findings.append(f"{name}: an error of our own: {state.fault}")
    if accepted != sum(counts.values()):
        told.findings.append(f"{name}: {accepted} were accepted, {counts} are accounted for")
    rejected = {str(decision.turn) for decision in state.inbox.books.decisions if decision.type == "event.rejected"}
    running = state.turn.event_ids if state.turn else ()
    lost = [event_id for event_id in ids - rejected if not state.inbox.knows(event_id, running)]
    if len(lost) > counts.get("rejected", 0):  # of a flood of rejections only the number is kept
        told.findings.append(f"{name}: {len(lost)} are nowhere, such as {lost[:3]}")
    if not state.fit():  # then what was decided is recorded before the run ends
        state.inbox.books.drain_decisions(BEGAN)
    told.largest_state = max(told.largest_state, size := sizes.written(state))
    if size > sizes.CARRIED:
        told.findings.append(f"{name}: it would carry {size:,} bytes")


def _history(made: Messages, signals: int) -> tuple[WorkflowHistory, set[str]]:
    """Return a history of so many hostile signals and a plain one, and the ids that the session must know."""
    events = [_started()]
    ids = {LAST}
    last = ("submit", [Payload(metadata={"encoding": b"json/plain"}, data=b'{"event_id":"last","content":"hi"}')])
    for name, payloads in chain((made.signal() for _ in repeat(None, signals)), [last]):
        event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        event.workflow_execution_signaled_event_attributes.signal_name = name
        event.workflow_execution_signaled_event_attributes.input.CopyFrom(Payloads(payloads=payloads))
        events.append(event)
        ids |= {event_id} if (event_id := readable_id(name, payloads)) else set()
    scheduled = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
    scheduled.workflow_task_scheduled_event_attributes.task_queue.name = "fuzz"
    begun = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
    begun.workflow_task_started_event_attributes.scheduled_event_id = len(events) + 1
    events += [scheduled, begun]
    for number, event in enumerate(events, 1):
        event.event_id = number
        event.event_time.FromSeconds(BEGAN + number // 100)
    return WorkflowHistory("fuzz/replayed", events), ids


def _started() -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    attributes = event.workflow_execution_started_event_attributes
    attributes.workflow_type.name = "Session"
    attributes.workflow_id = "fuzz/replayed"
    attributes.task_queue.name = "fuzz"
    attributes.original_execution_run_id = attributes.first_execution_run_id = RUN_ID
    attributes.workflow_task_timeout.FromSeconds(10)
    attributes.attempt = 1
    return event


@contextmanager
def _sessions() -> Iterator[list[Session]]:
    """Keep the sessions that are made meanwhile."""
    made: list[Session] = []
    init = Session.__init__

    def kept(self: Session, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        made.append(self)

    with patch.object(Session, "__init__", kept):
        yield made
