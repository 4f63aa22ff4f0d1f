"""A flood at one session: what is accepted is processed in order, the rest is refused visibly, others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import pytest

from inturn import Client, Session
from tests.support.flooding import PRODUCERS, Flood, patient
from tests.support.histories import runs, settled
from tests.support.rig import Rig
from tests.support.waiting import until

SIGNALS = 10_000
MIXED = int(os.environ.get("INTURN_TEST_FLOOD", "1000"))
"""Signals, and as many updates at the same time. Each update gets in and is a turn: 10,000 take some twelve minutes."""
FULL = 10_000
"""From this size on the flood is the promised one, and who asks for it has a quiet machine."""
PATIENT = 1_200
"""Updates at a paused session: more than its inbox takes."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]


async def _p99(client: Client, stop: asyncio.Event) -> float:
    """Let 20 other sessions ask about once a second until `stop`; give the 99th percentile of their waits."""
    times: list[float] = []

    async def ask(number: int) -> None:
        session = client.session(f"other{number}", agent="support")
        while not stop.is_set():
            began = time.monotonic()
            await session.ask("hi")
            times.append(time.monotonic() - began)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stop.wait()

    await asyncio.gather(*(ask(number) for number in range(20)))
    return sorted(times)[int(len(times) * 0.99)]


async def _quiet(client: Client, seconds: float) -> float:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    return await _p99(client, stop)


@pytest.mark.promise("ACC-9", "ACC-8", "ORD-1", "SUR-6")
async def test_ten_thousand_signals_are_processed_in_order_or_rejected_visibly_and_others_are_served(rig: Rig) -> None:
    quiet, flooded, _ = await _flood(rig, signals=SIGNALS, submits=0)
    # Twice leaves room for a machine that is busy with something else.
    assert flooded <= 2 * quiet


@pytest.mark.timeout(900 + 0.09 * MIXED)  # half an hour for 10,000 of each
@pytest.mark.promise("ACC-9", "ACC-8", "ORD-1", "SUR-6")
async def test_signals_and_updates_at_once_are_processed_in_order_or_refused_and_others_are_served(rig: Rig) -> None:
    full = MIXED >= FULL
    # In 10 s there are 180 waits, and the second longest of them varies by more than a fifth.
    quiet, flooded, after = await _flood(rig, signals=MIXED, submits=MIXED, quiet_for=60 if full else 10)
    if full:
        assert flooded <= 1.2 * quiet
    else:
        # Too short to tell a fifth on a machine that others use too: one stall of it meets all 20, and is more than a
        # hundredth of the time. Where floods took others' time by replays it was 0.25 s to 0.8, and 0.1 s to 1.2.
        assert flooded <= 2 * max(quiet, after) + 0.2


async def _flood(rig: Rig, *, signals: int, submits: int, quiet_for: float = 10) -> tuple[float, float, float]:
    """Flood a session, and check what became of all that; gives the p99 of others before the flood, in it and after."""
    async with rig.client() as client:
        await asyncio.to_thread(rig.process().start)
        await _quiet(client, 10)  # warms up
        quiet = await _quiet(client, quiet_for)
        stop = asyncio.Event()
        probe = asyncio.create_task(_p99(client, stop))

        flood = Flood(rig.tenant, rig.task_queue, "flooded", signals, submits)
        await flood.send(rig.address)
        session = client.session("flooded")

        async def drained() -> bool:
            status = await session.status()
            ended = status.counts.get("applied", 0) + status.counts.get("rejected", 0)
            return ended == status.counts.get("accepted") == flood.sent

        await until(drained, within=300, every=0.5)
        stop.set()
        flooded = await probe
        ratio = f"{flooded / quiet:.2f}×"
        print(f"p99 of 20 other sessions: {quiet:.3f} s in the quiet, {flooded:.3f} s in the flood ({ratio})")

        await _nothing_lost(rig, session, flood)
        after = await _quiet(client, 10)
        print(f"and {after:.3f} s after it")
        return quiet, flooded, after


async def _nothing_lost(rig: Rig, session: Session, flood: Flood) -> None:
    """Check that each event was processed in its producer's order, or rejected in the open."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("flooded")))
    await settled(handle)
    assert len(await runs(rig.temporal, handle.id)) >= 2
    started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
    rejected = [e async for e in session.entries() if e.type == "event.rejected"]
    told = sum(int(e.body.get("count", 1)) for e in rejected)
    assert len(set(started)) == len(started)
    assert len(started) + told == flood.sent
    updates = [event_id for event_id in started if str(event_id).startswith("u")]
    assert len(updates) == flood.submits // PRODUCERS * PRODUCERS, "with their retry all get in"
    assert all("the inbox is full" in e.body["reason"] or "count" in e.body for e in rejected)
    for producer in (f"{kind}{number}" for kind in "pu" for number in range(PRODUCERS)):
        own = [int(str(e).partition(":")[2]) for e in started if str(e).startswith(f"{producer}:")]
        assert own == sorted(own)
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences


@pytest.mark.promise("ACC-9")
async def test_submit_with_its_retry_gets_all_in(rig: Rig) -> None:
    async with rig.client() as client:
        async with rig.worker():
            session = client.session("s", agent="support")
            await session.ask("hello", event_id="hello")
            await session.pause()  # so that the inbox fills whatever the machine's speed
            sessions = [client.session("s") for _ in range(PRODUCERS)]

            async def produce(producer: int) -> int:
                ids = [f"p{producer}:{n}" for n in range(PATIENT // PRODUCERS)]
                return sum([await patient(sessions[producer], event_id) for event_id in ids])

            producing = asyncio.gather(*(produce(p) for p in range(PRODUCERS)))

            async def full() -> bool:
                return len((await session.status()).queue) == 1_000

            await until(full, within=120)
            await session.resume()
            assert sum(await producing) > 0, "it was full, and they were told"

            async def drained() -> bool:
                return (await session.status()).counts.get("applied") == 1 + PATIENT // PRODUCERS * PRODUCERS

            await until(drained, within=200, every=0.5)
            audit = await session.audit()
            assert audit.ok, audit.differences
