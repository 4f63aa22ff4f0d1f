"""What bounds an inbox, end to end: a hold buffer that ends waits early, the bytes, one timer for all that waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Any

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from inturn import Backpressure, InvalidEvent, TurnFailed
from inturn.client.session import Session
from tests.support.agents import agents as test_agents
from tests.support.agents import desk
from tests.support.histories import events, settled
from tests.support.rig import Rig
from tests.support.waiting import until

LONG = 600.0
"""Seconds of a gap that nothing here waits for."""
BIG = "x" * 800


@asynccontextmanager
async def session_of(rig: Rig, **policy: object) -> AsyncIterator[Session]:
    """A session whose agent has that policy, and that has learnt it in a first turn."""
    async with desk.session_of(rig, deliver=test_agents._deliver, **policy) as session:
        await session.ask("hi", event_id="first")
        yield session


async def numbered(session: Session, event_id: str) -> str:
    """Submit an event that says where it belongs: `a1` is number 1 of source a. Gives its receipt's status."""
    receipt = await session.submit("x", event_id=event_id, source=event_id[0], sequence=int(event_id[1:]))
    return receipt.status


async def ended(session: Session, **counts: int) -> None:
    """Wait until the events have ended like that, and audit them."""

    async def so() -> bool:
        return (await session.status()).counts == {"accepted": sum(counts.values()), **counts}

    await until(so)
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


async def held(session: Session) -> list[str]:
    return [event.event_id for event in (await session.status()).held]


async def bodies(session: Session, type_: str) -> list[dict[str, object]]:
    return [entry.body async for entry in session.entries() if entry.type == type_]


async def turns(session: Session, source: str = "") -> list[str]:
    started = [str(body["turn"]) for body in await bodies(session, "turn.started")]
    return [turn for turn in started if turn.startswith(source)]


@pytest.mark.promise("ORD-3", "ORD-4", "ORD-5", "ORD-6")
async def test_a_full_hold_buffer_ends_the_first_wait_early_where_the_policy_says_so_and_keeps_order(rig: Rig) -> None:
    async with session_of(rig, hold_capacity=3, hold_overflow="release", gap_timeout=LONG) as session:
        for event_id in ("a2", "b1", "a4", "a6"):
            assert await numbered(session, event_id) == "held"
        assert (await session.wait("a2", timeout=30)).disposition == "applied"
        gap_of_a = {"source": "a", "missing": [0, 1], "count": 2, "policy": "skip"}
        assert await bodies(session, "session.gap") == [gap_of_a]
        assert await held(session) == ["b1", "a4", "a6"], "no more than one wait ended"
        await session.send("x", event_id="a8", source="a", sequence=8)
        assert (await session.wait("b1", timeout=30)).disposition == "applied"
        gap_of_b = {"source": "b", "missing": [0, 0], "count": 1, "policy": "skip"}
        assert await bodies(session, "session.gap") == [gap_of_a, gap_of_b]
        assert await held(session) == ["a4", "a6", "a8"]
        with pytest.raises(TurnFailed, match="late"):
            await session.ask("x", event_id="a1", source="a", sequence=1)
        for event_id in ("a3", "a5", "a7"):
            assert await numbered(session, event_id) == "accepted"
        await ended(session, applied=9, parked=1)
        assert await turns(session, "a") == [f"a{n}" for n in range(2, 9)]
        assert len(await bodies(session, "session.gap")) == 2


@pytest.mark.promise("ACC-5")
async def test_an_inbox_that_is_full_by_its_bytes_refuses_updates_and_rejects_signals_in_the_open(rig: Rig) -> None:
    async with session_of(rig, capacity_bytes=2_400, gap_timeout=LONG) as session:
        await session.pause()
        held_one = await session.submit(BIG, event_id="held", source="a", sequence=1)
        assert held_one.status == "held", "and counts as well"
        await session.submit(BIG, event_id="queued")
        with pytest.raises(Backpressure, match="bytes wait") as full:
            await session.submit(BIG, event_id="update")
        assert full.value.retry_after is not None
        assert 0 < full.value.retry_after <= 60
        await session.send(BIG, event_id="signal", source="web", metadata={"to": "C1"})
        (rejected,) = await until(lambda: bodies(session, "event.rejected"))
        assert rejected["error"] == "Backpressure"
        assert "bytes wait" in str(rejected["reason"])
        assert (rejected["source"], rejected["metadata"]) == ("web", {"to": "C1"})
        await until(lambda: _noticed(rig))
        with pytest.raises(InvalidEvent, match="2,400 in all"):
            await session.submit(4 * BIG, event_id="never")
        assert (await session.submit("x", event_id="small")).status == "accepted", "it is not full by its events"
        await session.resume()
        await session.wait("small", timeout=30)
        for event_id in ("update", "signal"):  # neither is remembered: with room they may come again
            assert (await session.ask(BIG, event_id=event_id)).disposition == "applied"
        await session.submit("x", event_id="zero", source="a", sequence=0)
        await ended(session, applied=7, rejected=1)
        assert await turns(session) == ["first", "queued", "small", "update", "signal", "zero", "held"]


