"""Races and odd moments, each of which once broke a promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError

from inturn import Agent, ApprovalConflict, Session, SessionClosed, TurnFailed, TurnTimeout
from inturn.journal import Journal, Superseded
from inturn_workflows.inbox import dedup
from tests.support.agents import agents as test_agents
from tests.support.histories import Handle, events, settled
from tests.support.overtaken import overtaken
from tests.support.rig import Rig
from tests.support.waiting import until


class Door:
    """Holds whoever comes by until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def pass_by(self) -> None:
        self.reached.set()
        await self.open.wait()


def _delivering(door: Door) -> Agent:
    async def deliver(out: object, ctx: object) -> None:
        await door.pass_by()

    return Agent("support", model="claude-sonnet-5-5", instructions="x", tools=test_agents.tools, deliver=deliver)


def _handle(rig: Rig) -> Handle:
    return rig.temporal.get_workflow_handle(str(rig.key("s")))


async def _reset(rig: Rig) -> None:
    """Reset the session to the end of its first workflow task."""
    first = (await events(rig.temporal, str(rig.key("s")))).index("WorkflowTaskCompleted") + 1
    await rig.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=rig.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=str(rig.key("s"))),
            reason="test",
            workflow_task_finish_event_id=first,
            request_id="reset-1",
        )
    )


async def _at_step(session: Session, event_id: str, step: int) -> None:
    async def there() -> bool:
        turn = (await session.status()).turn
        return turn is not None and (turn.event_id, turn.step) == (event_id, step)

    await until(there)


@pytest.mark.promise("ACC-8", "EFF-8")
async def test_a_turn_whose_delivery_takes_long_has_ended_for_everybody(rig: Rig) -> None:
    door = Door()
    async with rig.worker([_delivering(door)]), rig.client() as client, rig.client(journal=False) as far:
        session = client.session("s")
        await session.ask("hi", event_id="e1")
        await asyncio.wait_for(door.reached.wait(), 10)
        audit = await session.audit()
        assert audit.ok, audit.differences
        assert not await session.interrupt()
        assert (await far.session("s").wait("e1", timeout=10)).disposition == "applied"
        door.open.set()
        await settled(_handle(rig))


@pytest.mark.promise("SUR-11", "ACC-8", "ACC-12")
async def test_a_cancelled_workflow_finishes_its_delivery_and_counts_each_event_once(rig: Rig) -> None:
    door = Door()
    async with rig.worker([_delivering(door)]), rig.client() as client:
        session = client.session("s")
        await session.ask("hi", event_id="e1")
        await asyncio.wait_for(door.reached.wait(), 10)
        await _handle(rig).cancel()
        await asyncio.sleep(0)
        door.open.set()
        async with asyncio.timeout(20):
            await _handle(rig).result()
        types = [entry.type async for entry in session.entries()]
        assert types.count("event.delivered") == 1
        audit = await session.audit()
        assert audit.ok, audit.differences
        assert audit.counts == {"applied": 1}


@pytest.mark.promise("SUR-11")
@pytest.mark.parametrize("content", ["[[delay 20]] a b c d", '[[tool wait {"seconds": 20}]]'])
async def test_a_cancelled_workflow_stops_its_step_and_closes_in_good_order(rig: Rig, content: str) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.submit(content, event_id="e1")
        await session.submit("waits", event_id="e2")
        await _at_step(session, "e1", 1 if "tool" in content else 0)
        await _handle(rig).cancel()
        async with asyncio.timeout(20):
            await _handle(rig).result()
        audit = await session.audit()
        assert audit.ok, audit.differences
        assert audit.counts == {"cancelled": 1, "parked": 1}
        seen = await events(rig.temporal, str(rig.key("s")))
        assert seen.count("ActivityTaskScheduled") == seen.count("ActivityTaskCompleted") + seen.count(
            "ActivityTaskCanceled"
        )


