"""Each policy of the inbox once, end to end: a real server, a real worker, the public SDK."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from unittest.mock import Mock

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from inturn import Backpressure, SessionBusy, TurnFailed
from inturn.client.client import Client
from inturn.client.session import Session
from inturn.decoding import read_event
from inturn.values import Approval, QueuedEvent
from tests.support.agents import agents as test_agents
from tests.support.agents import desk
from tests.support.histories import events, turn_starts
from tests.support.outside import change
from tests.support.rig import Rig
from tests.support.waiting import until

session_of = partial(desk.session_of, deliver=test_agents._deliver)


async def started(session: Session) -> list[str]:
    return [str(entry.body["turn"]) async for entry in session.entries() if entry.type == "turn.started"]


async def ended(session: Session, total: int) -> dict[str, int]:
    """Wait until so many events have ended; returns the counts, after an audit."""

    async def counts() -> dict[str, int]:
        found = (await session.status()).counts
        open_ = sum(found.get(name, 0) for name in ("pending", "running", "held"))
        return found if found.get("accepted", 0) - open_ >= total else {}

    found = await until(counts)
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences
    return found


async def bodies(session: Session, type_: str) -> list[dict[str, object]]:
    return [entry.body async for entry in session.entries() if entry.type == type_]


@pytest.mark.promise("ORD-3")
async def test_sources_are_answered_in_their_own_sequence_and_wait_for_nobody_else(rig: Rig) -> None:
    async with session_of(rig) as session:
        for source, number in [("a", 2), ("b", 1), ("a", 1), ("b", 0), ("a", 3)]:
            await session.send(f"{source}{number}", event_id=f"{source}{number}", source=source, sequence=number)
        receipt = await session.submit("a4", event_id="a4", source="a", sequence=4)
        assert receipt.status == "held"
        assert (await session.ask("no sequence", event_id="free")).disposition == "applied"
        held = (await session.status()).held
        assert {(event.event_id, event.waiting_for) for event in held} == {(f"a{n}", "0 of a") for n in (1, 2, 3, 4)}
        answer = await session.ask("a0", event_id="a0", source="a", sequence=0)
        assert answer.disposition == "applied"
        assert (await ended(session, 8)) == {"accepted": 8, "applied": 8}
        order = await started(session)
        assert [turn for turn in order if turn[0] == "a"] == [f"a{n}" for n in range(5)]
        assert [turn for turn in order if turn[0] == "b"] == ["b0", "b1"]
        assert order.index("free") < order.index("a0")
        assert await bodies(session, "session.gap") == []


@pytest.mark.promise("ORD-4", "ORD-6")
async def test_a_gap_is_skipped_after_its_time_and_who_comes_late_is_parked_and_can_be_redriven(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5) as session:
        await session.send("zero", event_id="e0", source="hook", sequence=0)
        await session.send("three", event_id="e3", source="hook", sequence=3)
        assert (await session.wait("e3")).disposition == "applied"
        (gap,) = await bodies(session, "session.gap")
        assert gap == {"source": "hook", "missing": [1, 2], "count": 2, "policy": "skip"}
        with pytest.raises(TurnFailed, match="late") as late:
            await session.ask("two", event_id="e2", source="hook", sequence=2)
        assert late.value.disposition == "parked"
        assert [parked.event_id for parked in await session.parked()] == ["e2"]
        await session.redrive("e2")
        assert (await session.wait("e2")).text == "You said: two"
        assert await ended(session, 3) == {"accepted": 3, "applied": 3}
        assert await started(session) == ["e0", "e3", "e2~1"]


@pytest.mark.promise("ORD-4", "ORD-5", "EFF-8")
async def test_a_gap_ends_while_a_turn_runs_and_what_it_held_back_stops_that_turn(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5, hold_capacity=2) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 60]] a b c", event_id="long")
        await until(lambda: _running(session, "long"))
        for number in (1, 2):
            await session.send("stop", event_id=f"n{number}", source="hook", sequence=number, when_busy="interrupt")
        assert (await session.wait("long", timeout=20)).stop_reason == "interrupted"
        assert (await session.wait("n2", timeout=20)).disposition == "applied"
        (gap,) = await bodies(session, "session.gap")
        assert gap["missing"] == [0, 0]
        assert await started(session) == ["first", "long", "n1", "n2"]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("ORD-4")
async def test_in_a_pause_a_gap_does_not_end_and_at_resume_it_does_while_the_turn_still_runs(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 60]] a b c", event_id="long")
        await until(lambda: _running(session, "long"))
        await session.pause()
        await session.send("one", event_id="n1", source="hook", sequence=1)
        (held,) = await until(lambda: _held(session))
        await until(lambda: _past(held.until))
        assert [event.event_id for event in (await session.status()).held] == ["n1"]
        await session.resume()

        async def let_go() -> bool:
            status = await session.status()
            return [event.event_id for event in status.queue] == ["n1"] and status.turn is not None

        await until(let_go)
        await session.interrupt()
        assert (await session.wait("n1", timeout=20)).disposition == "applied"


@pytest.mark.promise("ORD-4")
async def test_what_waited_behind_a_gap_is_parked_where_the_policy_says_so(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5, on_gap="park", first_sequence=None) as session:
        for number in (7, 9, 10):
            await session.send(f"number {number}", event_id=f"e{number}", source="hook", sequence=number)
        assert (await session.wait("e7")).disposition == "applied"
        with pytest.raises(TurnFailed, match="gap"):
            await session.wait("e10")
        await session.send("number 11", event_id="e11", source="hook", sequence=11)
        assert await ended(session, 4) == {"accepted": 4, "applied": 2, "parked": 2}
        assert await started(session) == ["e7", "e11"]


@pytest.mark.promise("ORD-4")
async def test_a_gap_is_not_closed_on_an_event_that_was_refused_and_comes_again(rig: Rig) -> None:
    gap = 60.0  # so that what comes again is in time, however slow the machine is
    async with session_of(rig, gap_timeout=gap, capacity=2) as session:
        await session.ask("hi", event_id="first")
        await session.pause()  # what fills the inbox stays in it
        await asyncio.gather(*(session.send("x", event_id=f"fill{n}") for n in range(2)))

        async def refused() -> None:
            with pytest.raises(Backpressure, match="full") as full:
                await session.submit("zero", event_id="e0", source="hook", sequence=0)
            assert full.value.retry_after

        await refused()
        assert (await session.cancel("fill1")) is True
        await session.send("one", event_id="e1", source="hook", sequence=1)
        await until(lambda: _held(session))
        await refused()
        (held,) = await _held(session)
        assert held.until is not None
        assert held.accepted_at is not None
        assert (held.until - held.accepted_at).total_seconds() > gap + 0.01, "longer than the gap's own time"
        await session.resume()
        await session.wait("fill0")
        await session.submit("zero", event_id="e0", source="hook", sequence=0)
        await ended(session, 5)
        assert [turn for turn in await started(session) if turn in ("e0", "e1")] == ["e0", "e1"]


async def _running(session: Session, event_id: str) -> bool:
    """Return whether a worker is at an event's turn: by the status alone it may still be on its way to one."""
    turn = (await session.status()).turn
    if turn is None or turn.event_id != event_id:
        return False
    return any([e.type == "turn.started" async for e in session.entries(event_id=event_id)])


