"""Who may use the namespace and has no key: what they make of steps, starts and answers is not taken."""

from __future__ import annotations

import base64

import pytest
import temporalio.client
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import Session
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
        start = {"agent": "other", "limits": {"signals": 1}}
        await plain.start_workflow("Session", start, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client(rig, temporal).session("s", agent="support")
        for n in range(3):
            assert "hello" in (await session.ask("hello", event_id=f"e{n}")).text
            await session.send("hi", event_id=f"s{n}")
        await session.wait("s2", timeout=30)
        status = await session.status()
        assert (status.agent, status.runs) == ("support", 1)
        await _well(rig, session)