@pytest.mark.promise("ACC-7", "ISO-1")
async def test_an_invalid_event_or_control_never_ends_the_event_that_it_names(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        asked = asyncio.create_task(session.ask("[[delay 1]] a b", event_id="e1"))
        await until(lambda: _started(rig))
        await _at_step(session, "e1", 0)
        await _handle(rig).signal("submit", {"event_id": "e1", "content": ""})
        await _handle(rig).signal("control", {"control_id": "c", "op": "cancl", "event_id": "e1"})
        await _handle(rig).signal("control", {"control_id": "d", "op": "cancl", "event_id": "later"})
        assert (await asked).disposition == "applied"
        assert (await session.ask("hi", event_id="later")).disposition == "applied"


async def _started(rig: Rig) -> bool:
    try:
        return bool((await _handle(rig).query("status"))["turn"])
    except Exception:
        return False


@pytest.mark.promise("SUR-11", "SUR-3")
async def test_a_parked_event_can_still_be_redriven_after_a_reset(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        with pytest.raises(TurnFailed):
            await session.ask("[[fault 400]] poison", event_id="poison")
        await settled(_handle(rig))
        await _reset(rig)

        async def parked_again() -> bool:
            return [parked.event_id for parked in await session.parked()] == ["poison"]

        await until(parked_again)
        assert await session.redrive("poison")
        assert (await session.wait("poison")).disposition == "applied"
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11", "ACC-8", "ORD-10")
async def test_what_waited_behind_a_turn_is_still_said_where_a_reset_would_make_it_part_of_that_turn(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        await session.send('[[tool wait {"seconds": 4}]] a host', event_id="host", when_busy="merge")
        await _at_step(session, "host", 1)
        await session.send("what waited", event_id="behind", when_busy="merge")
        await _reset(rig)
        turn = await session.wait("behind", timeout=20)
        assert (turn.disposition, turn.text) == ("applied", "You said: what waited")
        messages = [entry async for entry in session.entries() if entry.type == "user.message"]
        assert [entry.event_id for entry in messages] == ["e0", "host", "behind"]
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-2", "ACC-8")
@pytest.mark.usefixtures("short_window")
async def test_a_duplicate_older_than_the_window_is_no_part_of_the_turn_it_would_join(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("refund order 17", event_id="old")
        for n in range(10):
            await session.ask("hi", event_id=f"e{n}")
        await session.send("[[delay 1]] a b", event_id="slow")
        for event_id in ("host", "old", "more"):
            await session.send(f"said by {event_id}", event_id=event_id, when_busy="merge")
        assert (await session.wait("more")).disposition == "merged"
        assert (await session.ask("refund order 17", event_id="old")).disposition == "applied"
        joined = [entry.body.get("joined") async for entry in session.entries() if entry.type == "user.message"]
        assert joined[-2:] == [None, "more"]
        assert "old" not in joined
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-2", "ACC-8", "SUR-3")
@pytest.mark.parametrize("end", ["interrupted", "failed"])
@pytest.mark.usefixtures("short_window")
async def test_a_duplicate_older_than_the_window_is_no_part_of_a_turn_that_is_stopped_or_fails(
    rig: Rig, end: str
) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("refund order 17", event_id="old")
        for n in range(10):
            await session.ask("hi", event_id=f"e{n}")
        await session.pause()
        more = "[[delay 20]] a hosting story" if end == "interrupted" else "[[fault 400]] host"
        for event_id, content in (("host", "host"), ("old", "refund order 17"), ("more", more)):
            await session.send(content, event_id=event_id, when_busy="merge")
        await session.resume()
        if end == "interrupted":
            await claude.until_streaming("hosting story")
            await session.interrupt()
            assert (await session.wait("host", timeout=20)).stop_reason == "interrupted"
        else:
            with pytest.raises(TurnFailed):
                await session.wait("host", timeout=20)
            with pytest.raises(TurnFailed):
                await session.wait("more", timeout=20)
            await session.redrive("host")
            assert (await session.wait("host", timeout=20)).text == "You said: host"
            assert (await session.wait("more", timeout=20)).event_id == "host"
        await settled(_handle(rig))
        joined = [entry.body.get("joined") async for entry in session.entries() if entry.type == "user.message"]
        assert "old" not in joined
        counts = (await session.status()).counts
        assert (counts["merged"], counts["repeated"]) == (1, 1)
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-2", "ACC-8")
@pytest.mark.usefixtures("short_window")
async def test_a_duplicate_older_than_the_window_is_told_its_turn_and_counted_once(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(10):
            await session.ask("hi", event_id=f"e{n}")
        assert (await session.ask("hi", event_id="e0")).disposition == "applied"
        assert (await session.status()).counts == {"accepted": 11, "applied": 10, "repeated": 1}
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-2", "ACC-8")
@pytest.mark.parametrize("end", ["expired", "cancelled", "merged"])
@pytest.mark.usefixtures("short_window")
async def test_a_duplicate_older_than_the_window_is_counted_once_also_where_it_never_had_a_turn(
    rig: Rig, end: str
) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 1]] a b", event_id="slow")
        await session.send("host", event_id="host", when_busy="merge")
        expires_after = 0.2 if end == "expired" else None
        await session.send(
            "old", event_id="old", expires_after=expires_after, when_busy="merge" if end == "merged" else "queue"
        )
        if end == "cancelled":
            await session.cancel("old")
        for n in range(10):
            await session.ask("hi", event_id=f"e{n}")
        assert (await session.submit("old", event_id="old")).status == "accepted", "forgotten"
        await session.ask("hi", event_id="last")
        counts = (await session.status()).counts
        assert (counts[end], counts["repeated"]) == (1, 1)
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-8", "ACC-3")
async def test_who_asks_for_an_event_that_ends_long_after_it_came_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "RECENT", 2)
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 2]] a b", event_id="slow")
        asked = asyncio.create_task(session.ask("stale", event_id="stale", expires_after=0.5))

        async def waits() -> bool:
            return "stale" in {queued.event_id for queued in (await session.status()).queue}

        await until(waits)
        for n in range(8):
            await session.submit("hi", event_id=f"e{n}")
        with pytest.raises(TurnFailed, match="expired"):
            await asyncio.wait_for(asked, 20)


