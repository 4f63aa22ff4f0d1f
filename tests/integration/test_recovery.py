"""What a run that was ended from outside had accepted comes again, whatever it was and whatever stands beside it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from inturn import Session, TurnFailed, names
from inturn.values import Entry
from tests.support.histories import replayed, reset, settled
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SUR-11", "SUR-15", "ACC-1", "ACC-8")


@pytest_asyncio.fixture(autouse=True)
async def every_history_replays(rig: Rig) -> AsyncIterator[None]:
    yield
    assert await replayed(rig.temporal, str(rig.key("s")))


def _handle(rig: Rig) -> WorkflowHandle[Any, Any]:
    return rig.temporal.get_workflow_handle(str(rig.key("s")))


async def _started(session: Session) -> list[str | None]:
    return [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]


async def _has_rejected(session: Session) -> bool:
    return "event.rejected" in [entry.type async for entry in session.entries()]


async def _well(rig: Rig, session: Session) -> None:
    await settled(_handle(rig))
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


async def test_an_event_that_was_rejected_before_it_was_accepted_is_not_lost(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="done")
        await session.pause()
        await session.send("in its way", event_id="first")
        await session.send("busy?", event_id="again", when_busy="reject")
        await until(lambda: _has_rejected(session))
        await session.send("and now", event_id="again")
        await until(lambda: _counts(session, 3))
        await _handle(rig).terminate("an operator")
        audit = await session.audit(deep=True)
        assert sum("event again" in difference for difference in audit.differences) >= 1, audit
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=20)).disposition == "applied"
        assert await _started(session) == ["done", "first", "again", "new"]
        await _well(rig, session)


async def _counts(session: Session, pending: int) -> bool:
    counts = (await session.status()).counts
    return counts.get("accepted") == pending + 1


async def test_an_event_that_came_after_its_cancel_is_not_cancelled(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="done")
        await session.pause()
        assert not await session.cancel("later")
        await session.submit("it came later", event_id="later")
        await _handle(rig).terminate("an operator")
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=20)).disposition == "applied"
        assert await _started(session) == ["done", "later", "new"]
        await _well(rig, session)


async def test_a_source_keeps_its_order_when_its_run_is_ended_from_outside(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(2):
            await session.ask("hi", event_id=f"a{n}", source="a", sequence=n)
        await session.pause()
        for n in (4, 2, 3):
            await session.send("hi", event_id=f"a{n}", source="a", sequence=n)
        await session.send("hi", event_id="a7", source="a", sequence=7)
        await until(lambda: _counts(session, 5))
        await _handle(rig).terminate("an operator")
        await session.send("hi", event_id="a6", source="a", sequence=6)
        assert (await session.wait("a6", timeout=20)).disposition == "applied"
        assert (await session.wait("a7", timeout=20)).disposition == "applied"
        assert await _started(session) == [f"a{n}" for n in (0, 1, 2, 3, 4, 6, 7)]
        await _well(rig, session)


async def test_what_was_accepted_before_finds_room_beside_what_came_since(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        ids = [f"e{n}" for n in range(120)]
        for event_id in ids:
            await session.send("x" * 3_900, event_id=event_id)
        await _handle(rig).terminate("an operator")
        since = [f"n{n}" for n in range(40)]
        for event_id in since:
            await session.send("x" * 3_900, event_id=event_id)
        async with rig.worker():
            assert (await session.wait(since[-1], timeout=60)).disposition == "applied"
            assert await _started(session) == [*ids, *since]
            await _well(rig, session)


@pytest.mark.parametrize(
    "start",
    [
        {"state": "x"},
        {"state": {"inbox": 5, "turn": [1]}},
        {"state": {"inbox": {"queue": {"events": [5, {"turn": 3, "event": "x"}]}, "books": {"unnamed": "x"}}}},
        {
            "agent": "support",
            "state": {"inbox": {"queue": {"events": [{"turn": "forged", "event": {"content": "x"}}]}}},
        },
    ],
)
async def test_whatever_a_session_was_started_with_by_hand_it_goes_on(rig: Rig, start: dict[str, Any]) -> None:
    async with rig.worker(), rig.client() as client:
        handle = await rig.temporal.start_workflow(
            "Session",
            start,
            id=str(rig.key("s")),
            task_queue=rig.task_queue,
            start_signal="submit",
            start_signal_args=[{"event_id": "e1", "content": '[[tool wait {"seconds": 2}]]', "agent": "support"}],
        )
        session = client.session("s", agent="support")

        async def running() -> bool:
            return (await session.status()).turn is not None

        await until(running)
        await handle.terminate("an operator")
        assert (await session.status()).health == "ended"
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=20)).disposition == "applied"
        assert await _started(session) == ["e1", "new"]
        await _well(rig, session)


async def test_what_was_rejected_is_no_difference_after_a_reset(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="done")
        await session.pause()
        await session.send("in its way", event_id="first")
        await session.send("busy?", event_id="again", when_busy="reject")
        await until(lambda: _has_rejected(session))
        await session.resume()
        await session.wait("first", timeout=20)
        await settled(_handle(rig))
        await reset(rig.temporal, str(rig.key("s")), 0)
        await until(lambda: _counts(session, 2))
        await _well(rig, session)


async def test_what_was_rejected_in_a_flood_of_nonsense_is_known_event_by_event(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("in their way", event_id="first")
        for n in range(100):  # all of them are in one activation
            nonsense = (_handle(rig).signal(names.SUBMIT, f"nonsense {n}-{each}") for each in range(7))
            await asyncio.gather(*nonsense)
            await session.send("busy?", event_id=f"r{n}", when_busy="reject")
        async with rig.worker():
            await session.wait("first", timeout=20)
            await _well(rig, session)
            counted = [entry.body for entry in await _entries(session, "event.rejected") if "count" in entry.body]
            assert sum(body["count"] for body in counted) == 801 - 1 - 500
            assert [list(body["signals"]) for body in counted if "signals" in body]
            await reset(rig.temporal, str(rig.key("s")), 0)
            await until(lambda: _counts(session, 800))
            await _well(rig, session)
            await session.send("and now", event_id="r99")
            await session.wait("r99", timeout=20)
            await _handle(rig).terminate("an operator")
            await session.ask("came since", event_id="new")
            assert (await _started(session))[-1:] == ["new"]
            assert "r98" not in await _started(session)
            await _well(rig, session)


async def _entries(session: Session, type_: str) -> list[Entry]:
    return [entry async for entry in session.entries() if entry.type == type_]


@pytest.mark.promise("SUR-3")
async def test_what_is_parked_can_be_driven_again_through_a_terminate_and_a_redrive_that_waited_runs(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        for event_id in ("asked", "later", "given-up"):
            with pytest.raises(TurnFailed):
                await session.ask(f"[[fault 400]] poison {event_id}", event_id=event_id)
        await session.pause()
        await session.send("waits", event_id="waits")
        assert await session.redrive("asked")
        await _handle(rig).terminate("an operator")
        await session.ask("came since", event_id="new")
        redriven = [e.body["turn"] for e in await _entries(session, "turn.started")]
        assert redriven == ["asked", "later", "given-up", "asked~1", "waits", "new"]
        assert (await session.wait("asked")).disposition == "applied"
        assert [parked.event_id for parked in await session.parked()] == ["later", "given-up"]
        assert await session.discard("given-up")
        assert await session.redrive("later")
        await until(lambda: _has_begun(session, "later~1"))
        await _well(rig, session)


async def _has_begun(session: Session, turn: str) -> bool:
    return any(entry.body["turn"] == turn for entry in await _entries(session, "turn.started"))


@pytest.mark.promise("ACC-6")
async def test_an_event_that_expired_meanwhile_is_not_processed_late(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="done")
        await session.send('[[tool wait {"seconds": 2}]]', event_id="began", expires_after=1.0)

        async def running() -> bool:
            return (await session.status()).turn is not None

        await until(running)
        await session.pause()
        await session.submit("hi", event_id="soon", expires_after=1.0)
        await session.submit("hi", event_id="later", expires_after=60.0)
        await _handle(rig).terminate("an operator")
        accepted = time.time()
        await until(lambda: _true(time.time() > accepted + 1.5))
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=20)).disposition == "applied"
        assert await _started(session) == ["done", "began", "later", "new"]
        assert (await session.status()).counts.get("expired") == 1
        await _well(rig, session)


async def _true(value: bool) -> bool:
    return value


async def test_large_signals_of_another_sdk_that_one_run_held_are_no_load_for_the_next(rig: Rig) -> None:
    many, large = int(os.environ.get("INTURN_TEST_LARGE", "24")), "x" * 240_000
    async with rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("hi", event_id="e")
        for n in range(many):
            await _handle(rig).signal("submit", {"event_id": f"e{n}", "content": f"[[say ok]] {large}"})
        await _handle(rig).terminate("an operator")
        await session.send("came since", event_id="new")
        async with rig.worker():
            assert (await session.wait("new", timeout=60)).disposition == "applied"
            assert await _started(session) == ["e", *(f"e{n}" for n in range(many)), "new"]
            await _well(rig, session)
    async for run in rig.temporal.list_workflows(f"WorkflowId = '{rig.key('s')}'"):
        size = (await rig.temporal.get_workflow_handle(run.id, run_id=run.run_id).describe()).raw_description
        if run.status is not WorkflowExecutionStatus.TERMINATED:
            assert size.workflow_execution_info.history_size_bytes < 64 * 1024 + many * 4 * 1024


async def test_one_that_was_cancelled_while_its_session_recovered_stays_cancelled_through_another_terminate(
    rig: Rig,
) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker():
            await session.ask("hi", event_id="done")
            await session.pause()
            await session.submit("hi", event_id="out")
            await session.submit("hi", event_id="in")
        await _handle(rig).terminate("an operator")
        # What the first recovery brought and people did then; its worker is gone, so the journal knows nothing of it.
        await session.send("hi", event_id="second")
        await _handle(rig).signal("submit", {"event_id": "out", "content": "hi", "again": time.time()})
        await _handle(rig).signal("control", {"control_id": "c", "op": "cancel", "event_id": "out"})
        await _handle(rig).terminate("an operator, again")
        await session.send("hi", event_id="third")
        async with rig.worker():
            assert (await session.wait("third", timeout=20)).disposition == "applied"
            assert await _started(session) == ["done", "in", "second", "third"]
            assert (await session.status()).counts.get("cancelled") == 1
            await _well(rig, session)


async def _parked(session: Session) -> set[str | None]:
    return {entry.event_id async for entry in session.entries() if entry.type == "event.parked"}


async def test_what_was_decided_beside_a_turn_stands_when_its_run_is_ended_from_outside(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        await session.ask("hi", event_id="done")
        await handle.signal("submit", {"event_id": "given-up", "content": ""})
        await until(lambda: _has_parked(session, "given-up"))
        await session.send('[[tool wait {"seconds": 4}]]', event_id="runs")
        await session.submit("hi", event_id="taken-out")

        async def running() -> bool:
            return (await session.status()).turn is not None

        await until(running)
        assert await session.cancel("taken-out")
        await session.discard("given-up", reason="spam")
        await handle.signal("submit", {"event_id": "no-event", "content": ""})
        await handle.signal("sbumit", {"event_id": "typo", "content": "hi"})
        await until(lambda: _counts(session, 5))
        await handle.terminate("an operator")
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=30)).disposition == "applied"
        assert await _started(session) == ["done", "runs", "new"]
        assert await _parked(session) == {"given-up", "no-event", "typo"}
        ended = [e async for e in session.entries() if e.type == "event.cancelled"]
        assert {(e.event_id, e.body.get("reason")) for e in ended} >= {("given-up", "spam")}
        assert (await session.status()).counts.get("cancelled") == 1
        await _well(rig, session)


async def _has_parked(session: Session, event_id: str) -> bool:
    return event_id in await _parked(session)


async def test_a_run_that_never_began_a_turn_leaves_no_false_alarm(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        await rig.temporal.start_workflow(
            "Session",
            id=str(rig.key("s")),
            task_queue=rig.task_queue,
            start_signal="submit",
            start_signal_args=[{"event_id": "no-event", "content": ""}],
        )
        await until(lambda: _has_parked(session, "no-event"))
        await handle.terminate("an operator")
        await session.send("came since", event_id="new")
        assert (await session.wait("new", timeout=20)).disposition == "applied"
        await _well(rig, session)


@pytest.mark.promise("ORD-1", "SUR-9")
async def test_the_order_of_each_beginning_is_its_own_whatever_its_first_turn_did_before(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(3):
            await session.ask("hi", event_id=f"e{n}")
        await _handle(rig).terminate("an operator")
        await session.ask("hi", event_id="e1")  # known to the journal alone
        await session.ask("hi", event_id="e3")
        await _well(rig, session)
        for n in range(2):  # each time in a tool, so that the turn began before
            await session.send('[[tool wait {"seconds": 0.5}]]', event_id=f"tool{n}")
            await until(lambda: _in_a_tool(session))
            await session.send("hi", event_id=f"waits{n}")
            await _handle(rig).terminate("an operator")
            await session.ask("hi", event_id=f"since{n}", timeout=20)
            await _well(rig, session)


async def _in_a_tool(session: Session) -> bool:
    turn = (await session.status()).turn
    return turn is not None and turn.doing.startswith("tools")