@pytest.mark.promise("SUR-15", "SUR-6", "ACC-5", "ACC-7")
async def test_a_session_fed_with_the_worst_goes_on_in_its_next_run_and_closes_with_all_of_it_recorded(
    rig: Rig,
) -> None:
    bad = "\x01" * 50  # six bytes each as JSON
    async with rig.worker(), rig.client() as client:
        limits = {"agent": "support", "limits": {"signals": 1_550}}
        handle = await rig.temporal.start_workflow("Session", limits, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client.session("s")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="host".ljust(128, "i"))
        asked = await until(lambda: _asked(session))
        steer = {"content": bad, "when_busy": "steer", "metadata": {"to": bad[:20]}}
        steers = [steer | {"event_id": f"{n}".ljust(128, "i")} for n in range(1_240)]
        approves = [
            {
                "control_id": f"c{n}".ljust(128, "i"),
                "op": "approve",
                "approval_id": f"{n}:x".ljust(256, "i"),
                "by": "\x01" * 256,
                "reason": "\x01" * 500,
            }
            for n in range(256)
        ]
        for lot in (steers, approves):
            name = "submit" if lot is steers else "control"
            await asyncio.gather(*(handle.signal(name, message) for message in lot))
        await asyncio.gather(*(handle.signal("submit", bad + str(n)) for n in range(100)))
        await until(lambda: _second_run(session))
        status = await session.status()
        assert [approval.approval_id for approval in status.approvals] == [asked]
        assert status.counts["accepted"] == 1 + 1_240 + 256 + 100, "an approve as long as that is parked"
        await session.close(pending="park", timeout=60)
        histories = [await run.fetch_history() async for run in _runs(rig)]
        records = [event for history in histories for event in history.events if _is_record(event)]
        assert len(records) >= 2
        audit = await session.audit()
        assert audit.ok, audit.differences


async def _asked(session: Session) -> str | None:
    return next((approval.approval_id for approval in (await session.status()).approvals), None)


async def _second_run(session: Session) -> bool:
    return (await session.status()).runs >= 2


async def _runs(rig: Rig) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    async for run in rig.temporal.list_workflows(f'WorkflowId = "{rig.key("s")}"'):
        yield rig.temporal.get_workflow_handle(run.id, run_id=run.run_id)


def _is_record(event: HistoryEvent) -> bool:
    return event.activity_task_scheduled_event_attributes.activity_type.name == "record"


async def _noticed(rig: Rig) -> bool:
    return len(rig.attempts("deliver:Notice")) == 1


@pytest.mark.promise("ORD-4", "ACC-10")
async def test_all_sources_that_wait_have_one_timer_which_is_for_the_earliest_deadline(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=LONG) as session:
        assert await timers(rig) == []  # and it is idle: each arrival finds it waiting
        for event_id in ("a1", "b1", "a2", "c1"):
            assert await numbered(session, event_id) == "held"
        due = {event.source: event.until.timestamp() for event in (await session.status()).held if event.until}
        assert due["a"] < due["b"] < due["c"]
        assert await fires_at(rig) == _about(due["a"])
        assert await timers(rig) == ["TimerStarted"], "one for four events of three sources"
        for missing, last in (("a0", "a2"), ("c0", "c1")):
            await numbered(session, missing)
            await session.wait(last, timeout=30)
            _, *later = await fires_at(rig)
            assert later
            assert later == _about(*[due["b"]] * len(later)), "b has waited longest now, whatever came after it"
        await numbered(session, "b0")
        await ended(session, applied=8)
        found = await timers(rig)
        assert found == ["TimerStarted", "TimerCanceled"] * (len(found) // 2), "one at a time, none is left, none fired"
        assert 3 <= len(found) // 2 <= 3 + 5, "one for each time that it waits, at most one for each turn beside that"


@pytest.mark.promise("ORD-4", "ACC-10")
async def test_gaps_of_several_sources_end_by_one_timer_after_the_other(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5) as session:
        for event_id in ("a1", "b1", "a3", "c1"):
            await session.send("x", event_id=event_id, source=event_id[0], sequence=int(event_id[1:]))
        await ended(session, applied=5)
        assert [gap["source"] for gap in await bodies(session, "session.gap")] == ["a", "b", "a", "c"]
        found = await timers(rig)
        # One for each wait and each turn beside that, at most: a gap that is due when another's turn ends needs none.
        assert 1 <= found.count("TimerStarted") <= 4 + 4
        running = accumulate(1 if name == "TimerStarted" else -1 for name in found)
        assert [count for count in running if count not in (0, 1)] == []
        assert len(found) % 2 == 0, "the last one is over"


@pytest.mark.promise("ACC-10")
async def test_turns_that_wait_for_nothing_have_no_timer(rig: Rig) -> None:
    async with session_of(rig, expires_after=LONG, gap_timeout=LONG) as session:
        await session.send("x", event_id="sent")
        await session.submit("x", event_id="submitted", expires_after=LONG)
        await session.ask('[[tool add {"a": 1, "b": 2}]]', event_id="tool")
        for event_id in ("a0", "a1", "b0"):
            await numbered(session, event_id)
        await ended(session, applied=7)
        assert await timers(rig) == []


async def timers(rig: Rig) -> list[str]:
    """What the history says of timers, once it is quiet."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    await settled(handle)
    return [name for name in await events(rig.temporal, handle.id) if name.startswith("Timer")]


async def fires_at(rig: Rig) -> list[float]:
    """When each timer was to fire, by the workflow's own clock, in seconds since 1970."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    await settled(handle)
    history = {event.event_id: event for event in (await handle.fetch_history()).events}
    found: list[float] = []
    for event in history.values():
        if event.HasField("timer_started_event_attributes"):
            timer = event.timer_started_event_attributes
            done = history[timer.workflow_task_completed_event_id].workflow_task_completed_event_attributes
            now = history[done.started_event_id].event_time
            found.append((now.ToNanoseconds() + timer.start_to_fire_timeout.ToNanoseconds()) / 1e9)
    return found


def _about(*times: float) -> object:
    return pytest.approx(list(times), abs=0.002)
