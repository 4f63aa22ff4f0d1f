"""A flood at one session: what is accepted is processed in order, the rest is refused visibly, others are answered."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from statistics import median

import pytest

from inturn import Agent, Client, InboxPolicy, Session
from tests.support.histories import runs, settled
from tests.support.processes.flooding import PRODUCERS, Flood, patient
from tests.support.rig import Rig
from tests.support.sizes import sized
from tests.support.waiting import until

SIGNALS = 10_000
MIXED = int(os.environ.get("INTURN_TEST_FLOOD", sized(sample="96", whole="400")))
"""Signals, and as many updates at the same time. Each update gets in and is a turn: 10,000 take forty minutes, since
the flooded session leaves room for others.
"""
FULL = 10_000
"""From this size on the mixed flood is the promised one, and who asks for it has a quiet machine."""
CAPACITY = 100
PATIENT = 15
"""Updates of each producer at a paused session: more than its inbox takes."""
QUIET = 60.0 if MIXED >= FULL else sized(sample=7.0, whole=10.0)
"""Seconds of quiet that a flood is compared with, before it and after it."""
WARM_UP = sized(sample=4.0, whole=5.0)
"""Seconds before them, in which workers and clients load what they need, and what was queued goes."""

pytestmark = pytest.mark.timeout(1_200)


Waits = list[tuple[float, float]]
"""When somebody asked, and how long the answer took, in seconds."""


@asynccontextmanager
async def _others(client: Client) -> AsyncGenerator[Waits]:
    """Have 20 other sessions ask about once a second, not in step; yields how long their answers take."""
    waits: Waits = []
    stop = asyncio.Event()

    async def ask(number: int) -> None:
        session = client.session(f"other{number}", agent="support")
        while not stop.is_set():
            began = time.monotonic()
            await session.ask("hi")
            waits.append((began, time.monotonic() - began))
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.5, 1.5)):
                    await stop.wait()

    async with asyncio.TaskGroup() as others:
        for number in range(20):
            others.create_task(ask(number))
        try:
            yield waits
        finally:
            stop.set()


async def _quiet(client: Client) -> Waits:
    """Return how long the others' answers take while nothing else is asked."""
    async with _others(client) as waits:
        await asyncio.sleep(WARM_UP)
        waits.clear()
        await asyncio.sleep(QUIET)
    return waits


def _p99(waits: Waits) -> float:
    took = sorted(seconds for _, seconds in waits)
    return took[int(len(took) * 0.99)]


def _p99_of_each(seconds: float, waits: Waits) -> list[float]:
    """Return the 99th percentile of every so many seconds."""
    windows: defaultdict[int, Waits] = defaultdict(list)
    for began, took in waits:
        windows[int((began - waits[0][0]) / seconds)].append((began, took))
    return list(map(_p99, windows.values()))


@pytest.mark.alone
@pytest.mark.promise("ACC-9", "ACC-8", "ORD-1", "SUR-6")
async def test_ten_thousand_signals_are_processed_in_order_or_rejected_visibly_and_leave_room_for_others(
    rig: Rig,
) -> None:
    flood = Flood(rig.tenant, rig.task_queue, "flooded", SIGNALS)
    async with rig.client() as client:
        await asyncio.to_thread(rig.process().start)
        before = await _quiet(client)
        async with _others(client) as beside:
            await flood.send(rig.address)
        await _drained(client, flood)
        after = await _quiet(client)
        await _nothing_lost(rig, client.session("flooded"), flood)
    _judge(before, beside, after)


@pytest.mark.alone
@pytest.mark.timeout(900 + 0.3 * MIXED)
@pytest.mark.promise("ACC-9", "ACC-8", "ORD-1", "SUR-6")
async def test_signals_and_updates_at_once_are_processed_in_order_or_refused_and_leave_room_for_others(
    rig: Rig,
) -> None:
    flood = Flood(rig.tenant, rig.task_queue, "flooded", MIXED, MIXED)
    async with rig.client() as client:
        await asyncio.to_thread(rig.process().start)
        before = await _quiet(client)
        async with _others(client) as beside:
            await flood.send(rig.address)
            await _drained(client, flood)
        after = await _quiet(client)
        await _nothing_lost(rig, client.session("flooded"), flood)
        assert await _spacing(client.session("flooded")) >= 0.19, "while others are at work it is 0.2 s"
    _judge(before, beside, after)


def _judge(before: Waits, beside: Waits, after: Waits) -> None:
    """Check that others waited about as long during the flood as before it and after it."""
    quiet, flooded, usual = _p99(before + after), _p99(beside), median(_p99_of_each(10, beside))
    comparison = f"{quiet:.3f} s in the quiet ({_p99(before):.3f} before, {_p99(after):.3f} after)"
    print(f"p99 of 20 other sessions: {comparison}, {flooded:.3f} s in the flood ({flooded / quiet:.2f}×)")
    worst = max(_p99_of_each(60, beside))
    print(f"and {worst:.3f} s in its worst minute, {usual:.3f} s in its usual ten seconds, of {len(beside)} asked")
    if MIXED >= FULL:
        assert flooded <= 1.2 * quiet
    else:
        # Too short to tell a fifth on a machine that others use too: one stall of it meets all 20, and is more than a
        # hundredth of the time. Where floods took others' time by replays it was 0.25 s to 0.8, and 0.1 s to 1.2, all
        # the time.
        assert usual <= 2 * max(_p99(before), _p99(after)) + 0.2


async def _drained(client: Client, flood: Flood) -> None:
    """Wait until all that was accepted of a flood has ended."""
    session = client.session(flood.session_id)

    async def drained() -> bool:
        status = await session.status()
        ended = status.counts.get("applied", 0) + status.counts.get("rejected", 0)
        return ended == status.counts.get("accepted") == flood.sent

    await until(drained, within=400, every=2.0)  # asking it lists a thousand events, which takes others' time


async def _spacing(session: Session) -> float:
    """Return the usual time from one turn's start to the next one's, in seconds."""
    starts = [e.at async for e in session.entries() if e.type == "turn.started"]
    return median((later - earlier).total_seconds() for earlier, later in pairwise(starts))


async def _nothing_lost(rig: Rig, session: Session, flood: Flood) -> None:
    """Check that each event was processed in its producer's order, or rejected in the open."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("flooded")))
    await settled(handle)
    assert len(await runs(rig.temporal, handle.id)) >= 2
    started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
    rejected = [e async for e in session.entries() if e.type == "event.rejected"]
    rejections = sum(int(e.body.get("count", 1)) for e in rejected)
    assert len(set(started)) == len(started)
    assert len(started) + rejections == flood.sent
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
    agent = Agent("support", model="m", instructions="", inbox=InboxPolicy(capacity=CAPACITY))
    async with rig.worker([agent]), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="hello")
        await session.pause()  # so that the inbox fills whatever the machine's speed
        sessions = [client.session("s") for _ in range(PRODUCERS)]

        async def produce(producer: int) -> int:
            ids = [f"p{producer}:{n}" for n in range(PATIENT)]
            return sum([await patient(sessions[producer], event_id) for event_id in ids])

        producing = asyncio.gather(*(produce(p) for p in range(PRODUCERS)))

        async def full() -> bool:
            return len((await session.status()).queue) == CAPACITY

        await until(full, within=120)
        await session.resume()
        assert sum(await producing) > 0, "it was full, and they were told"

        async def drained() -> bool:
            return (await session.status()).counts.get("applied") == 1 + PRODUCERS * PATIENT

        await until(drained, within=200, every=0.5)
        audit = await session.audit()
        assert audit.ok, audit.differences
