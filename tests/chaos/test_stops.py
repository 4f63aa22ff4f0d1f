"""Workers that are frozen or told to stop."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.rig import Rig
from tests.support.waiting import until


@pytest.mark.promise("SUR-2")
async def test_sigterm_lets_running_steps_finish_and_others_go_on_elsewhere(rig: Rig) -> None:
    async with rig.client() as client:
        first = await asyncio.to_thread(rig.process().start)
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="hello")
        await session.send('[[delay 2]] [[tool add {"a": 1, "b": 2}]] one two three', event_id="slow")

        async def running() -> bool:
            turn = (await session.status()).turn
            return turn is not None and turn.event_id == "slow"

        await until(running)
        second = asyncio.create_task(asyncio.to_thread(rig.process().start))
        assert await asyncio.to_thread(first.stop, 30) == 0
        await second
        assert (await session.wait("slow", timeout=30)).disposition == "applied"
        assert [e.type async for e in session.entries(event_id="slow")].count("agent.message") == 2


@pytest.mark.promise("SUR-2")
async def test_a_tool_resumes_from_its_last_checkpoint_on_another_worker(rig: Rig) -> None:
    async with rig.client() as client:
        first = await asyncio.to_thread(rig.process(INTURN_GRACE="1").start)
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="hello")
        await session.send('[[tool resumable {"steps": 30, "delay": 0.2}]]', event_id="long")

        async def some_done() -> bool:
            return len(rig.attempts("resumable")) >= 5

        await until(some_done)
        await asyncio.to_thread(first.stop, 30)
        await asyncio.to_thread(rig.process().start)
        turn = await session.wait("long", timeout=60)
        assert turn.tool_calls[0].status == "ok"
        done = [row[3] for row in rig.attempts("resumable")]
        assert len(set(done)) == 30
        assert len(done) <= 31  # the step that was cut is done again, none of those that were kept


@pytest.mark.promise("ACC-1")
async def test_events_sent_with_no_worker_running_are_processed_in_order_later(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(5):
            receipt = await session.send(f"message {n}", event_id=f"e{n}")
            assert receipt.status == "sent"
        await asyncio.to_thread(rig.process().start)
        assert (await session.wait("e4", timeout=30)).disposition == "applied"
        started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
        assert started == [f"e{n}" for n in range(5)]


@pytest.mark.promise("SUR-12")
async def test_status_answers_without_a_worker(rig: Rig) -> None:
    async with rig.client() as client:
        worker = await asyncio.to_thread(rig.process().start)
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="hello")
        live = await session.status()
        assert (live.source, live.health) == ("live", "ok")
        await asyncio.to_thread(worker.kill)

        async def noticed() -> bool:
            async with asyncio.timeout(6):
                status = await session.status()
            return status.source == "fallback" and status.health == "no_worker"

        await until(noticed, within=60, every=1.0)