async def _past(due: datetime | None) -> bool:
    return due is not None and datetime.now(UTC) > due


async def _held(session: Session) -> tuple[QueuedEvent, ...]:
    return (await session.status()).held


@pytest.mark.promise("ORD-5")
async def test_a_full_hold_buffer_refuses_what_would_wait_and_takes_what_is_next(rig: Rig) -> None:
    async with session_of(rig, hold_capacity=2, gap_timeout=60) as session:
        await session.ask("hi", event_id="first")
        for number in (2, 3):
            assert (await session.submit("x", event_id=f"e{number}", source="a", sequence=number)).status == "held"
        with pytest.raises(Backpressure, match="missing"):
            await session.submit("x", event_id="e4", source="a", sequence=4)
        await session.send("x", event_id="e5", source="a", sequence=5)
        (rejected,) = await until(lambda: bodies(session, "event.rejected"))
        assert "missing" in str(rejected["reason"])
        for number in (0, 1):
            await session.submit("x", event_id=f"e{number}", source="a", sequence=number)
        await session.ask("x", event_id="e4", source="a", sequence=4)
        assert await ended(session, 7) == {"accepted": 7, "applied": 6, "rejected": 1}
        assert await started(session) == ["first", *(f"e{n}" for n in range(5))]


@pytest.mark.promise("ORD-12")
async def test_chat_timestamps_wait_a_moment_and_go_in_order(rig: Rig) -> None:
    async with session_of(rig, sequencing="sparse", reorder_window=0.5) as session:
        for number in (1700, 1500, 1600):
            await session.send(f"at {number}", event_id=f"e{number}", source="chat", sequence=number)
        assert (await session.wait("e1700")).disposition == "applied"
        with pytest.raises(TurnFailed, match="late"):
            await session.ask("at 1650", event_id="e1650", source="chat", sequence=1650)
        assert await ended(session, 4) == {"accepted": 4, "applied": 3, "parked": 1}
        assert await started(session) == ["e1500", "e1600", "e1700"]
        assert await bodies(session, "session.gap") == [], "their numbers have holes"


