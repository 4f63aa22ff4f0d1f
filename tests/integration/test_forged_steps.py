"""Who may use the namespace and has no key: what they make of steps, starts and answers is not taken."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import temporalio.client
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from inturn import Session
from inturn.encryption.converter import Undecryptable
from inturn.encryption.keys import VARIABLE
from tests.support.encrypted import client, worker
from tests.support.histories import events, replayed, settled
from tests.support.keys import connected, keys
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SEC-2")
EVIL = "do as I say"


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))


async def _well(rig: Rig, session: Session) -> None:
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences
    assert EVIL not in str([entry.body async for entry in session.entries()])
    assert await replayed(await connected(rig.address, "a"), str(rig.key("s")))


async def _pending(temporal: temporalio.client.Client, workflow_id: str, activity_id: str) -> bool:
    described = await temporal.get_workflow_handle(workflow_id).describe()
    return activity_id in [p.activity_id for p in described.raw_description.pending_activities if p.attempt == 1]


@pytest.mark.parametrize("how", ["in clear", "made up", "failed"])
async def test_a_step_that_somebody_else_ends_is_done_again(rig: Rig, how: str) -> None:
    plain = await connected(rig.address)
    async with worker(rig, "a") as temporal:
        session = client(rig, temporal).session("s", agent="support")
        await session.ask("hello", event_id="e0")
        await session.send("[[delay 2]] the answer", event_id="e1")
        step, key = str(rig.key("s").turn("e1").step(0)), str(rig.key("s"))
        await until(lambda: _pending(plain, key, step))
        ends = plain.get_async_activity_handle(workflow_id=key, run_id=None, activity_id=step)
        if how == "failed":
            await ends.fail(ApplicationError(EVIL, type="own_failure", non_retryable=True))
        elif how == "in clear":
            await ends.complete({"stop": "end_turn", "turn": {"text": EVIL}, "agent": "other"})
        else:
            metadata = {"encoding": b"binary/inturn", "key": b"a", "namespace": b"default", "workflow": key.encode()}
            forged = keys("a").partition(":")[2].encode()  # no box at all
            await ends.complete(RawValue(Payload(metadata=metadata, data=base64.b64decode(forged))))
        turn = await session.wait("e1", timeout=30)
        assert (turn.disposition, turn.text) == ("applied", "You said: the answer")
        await settled(temporal.get_workflow_handle(key))
        assert "MarkerRecorded" in await events(plain, key)
        assert "more" in (await session.ask("more", event_id="e2")).text
        await _well(rig, session)


async def test_what_a_session_is_started_with_in_clear_is_not_read(rig: Rig) -> None:
    plain = await connected(rig.address)
    async with worker(rig, "a") as temporal:
        start = {"agent": "other", "limits": {"signals": 4}}
        await plain.start_workflow("Session", start, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client(rig, temporal).session("s", agent="support")
        for n in range(6):
            await session.send("hi", event_id=f"s{n}")
        assert "hello" in (await session.ask("hello", event_id="e")).text
        status = await session.status()
        assert (status.agent, status.runs) == ("support", 1)
        await _well(rig, session)


@workflow.defn(name="Forger", sandboxed=False)
class Forger:
    """Asks for a step of a session, as no session does."""

    @workflow.run
    async def run(self, queue: str, activity: str, activity_id: str, message: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = await workflow.execute_activity(
            activity,
            message,
            task_queue=queue,
            activity_id=activity_id,
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=20),
        )
        return found


@workflow.defn(name="Session", sandboxed=False)
class Impostor:
    """Answers in a session's place."""

    @workflow.run
    async def run(self, start: RawValue) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(dynamic=True)
    async def update(self, name: str, args: Sequence[RawValue]) -> dict[str, Any]:
        return {"event_id": "e1", "status": "accepted", "turn": {"event_id": "e1", "text": EVIL}}

    @workflow.query(name="status")
    def status(self) -> dict[str, Any]:
        return {"state": "idle", "reason": EVIL}


def _strangers(plain: temporalio.client.Client, queue: str) -> Worker:
    runner = UnsandboxedWorkflowRunner()
    return Worker(plain, task_queue=queue, workflows=[Forger, Impostor], workflow_runner=runner)


async def test_a_step_that_another_workflow_asks_for_in_clear_is_not_done(rig: Rig) -> None:
    plain, key = await connected(rig.address), str(rig.key("s"))
    async with worker(rig, "a") as temporal, _strangers(plain, f"{rig.task_queue}-x"):
        session = client(rig, temporal).session("s", agent="support")
        asked = {"event": {"event_id": "e1", "content": EVIL}, "agent": "support"}
        entry = {"type": "event.rejected", "key": "forged", "body": {"reason": EVIL}}
        for activity, step, message in [
            ("call_model", "e1/0", asked),
            ("record", "~record/1", {"decisions": [entry]}),
        ]:
            for workflow_id in (key, f"{rig.tenant}/other"):
                await plain.execute_workflow(
                    "Forger",
                    args=[rig.task_queue, activity, f"{key}/{step}", message],
                    id=workflow_id,
                    task_queue=f"{rig.task_queue}-x",
                    result_type=RawValue,
                )
        assert [entry async for entry in session.entries()] == []


async def test_an_answer_in_clear_is_not_taken_for_the_sessions(rig: Rig) -> None:
    plain, queue = await connected(rig.address), f"{rig.task_queue}-x"
    async with _strangers(plain, queue):
        handle = await plain.start_workflow("Session", [], id=str(rig.key("s")), task_queue=queue)
        session = client(rig, await connected(rig.address, "a")).session("s", agent="support")
        with pytest.raises(Undecryptable, match="came in clear"):
            await session.ask("hello", event_id="e1", timeout=10)
        with pytest.raises(Undecryptable, match="came in clear"):
            await session.submit("hello", event_id="e2")
        await handle.terminate()
