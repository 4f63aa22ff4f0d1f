"""What an operator does to a session's workflow leaves a consistent session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from inturn import Session, SessionClosed
from tests.support.histories import replayed, reset, settled
from tests.support.rig import Rig
from tests.support.waiting import until


@pytest_asyncio.fixture(autouse=True)
async def every_history_replays(rig: Rig) -> AsyncIterator[None]:
    """After each scenario, have its histories replayed: a worker that starts then must be able to go on."""
    yield
    assert await replayed(rig.temporal, str(rig.key("s")))


async def _counted(rig: Rig, session: Session, accepted: int) -> None:
    """Wait until a reset session has counted its events again and is quiet."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))

    async def again() -> bool:
        return (await session.status()).counts.get("accepted") == accepted

    await until(again)
    await settled(handle)


async def _started(session: Session) -> list[str | None]:
    return [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]


@pytest.mark.promise("SUR-11", "EFF-3")
@pytest.mark.parametrize("task", [0, 3, -1], ids=["first", "third", "last"])
async def test_a_reset_repeats_nothing_that_is_recorded(rig: Rig, task: int) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(3):
            await session.ask(f'[[tool charge {{"cents": {n}}}]]', event_id=f"e{n}")
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        calls, effects = len(claude.requests), len(rig.attempts("charge"))
        await reset(rig.temporal, str(rig.key("s")), task)
        await _counted(rig, session, 3)
        assert (await session.ask("hi", event_id="after")).disposition == "applied"
        assert len(rig.attempts("charge")) == effects == 3
        assert len(claude.requests) == calls + 1
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


# By `ask` and by signal, of one handle (lower case) and another (upper case), in the order of their calls.
MIXTURES = ["asas", "saSA", "aSsA", "AsaSas"]


@pytest.mark.promise("SUR-11", "ACC-8")
@pytest.mark.parametrize("mixture", MIXTURES)
async def test_a_reset_session_that_was_sent_to_both_ways_lives_through_restarts(rig: Rig, mixture: str) -> None:
    async with rig.worker(), rig.client() as client:
        handles = client.session("s", agent="support"), client.session("s", agent="support")
        for n, kind in enumerate(mixture):
            session = handles[kind.isupper()]
            await (session.ask if kind in "aA" else session.send)("hi", event_id=f"e{n}")
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        before = await _started(handles[0])
        await reset(rig.temporal, str(rig.key("s")), 0)
        await _counted(rig, handles[0], len(mixture))
    async with rig.worker(), rig.client() as client:  # it knows nothing, and replays
        session = client.session("s")
        assert (await session.ask("and now?", event_id="after")).disposition == "applied"
        assert await _started(session) == [*before, "after"]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11", "ORD-11")
