"""What a session's first turn costs on a worker that has just started: history and transcript are read anew."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Final

from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.history import advance
from bench.rig import Lane, Rig
from bench.sides import Inturn
from inturn import Client

OLD: Final = 100


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Age sessions with one worker, and give each a worker of its own then."""
    lane = rig.lane("cold")
    first, second = Series("first turn", []), Series("second turn", [])
    async with lane.client() as client:
        async with lane.running():
            side = Inturn(lane, client)
            names = {_name(age, n): age for age in sizes.turns for n in range(sizes.starts)}
            await asyncio.gather(*(_aged(side, name, age) for name, age in names.items()))
        for age in sizes.turns:
            found = [await _fresh(lane, client, _name(age, n), n) for n in range(sizes.starts)]
            for line, seconds in zip((first, second), zip(*found, strict=True), strict=True):
                line.points.append((age, 1000 * statistics.median(seconds)))
    return [
        Curve(
            "cold-start",
            "First turn on a fresh worker, by the turns before it",
            "turns before",
            "ms",
            [first, second],
            note=f"Median of {sizes.starts} workers, for each of which it is the first turn of all. "
            "What is replayed is the session's last run: it grows up to some 110 turns and begins anew.",
        )
    ]


def _name(age: int, number: int) -> str:
    """An old session serves for every start: two turns more or less make no difference to it."""
    return f"s{age}-{number}" if age < OLD else f"s{age}"


async def _aged(side: Inturn, name: str, age: int) -> None:
    """Start a session and run its turns up to its age."""
    await side.begin(name)
    await advance(side, name, 2, age + 1)


async def _fresh(lane: Lane, client: Client, name: str, number: int) -> tuple[float, float]:
    """Return the seconds of two turns on a worker of their own."""
    async with lane.running():
        session = client.session(name)
        began = time.perf_counter()
        await session.ask("hello", event_id=f"first-{number}")
        between = time.perf_counter()
        await session.ask("hello", event_id=f"second-{number}")
        return between - began, time.perf_counter() - between
