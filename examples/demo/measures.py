"""What the server's histories say: model calls that were open at once, and what a plain turn costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client as Temporal

from examples.demo.producers import Sent
from inturn import Client, Session
from inturn.keys import SessionKey
from inturn.names import CALL_MODEL, CONTROL

_ENDS = (
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
)


@dataclass
class Seen:
    """What the histories of a session say, over all its runs."""

    model_calls: int = 0
    at_once: int = 0
    """The most model calls that were open at once."""
    scheduled: dict[str, int] = field(default_factory=dict)
    """Steps by key, and where in the histories they were scheduled."""
    controls: list[int] = field(default_factory=list)
    """Where in the histories somebody controlled the session (an approval is such a control)."""


async def look(temporal: Temporal, workflow_id: str) -> Seen:
    """Read a session's histories."""
    seen, open_ = Seen(), set[int]()
    runs = [events async for events in _runs(temporal, workflow_id)]
    for place, event in enumerate(event for events in reversed(runs) for event in events):
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                step = event.activity_task_scheduled_event_attributes
                seen.scheduled[step.activity_id] = place
                if step.activity_type.name == CALL_MODEL:
                    seen.model_calls += 1
                    open_.add(event.event_id)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                request = event.workflow_execution_update_accepted_event_attributes.accepted_request
                if request.input.name == CONTROL:
                    seen.controls.append(place)
            case kind if kind in _ENDS:
                open_.discard(_scheduled(event))
            case _:
                pass
        seen.at_once = max(seen.at_once, len(open_))
    return seen


async def plain_turns(client: Client, temporal: Temporal, sent: Sent, session_id: str) -> dict[str, int]:
    """Run two plain turns in a quiet session and count the history events of each."""
    session = client.session(session_id)
    workflow_id = str(SessionKey(client.tenant, session_id))
    costs: dict[str, int] = {}
    before = await _length(temporal, workflow_id)
    receipt = await session.send("Goodbye.", event_id="goodbye-send", source="meter")
    sent.acknowledged("meter", session_id, receipt.event_id)
    await _completed(session, receipt.event_id)
    costs["send"] = (after := await _length(temporal, workflow_id)) - before
    turn = await session.ask("Goodbye.", event_id="goodbye-ask", source="meter")
    sent.acknowledged("meter", session_id, turn.event_id)
    costs["ask"] = await _length(temporal, workflow_id) - after
    return costs


async def _runs(temporal: Temporal, workflow_id: str) -> AsyncIterator[list[HistoryEvent]]:
    """Return the histories of a session's runs, latest first."""
    run_id: str | None = None
    while True:
        history = await temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        events = list(history.events)
        yield events
        run_id = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            return


def _scheduled(event: HistoryEvent) -> int:
    """Return the event that scheduled the activity which ends here."""
    name = event.WhichOneof("attributes")
    return int(getattr(event, name).scheduled_event_id) if name else 0


async def _completed(session: Session, event_id: str) -> None:
    """Wait in the journal, which costs no history."""
    async for entry in session.stream(event_id):
        if getattr(entry, "type", "") == "turn.completed":
            return


async def _length(temporal: Temporal, workflow_id: str) -> int:
    """Count the events of the run's history, once nothing of it is under way."""
    while True:
        raw = (await temporal.get_workflow_handle(workflow_id).describe()).raw_description
        if not raw.pending_activities and not raw.HasField("pending_workflow_task"):
            return raw.workflow_execution_info.history_length
        await asyncio.sleep(0.05)