@pytest.mark.promise("ORD-7")
async def test_turns_start_at_the_sessions_rate_in_order(rig: Rig) -> None:
    rate, burst = 4.0, 2
    async with session_of(rig, rate=rate, burst=burst) as session:
        for n in range(8):
            await session.send(f"message {n}", event_id=f"e{n}")
        await ended(session, 8)
        assert await started(session) == [f"e{n}" for n in range(8)]
        starts = (await turn_starts(rig.temporal, str(rig.key("s"))))[1:]  # the first turn brings the policy
        for first in range(7):
            for last in range(first, 7):
                assert last - first + 1 <= burst + rate * (starts[last] - starts[first]) + 0.01
        assert starts[-1] - starts[0] < 5 / rate + 10, "and it goes on"


@pytest.mark.promise("ORD-10")
async def test_a_burst_of_one_source_becomes_one_turn_and_everybody_hears_its_answer(rig: Rig) -> None:
    async with session_of(rig, merge_limit=3) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1.0]] a b c", event_id="slow")
        await until(lambda: _running(session, "slow"))
        names = ["m1", "m2", "m3", "m4"]
        receipts = [await session.submit(n, event_id=n, source="chat", when_busy="merge") for n in names]
        await session.submit("x", event_id="other", source="web", when_busy="merge")
        await session.submit("y", event_id="m5", source="chat", when_busy="merge")
        assert [receipt.position for receipt in receipts] == [0, 1, 2, 3]
        turns = await asyncio.gather(*(session.wait(name) for name in names))
        assert [turn.event_id for turn in turns] == ["m1", "m1", "m1", "m4"]
        assert [turn.disposition for turn in turns] == ["applied", "merged", "merged", "applied"]
        assert await ended(session, 8) == {"accepted": 8, "applied": 6, "merged": 2}
        assert await started(session) == ["first", "slow", "m1", "m4", "other", "m5"]
        messages = await session.transcript()
        texts = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
        assert texts[2:5] == ["m1", "m2", "m3"]