async def test_what_one_handle_sent_keeps_its_order_through_a_reset(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, other = client.session("s", agent="support"), client.session("s")
        await session.ask("hi", event_id="first")
        await session.pause()
        for n in range(6):
            await (session.send if n % 2 else session.submit)("hi", event_id=f"e{n}")
            await other.send("hi", event_id=f"o{n}")
        await reset(rig.temporal, str(rig.key("s")), 0)
        await _counted_paused(rig, session, 13)
        await session.resume()
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        started = await _started(session)
        assert [e for e in started if str(e)[0] == "e"] == [f"e{n}" for n in range(6)]
        assert [e for e in started if str(e)[0] == "o"] == [f"o{n}" for n in range(6)]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


async def _counted_paused(rig: Rig, session: Session, accepted: int) -> None:
    async def again() -> bool:
        status = await session.status()
        return status.counts.get("accepted") == accepted and status.state == "paused"

    await until(again)


@pytest.mark.promise("SUR-11", "ACC-3")
async def test_events_without_ids_are_the_same_ones_after_a_reset(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        for _ in range(2):  # the same word twice is two events
            await handle.execute_update("submit", {"content": "yes"})
            await handle.signal("submit", {"content": "yes"})
        await settled(handle)
        before = await _started(session)
        assert len(before) == 5
        await reset(rig.temporal, str(rig.key("s")), 0)
        await _counted(rig, session, 5)
        assert await _started(session) == before
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
async def test_a_reset_in_mid_turn_goes_on_with_that_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await session.send('[[tool wait {"seconds": 1.5}]]', event_id="e2")
        await session.send("next", event_id="e3")

        async def in_a_tool() -> bool:
            turn = (await session.status()).turn
            return turn is not None and turn.doing.startswith("tools")

        await until(in_a_tool)
        await reset(rig.temporal, str(rig.key("s")), -1)
        assert (await session.wait("e3", timeout=20)).disposition == "applied"
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        assert await _started(session) == ["e1", "e2", "e3"]
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
async def test_an_operators_cancel_closes_the_session_in_good_order(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).cancel()
        await session.close(timeout=20)
        with pytest.raises(SessionClosed):
            await session.send("again", event_id="e2")


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


@pytest.mark.promise("SUR-11", "SUR-15", "ACC-1", "ACC-8")
@pytest.mark.parametrize("tool", [False, True], ids=["waiting", "in-a-tool"])
async def test_what_a_terminated_run_had_accepted_comes_before_what_came_since(rig: Rig, tool: bool) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await session.ask("hi", event_id="done")
        if tool:
            await session.send('[[tool wait {"seconds": 2}]]', event_id="e0")

            async def in_a_tool() -> bool:
                turn = (await session.status()).turn
                return turn is not None and turn.doing.startswith("tools")

            await until(in_a_tool)
        await session.pause()
        await session.submit("by update", event_id="e1")
        await session.send("by signal", event_id="e2", when_busy="steer")
        await handle.signal("submit", {"content": "without an id"})
        await session.submit("x" * 40_000, event_id="large")
        await session.send("no more", event_id="gone")
        assert await session.cancel("gone")
        await handle.terminate("an operator")
        await session.send("came since", event_id="new")
        await session.send("and this", event_id="newer")
        assert (await session.wait("newer", timeout=20)).disposition == "applied"
        started = [event_id for event_id in await _started(session) if not str(event_id).startswith("auto:")]
        assert started == ["done", *(["e0"] if tool else []), "e1", "e2", "large", "new", "newer"]
        assert len(await _started(session)) == len(started) + 1
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11", "SUR-15", "ACC-1")
async def test_what_no_worker_ever_saw_is_not_lost_with_its_run(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(5):
            await session.send("hi", event_id=f"e{n}")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("an operator")
        await session.send("came since", event_id="new")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("another operator")
        await session.send("and this", event_id="newer")
        async with rig.worker():
            assert (await session.wait("newer", timeout=20)).disposition == "applied"
            assert await _started(session) == [*(f"e{n}" for n in range(5)), "new", "newer"]
            await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
@pytest.mark.parametrize("how", ["park", "cancel", "an operator's cancel"])
async def test_a_close_that_was_acknowledged_outlasts_its_run(rig: Rig, how: str) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        async with rig.worker():
            await session.ask("hi", event_id="e0")
        await session.send("waits", event_id="e1")
        if how == "an operator's cancel":
            await handle.cancel()
        else:
            await handle.signal("control", {"control_id": "c", "op": "close", "pending": how})
        await handle.terminate("an operator")
        await session.send("came since", event_id="new")
        async with rig.worker():
            await until(lambda: _closed(session))
            types = {"turn.completed", "event.parked", "event.cancelled"}
            ends = [(entry.event_id, entry.type) async for entry in session.entries() if entry.type in types]
            waited = "event.cancelled" if how == "cancel" else "event.parked"
            assert ends == [("e0", "turn.completed"), ("e1", waited), ("new", waited)]
            await until(lambda: _ended(handle))  # a signal that comes before is accepted, and rejected
            with pytest.raises(SessionClosed):
                await session.send("later", event_id="later")


async def _ended(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).status is not WorkflowExecutionStatus.RUNNING


async def _closed(session: Session) -> bool:
    return "session.closed" in [entry.type async for entry in session.entries()]


@pytest.mark.promise("SUR-11")
async def test_a_closed_session_recovers_nothing(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="e1")
        await session.close()
        for start in range(2):
            handle = await rig.temporal.start_workflow(
                "Session",
                id=str(rig.key("s")),
                task_queue=rig.task_queue if start else "nobody",
                start_signal="submit",
                start_signal_args=[{"event_id": f"late{start}", "content": "hi"}],
            )
            await (handle.result() if start else handle.terminate("an operator"))
        assert await _started(session) == ["e1"]
