"""Reading a session's histories from the server."""

from __future__ import annotations

import uuid
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from inturn_worker.replaying import replayer
from tests.support.waiting import until

Handle = WorkflowHandle[Any, Any]


async def settled(handle: Handle, *, within: float = 30.0) -> dict[str, Any]:
    """Return the status, once nothing runs or waits and no workflow task is pending."""

    async def quiet() -> dict[str, Any] | None:
        status: dict[str, Any] = await handle.query("status")
        described = await handle.describe()
        raw = described.raw_description
        busy = status["queue"] or raw.pending_activities or raw.HasField("pending_workflow_task")
        return None if busy or status["state"] not in ("idle", "paused") else status

    status = await until(quiet, within=within, every=0.02)
    assert status is not None
    return status


async def size(handle: Handle) -> tuple[int, int]:
    """Return events and bytes of the current run's history, once it is quiet."""
    await settled(handle)
    info = (await handle.describe()).raw_description.workflow_execution_info
    return info.history_length, info.history_size_bytes


async def runs(client: Client, workflow_id: str) -> list[str]:
    """Return the run ids of a session, first to last, along continue-as-new."""
    ids: list[str] = []
    run_id: str | None = (await client.get_workflow_handle(workflow_id).describe()).run_id
    while run_id:
        ids.append(run_id)
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id or None
    return ids[::-1]


async def events(client: Client, workflow_id: str, run_id: str | None = None) -> list[str]:
    """Return the event types of a run's history, as `ActivityTaskScheduled` and so on."""
    history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    names = (EventType.Name(event.event_type) for event in history.events)
    return ["".join(part.capitalize() for part in name.removeprefix("EVENT_TYPE_").split("_")) for name in names]


async def turn_starts(client: Client, workflow_id: str) -> list[float]:
    """Return when the workflow decided to start each turn, by its own clock, in seconds since 1970; of all its runs."""
    starts: list[float] = []
    for run_id in await runs(client, workflow_id):
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        events = {event.event_id: event for event in history.events}
        for event in history.events:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == "call_model" and scheduled.activity_id.endswith("/0"):
                done = events[scheduled.workflow_task_completed_event_id].workflow_task_completed_event_attributes
                starts.append(events[done.started_event_id].event_time.ToNanoseconds() / 1e9)
    return sorted(starts)


async def replayed(client: Client, workflow_id: str) -> int:
    """Replay all runs of a session on the current code, as a worker does that takes it up; return how many.

    Raises:
        Exception: One does not replay: no worker could go on with it.
    """
    replays = replayer(data_converter=client.data_converter)
    chain = await runs(client, workflow_id)
    for run_id in chain:
        await replays.replay_workflow(await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history())
    return len(chain)


async def reset(client: Client, workflow_id: str, task: int) -> None:
    """Reset a session to one of its completed workflow tasks (0: the first), as an operator does."""
    completed = [n for n, name in enumerate(await events(client, workflow_id), 1) if name == "WorkflowTaskCompleted"]
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason="test",
            workflow_task_finish_event_id=completed[task],
            request_id=uuid.uuid4().hex,
        )
    )