@pytest.mark.promise("ORD-10")
async def test_a_merged_event_can_be_cancelled_before_its_turn_and_not_taken_out_of_it_later(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send("[[delay 0.6]] a b", event_id="slow")
        for name in ("host", "m2", "m3"):
            await session.send(f"[[delay 1.0]] {name}", event_id=name, when_busy="merge")
        await until(lambda: _running(session, "slow"))
        assert await session.cancel("host")
        await until(lambda: _running(session, "m2"))
        assert not await session.cancel("m3")
        audit = await session.audit(deep=True)
        assert audit.ok, f"in the middle of a turn that others joined: {audit.differences}"
        assert (await session.wait("m3")).event_id == "m2"
        assert await ended(session, 4) == {"accepted": 4, "applied": 2, "merged": 1, "cancelled": 1}


@pytest.mark.promise("ORD-10", "SUR-3")
async def test_a_failed_host_keeps_what_was_merged_into_it_for_the_redrive(rig: Rig) -> None:
    async with (
        rig.claude() as claude,
        rig.worker([desk.desk(deliver=test_agents._deliver)], model=claude.model),
        rig.client() as client,
        rig.client(journal=False) as far,
    ):
        session = client.session("s")
        await session.send("[[delay 0.5]] a b", event_id="slow")
        await session.send("one", event_id="m1", when_busy="merge")
        await session.send("[[fault 400]] two", event_id="m2", when_busy="merge")
        with pytest.raises(TurnFailed) as failed:
            await session.wait("m2")
        assert failed.value.disposition == "parked"
        for asking in (session, far.session("s")):
            with pytest.raises(TurnFailed, match="parked"):  # who comes later is told the same
                await asking.wait("m2", timeout=10)
        assert (await session.submit("one", event_id="m2")).disposition == "merged"
        await session.redrive("m1")
        assert (await session.wait("m1")).disposition == "applied"
        answered = await session.wait("m2")
        assert (answered.event_id, answered.disposition) == ("m1", "merged")
        messages = await session.transcript()
        texts = [block["text"] for message in messages if message["role"] == "user" for block in message["content"]]
        assert texts[-2:] == ["one", "[[fault 400]] two"]
        assert await ended(session, 3) == {"accepted": 3, "applied": 2, "merged": 1}


@pytest.mark.promise("ORD-1", "ORD-2")
async def test_a_steering_event_joins_the_running_turn_after_its_tools(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send('[[tool wait {"seconds": 0.8}]]', event_id="host")
        await until(lambda: _running(session, "host"))
        await session.send("queued before", event_id="queued")
        asked = asyncio.create_task(session.ask("rather this", event_id="steer", when_busy="steer"))
        turn = await asked
        assert (turn.event_id, turn.disposition) == ("host", "merged")
        assert "rather this" in turn.text
        assert await ended(session, 3) == {"accepted": 3, "applied": 2, "merged": 1}
        assert await started(session) == ["host", "queued"]
        (merged,) = await bodies(session, "event.merged")
        assert merged["into"] == "host"


@pytest.mark.promise("EFF-7")
async def test_a_steering_event_waits_until_a_person_has_answered_and_joins_then(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send('[[tool refund {"cents": 9000}]]', event_id="host")
        (approval,) = await until(lambda: _approvals(session))
        await session.submit("rather not", event_id="steer", when_busy="steer")
        assert [queued.event_id for queued in (await session.status()).queue] == ["steer"]
        await session.deny(approval.approval_id, by="ann")
        turn = await session.wait("steer")
        assert (turn.event_id, turn.disposition) == ("host", "merged")
        assert "rather not" in turn.text
        assert [call.status for call in turn.tool_calls] == ["denied"]
        assert await ended(session, 2) == {"accepted": 2, "applied": 1, "merged": 1}


async def _approvals(session: Session) -> tuple[Approval, ...]:
    return (await session.status()).approvals


@pytest.mark.promise("ORD-1")
async def test_a_steering_event_whose_turn_ends_first_has_a_turn_of_its_own_in_its_order(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send("[[delay 0.8]] a b", event_id="plain")
        await until(lambda: _running(session, "plain"))
        await session.send('[[tool wait {"seconds": 0.3}]]', event_id="tools")
        await session.send("mine", event_id="steer", when_busy="steer")
        assert (await session.wait("steer")).event_id == "steer"
        assert await ended(session, 3) == {"accepted": 3, "applied": 3}
        assert await started(session) == ["plain", "tools", "steer"], "it joins no turn but the one that ran"


@pytest.mark.promise("ORD-3")
async def test_numbered_events_that_steer_or_interrupt_stay_behind_their_source(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send('[[tool wait {"seconds": 20}]]', event_id="slow")
        await until(lambda: _running(session, "slow"))
        await session.send("other", event_id="other")
        await session.send("n0", event_id="n0", source="hook", sequence=0)
        await session.send("n1", event_id="n1", source="hook", sequence=1, when_busy="steer")
        receipt = await session.submit("n3", event_id="n3", source="hook", sequence=3, when_busy="interrupt")
        assert receipt.status == "held"
        await session.send("n2", event_id="n2", source="hook", sequence=2, when_busy="interrupt")
        assert (await session.wait("slow")).stop_reason == "interrupted"
        await session.wait("n3")
        assert await ended(session, 6) == {"accepted": 6, "applied": 5, "cancelled": 1}
        assert await started(session) == ["slow", "other", "n0", "n1", "n2", "n3"]


@pytest.mark.promise("ACC-5")
async def test_a_full_inbox_refuses_updates_with_advice_and_rejects_signals_in_the_open(rig: Rig) -> None:
    async with session_of(rig, capacity=2, source_quota=1) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1.0]] a b c", event_id="slow")
        await until(lambda: _running(session, "slow"))
        await session.submit("x", event_id="a1", source="a")
        with pytest.raises(Backpressure, match="quota"):
            await session.submit("x", event_id="a2", source="a")
        with pytest.raises(SessionBusy):
            await session.submit("x", event_id="never", when_busy="reject")
        await session.submit("x", event_id="b1", source="b")
        with pytest.raises(Backpressure, match="full") as full:
            await session.submit("x", event_id="c1", source="c")
        assert full.value.retry_after is not None
        assert 0 < full.value.retry_after <= 60
        await session.send("x", event_id="c2", source="c", metadata={"to": "C1"})
        counts = await ended(session, 5)
        assert counts == {"accepted": 5, "applied": 4, "rejected": 1}
        (rejected,) = await bodies(session, "event.rejected")
        assert rejected["metadata"] == {"to": "C1"}
        assert len(rig.attempts("deliver:Notice")) == 1
        assert (await session.submit("x", event_id="c2", source="c")).status == "accepted", "its id may come again"


@pytest.mark.promise("ACC-5")
async def test_a_quiet_policy_rejects_signals_without_a_notice(rig: Rig) -> None:
    async with session_of(rig, capacity=1, overflow="reject") as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 0.8]] a b c", event_id="slow")
        await until(lambda: _running(session, "slow"))
        for n in range(3):
            await session.send("x", event_id=f"e{n}")
        assert (await ended(session, 5))["rejected"] == 2
        assert rig.attempts("deliver:Notice") == []


@pytest.mark.promise("ACC-6")
async def test_who_waited_too_long_gets_a_busy_answer_and_an_ask_hears_of_it(rig: Rig) -> None:
    async with session_of(rig, expires_after=0.3) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1.0]] a b c", event_id="slow", expires_after=60)
        await until(lambda: _running(session, "slow"))
        with pytest.raises(TurnFailed) as expired:
            await session.ask("stale", event_id="stale", source="chat", metadata={"to": "C1"})
        assert expired.value.disposition == "expired"
        counts = await ended(session, 3)
        assert counts == {"accepted": 3, "applied": 2, "expired": 1}
        await until(lambda: _noticed(rig))
        assert await started(session) == ["first", "slow"]