@pytest.mark.promise("ACC-8")
async def test_an_audit_holds_while_an_event_is_driven_again(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        with pytest.raises(TurnFailed):
            await session.ask("[[fault 400]] hi", event_id="e1")
        await session.pause()
        await session.redrive("e1")
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        await session.resume()
        assert (await session.wait("e1")).disposition == "applied"


@pytest.mark.promise("SUR-6")
async def test_nothing_is_driven_again_in_a_session_that_closes(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        with pytest.raises(TurnFailed):
            await session.ask("[[fault 400]] hi", event_id="e1")
        await session.send("[[delay 2]] a last word", event_id="last")
        await claude.until_streaming("last word")
        with pytest.raises(TurnTimeout):
            await session.close(timeout=0.1)
        with pytest.raises(SessionClosed):
            await session.redrive("e1")


@pytest.mark.promise("SUR-6", "EFF-8")
async def test_an_interrupt_right_before_continue_as_new_still_stops_the_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, written = Door(), Journal.record

    async def record(self: Journal, *args: Any, **kwargs: Any) -> Any:
        await door.pass_by()
        return await written(self, *args, **kwargs)

    async with rig.worker(), rig.client() as client:
        start = {"agent": "support", "limits": {"signals": 3}}
        await rig.temporal.start_workflow("Session", start, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client.session("s")
        await session.send('[[tool wait {"seconds": 1}]] [[then]] [[tool wait {"seconds": 20}]]', event_id="long")
        await _at_step(session, "long", 1)
        monkeypatch.setattr(Journal, "record", record)
        for n in range(4):
            await session.send("x", event_id=f"e{n}")
        await session.cancel("e3")  # a decision, to be recorded before the run ends
        await asyncio.wait_for(door.reached.wait(), 20)
        assert await session.interrupt(event_id="long")
        door.open.set()
        assert (await session.wait("long", timeout=15)).disposition == "cancelled"
        assert (await session.wait("e2")).disposition == "applied"


@pytest.mark.promise("EFF-8", "ACC-8")
async def test_an_interrupt_after_the_answer_was_recorded_but_never_told_leaves_it_applied(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, finish = Door(), Journal.finish

    async def finish_and_fall_silent(self: Journal, *args: Any, **kwargs: Any) -> Any:
        head = await finish(self, *args, **kwargs)
        if door.reached.is_set():
            return head
        await door.pass_by()
        raise Superseded  # as if the worker had died: the journal has the answer, the workflow hears of none

    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        monkeypatch.setattr(Journal, "finish", finish_and_fall_silent)
        await session.send("hi", event_id="e1")
        await asyncio.wait_for(door.reached.wait(), 20)
        assert await session.interrupt(event_id="e1")
        door.open.set()
        assert (await session.wait("e1", timeout=30)).disposition == "applied"
        await settled(_handle(rig))
        audit = await session.audit()
        assert audit.ok, audit.differences
        assert audit.counts == {"applied": 2}


@pytest.mark.promise("ACC-8", "EFF-3")
async def test_a_turn_that_failed_is_applied_where_a_late_attempt_recorded_its_answer(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        with overtaken():
            turn = await session.ask("[[fault 400]] hi", event_id="e1", timeout=20)
        assert turn.disposition == "applied"
        assert "hi" in turn.text
        await session.ask("more", event_id="e2")
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert audit.counts == {"applied": 2}


@pytest.mark.promise("SUR-11", "ACC-2")
async def test_an_event_whose_run_was_terminated_in_mid_answer_can_be_sent_again_later(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e0")
        await session.send("[[delay 20]] cut off", event_id="e1")
        await claude.until_streaming("cut off")
        await _handle(rig).terminate()
        assert (await session.ask("something else", event_id="e2")).disposition == "applied"
        assert (await session.ask("cut off", event_id="e1", timeout=20)).disposition == "applied"
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("EFF-8")
async def test_an_approval_of_a_call_that_was_interrupted_comes_too_late(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="e1")

        async def asked() -> Any:
            return (await session.status()).approvals if await _started(rig) else ()

        [approval] = await until(asked)
        await session.interrupt()
        assert (await session.wait("e1")).disposition == "cancelled"
        with pytest.raises(ApprovalConflict):
            await session.approve(approval.approval_id)
        assert (await session.status()).state == "idle"
        assert rig.attempts("refund") == []


@pytest.mark.promise("ACC-7")
async def test_a_start_by_hand_with_odd_input_or_name_wedges_nothing(rig: Rig) -> None:
    await asyncio.to_thread(rig.process().start)
    async with rig.client() as client:
        queue = rig.task_queue
        await rig.temporal.start_workflow("Session", {"state": 1}, id=str(rig.key("s")), task_queue=queue)
        assert (await client.session("s").ask("hi", timeout=20)).disposition == "applied"
        odd = await rig.temporal.start_workflow("Session", id=f"no session {rig.tenant}", task_queue=queue)
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(odd.result(), 20)
