"""Order and conservation under many producers, through continue-as-new."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from inturn import Client
from inturn.testing.claude.log import overlaps
from tests.support.histories import runs, settled
from tests.support.rig import Rig
from tests.support.sizes import sized
from tests.support.waiting import until


@pytest.mark.timeout(400)
@pytest.mark.promise("ORD-1", "ORD-2", "ACC-2", "ACC-8", "SUR-6")
async def test_twenty_producers_with_duplicates_get_one_turn_per_event_in_their_own_order(rig: Rig) -> None:
    producers, each = 20, sized(sample=15, whole=50)
    rng = random.Random(7)

    async def produce(client: Client, producer: int) -> None:
        session = client.session("s", agent="support")
        for n in range(each):
            sends = [session.send(f"p{producer} says {n}", event_id=f"p{producer}:{n}", source=f"p{producer}")]
            if rng.random() < 0.1:
                again = max(0, n - rng.randrange(3))
                sends.append(session.send(f"p{producer} says {again}", event_id=f"p{producer}:{again}"))
            await asyncio.gather(*sends)

    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        await asyncio.gather(*(produce(client, p) for p in range(producers)))
        session = client.session("s")

        async def done() -> bool:
            counts = (await session.status()).counts
            return counts.get("applied", 0) >= producers * each

        await until(done, within=300, every=0.25)
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await settled(handle)
        started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert len(started) == len(set(started)) == producers * each
        for producer in range(producers):
            own = [event_id for event_id in started if event_id and event_id.startswith(f"p{producer}:")]
            assert own == [f"p{producer}:{n}" for n in range(each)]
        assert len(await runs(rig.temporal, str(rig.key("s")))) >= sized(sample=2, whole=6)
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert audit.accepted == producers * each
        assert overlaps(claude.requests) == []


@pytest.mark.promise("ORD-11")
async def test_calls_of_one_handle_are_accepted_in_call_order_under_gather(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await asyncio.gather(*(session.send(f"message {n}", event_id=f"e{n}") for n in range(40)))
        await session.ask("the last one", event_id="last")
        started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert started == [*(f"e{n}" for n in range(40)), "last"]


@pytest.mark.promise("ORD-11")
async def test_a_first_ask_that_has_a_journal_to_open_is_not_overtaken(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await asyncio.gather(session.ask("one", event_id="e1"), session.send("two", event_id="e2"))
        await session.wait("e2")
        assert [e.event_id async for e in session.entries() if e.type == "turn.started"] == ["e1", "e2"]


@pytest.mark.promise("ORD-1")
async def test_sessions_run_in_parallel(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        asks = [client.session(f"s{n}", agent="support").ask("[[delay 1.0]] hi", event_id="e") for n in range(8)]
        async with asyncio.timeout(6):
            turns = await asyncio.gather(*asks)
        assert all(turn.text for turn in turns)


@pytest.mark.promise("ACC-4")
async def test_a_hundred_racing_clients_start_one_session_and_lose_nothing(rig: Rig) -> None:
    async with rig.worker(), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(rig.client()) for _ in range(100)]
        sessions = [client.session("s", agent="support") for client in clients]
        await asyncio.gather(*(session.send("hi", event_id=f"e{n}") for n, session in enumerate(sessions)))

        async def done() -> bool:
            return (await sessions[0].status()).counts.get("applied") == 100

        await until(done)
        assert len(await runs(rig.temporal, str(rig.key("s")))) == 1