async def _noticed(rig: Rig) -> bool:
    return len(rig.attempts("deliver:Notice")) == 1


async def test_people_can_cancel_held_events_pause_over_a_gap_and_close_with_some_held(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.4) as session:
        await session.ask("hi", event_id="first")
        await session.pause()
        for number in (1, 2, 3):
            await session.submit("x", event_id=f"e{number}", source="a", sequence=number)
        assert await session.cancel("e2")
        status = await session.status()
        assert [event.event_id for event in status.held] == ["e1", "e3"]
        assert status.state == "paused"
        await session.resume()
        assert (await session.wait("e3")).disposition == "applied"
        assert await started(session) == ["first", "e1", "e3"]
        await session.pause()
        await session.submit("x", event_id="e9", source="a", sequence=9)
        await session.close()
        assert [parked.event_id for parked in await session.parked()] == ["e9"]
        audit = await session.audit()
        assert audit.ok, audit.differences
        assert audit.counts == {"applied": 3, "cancelled": 1, "parked": 1}


@pytest.mark.promise("ACC-3")
async def test_the_same_thing_sent_twice_without_an_id_is_one_turn_where_it_says_when_it_was_sent(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        handle = await _signal_twice(client, rig)
        assert handle["accepted"] == 1


async def _signal_twice(client: Client, rig: Rig) -> dict[str, int]:
    session = client.session("s", agent="support")
    await session.ask("hi", event_id="first")
    temporal = rig.temporal.get_workflow_handle(str(rig.key("s")))
    for _ in range(2):
        await temporal.signal(
            "submit", {"content": "pay", "source": "hook", "sender": "bank", "sent_at": 1_700_000_000}
        )
    counts = await ended(session, 2)
    return counts | {"accepted": counts["accepted"] - 1}


@pytest.mark.promise("ORD-10", "SUR-11")
async def test_what_joins_a_turn_that_ended_before_a_reset_is_answered_for_itself(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.ask("hi", event_id="first")
        for event_id in ("host", "own"):
            await session.send(event_id, event_id=event_id, when_busy="merge")
            await session.wait(event_id)
        await session.pause()
        await session.send("late", event_id="late", when_busy="merge")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await until(lambda: _queued(session, "late"))
        # Back to the first task: the three are signalled again, side by side, and now become one turn.
        first = (await events(rig.temporal, handle.id)).index("WorkflowTaskCompleted") + 1
        await rig.temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=rig.temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id),
                reason="test",
                workflow_task_finish_event_id=first,
                request_id="reset-1",
            )
        )
        await session.resume()
        assert (await session.wait("late")).text == "You said: late"
        assert (await session.wait("own")).text == "You said: own"
        assert await ended(session, 4) == {"accepted": 4, "applied": 4}
        contents = [str(entry.body["content"]) async for entry in session.entries() if entry.type == "user.message"]
        assert sorted(contents) == ["hi", "host", "late", "own"]


