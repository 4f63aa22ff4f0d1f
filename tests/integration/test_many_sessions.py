"""A worker with far more open sessions than it keeps in memory."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from bench.machine import resident_bytes
from inturn import Client
from tests.support.measuring import usual
from tests.support.rig import Rig
from tests.support.sizes import sized

SESSIONS: Final = sized(sample=600, whole=10_000)
CACHED: Final = 50
AT_ONCE: Final = 25
EACH: Final = 100 * 1024
"""Bytes that a session takes at least while it is kept; 110-215 KiB were measured."""


@pytest.mark.heavy
@pytest.mark.timeout(1_200)
@pytest.mark.promise("SUR-8")
async def test_open_sessions_take_no_memory_beyond_those_that_are_kept(rig: Rig) -> None:
    worker = rig.process(
        INTURN_CACHED_SESSIONS=str(CACHED), INTURN_SESSION_SLOTS="10", INTURN_STEP_SLOTS="10", INTURN_LOG_LEVEL="error"
    )
    await asyncio.to_thread(worker.start)
    async with rig.client() as client:
        third = SESSIONS // 3
        await _open(client, 0, third)  # what grows until then are its pools, caches and threads

        async def grown(number: int) -> float:
            first, before = third + 2 * third * number, resident_bytes(worker.pid)
            await _open(client, first, first + 2 * third)
            return resident_bytes(worker.pid) - before

        most = 2 * third * EACH / 4
        assert await usual(grown, most=most) < most
        assert (await client.session("s0", agent="support").ask("still there?", event_id="again")).text.endswith(
            "there?"
        )
        assert (await client.session("s0").audit()).ok


async def _open(client: Client, first: int, last: int) -> None:
    """Have a turn in each of these sessions, and leave it open."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            session = client.session(f"s{number}", agent="support")
            await session.send("hello", event_id="first")
            await session.wait("first", timeout=120)

    await asyncio.gather(*map(one, range(first, last)))
