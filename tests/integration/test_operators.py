"""What an operator does to a session's workflow leaves a consistent session."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from inturn import SessionClosed
from tests.support.histories import events, settled
from tests.support.rig import Rig
from tests.support.waiting import until


@pytest.mark.promise("SUR-11", "EFF-3")
async def test_a_reset_to_an_early_task_repeats_nothing_that_is_recorded(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(3):
            await session.ask(f'[[tool charge {{"cents": {n}}}]]', event_id=f"e{n}")
        temporal, workflow_id = rig.temporal, str(rig.key("s"))
        handle = temporal.get_workflow_handle(workflow_id)
        before = await settled(handle)
        calls, effects = len(claude.requests), len(rig.attempts("charge"))
        first = (await events(temporal, workflow_id)).index("WorkflowTaskCompleted") + 1
        await temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                reason="test",
                workflow_task_finish_event_id=first,
                request_id="reset-1",
            )
        )

        async def counted_again() -> bool:
            return bool((await handle.query("status"))["counts"] == before["counts"])

        await until(counted_again)
        await settled(handle)
        assert (await session.ask("hi", event_id="after")).disposition == "applied"
        assert len(rig.attempts("charge")) == effects == 3
        assert len(claude.requests) == calls + 1
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11", "ACC-2")
async def test_a_terminated_session_goes_on_with_its_next_event_and_knows_the_old_ones(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        first = await session.ask("remember 42", event_id="e1")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("test")
        again = await session.ask("remember 42", event_id="e1")
        assert again.text == first.text
        assert (await session.ask("and now?", event_id="e2")).disposition == "applied"
        assert len(claude.requests) == 2
        assert "remember 42" in str(claude.requests[-1].body["messages"][0])
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
async def test_a_closed_session_stays_closed_also_for_raw_starts(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await session.close()
        temporal, workflow_id = rig.temporal, str(rig.key("s"))
        # Another SDK's default reuse policy opens a fresh run on the old journal.
        handle = await temporal.start_workflow(
            "Session",
            id=workflow_id,
            task_queue=rig.task_queue,
            start_signal="submit",
            start_signal_args=[{"event_id": "e2", "content": "hi"}],
        )
        await handle.result()
        types = [(e.type, e.event_id) async for e in session.entries()]
        assert ("turn.started", "e2") not in types
        assert ("event.rejected", "e2") in types
        audit = await session.audit()
        assert audit.ok, audit.differences
        with pytest.raises(SessionClosed):
            await session.send("again", event_id="e3")