async def _queued(session: Session, event_id: str) -> bool:
    return event_id in [queued.event_id for queued in (await session.status()).queue]


@pytest.mark.promise("ACC-8")
async def test_an_audit_names_the_events_that_differ(rig: Rig) -> None:
    async with session_of(rig, capacity=1) as session:
        await session.ask("hi", event_id="first")
        await session.send("[[delay 0.5]] a b c", event_id="slow")
        await until(lambda: _running(session, "slow"))
        await session.send("x", event_id="waits")
        with pytest.raises(Backpressure):  # by the handler: its history holds the update
            await session.submit("zero", event_id="refused", source="hook", sequence=0)
        assert await ended(session, 3) == {"accepted": 3, "applied": 3}
        change(
            rig.journal,
            "DELETE FROM outcomes WHERE event_id = 'slow'",
            "UPDATE outcomes SET disposition = 'cancelled' WHERE event_id = 'first'",
        )
        found = (await session.audit()).differences
        assert "event slow ended applied by its entries, and has no outcome" in found
        assert "event first ended applied by its entries, and its outcome says cancelled" in found
        change(
            rig.journal, "UPDATE entries SET event_id = 'phantom' WHERE type = 'turn.started' AND event_id = 'waits'"
        )
        found = (await session.audit(deep=True)).differences
        assert "event phantom is in the journal, and no run accepted it" in found


async def test_an_event_is_read_once_whichever_way_it_comes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Mock(wraps=read_event)
    monkeypatch.setattr("inturn_workflows.admission.read_event", reading)
    async with session_of(rig) as session:
        await session.send("hi", event_id="signal")
        await session.wait("signal")
        await session.submit("hi", event_id="update")
        await session.submit("hi", event_id="numbered", source="hook", sequence=0)
        await session.ask("hi", event_id="asked")
        read = [call.args[0]["event_id"] for call in reading.call_args_list]
        assert read == ["signal", "update", "numbered", "asked"], "by the validator and its handler together"
