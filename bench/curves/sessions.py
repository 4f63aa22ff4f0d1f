"""What sessions that are open at once cost each other: turns per second, latency, the worker's memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.machine import resident_bytes
from bench.report import percentile
from bench.rig import Rig
from inturn import Client

CALLERS: Final = 16
AT_ONCE: Final = 30
ENOUGH: Final = 100
"""Sessions below which the allocator's steps are larger than what they hold."""
TEXT: Final = "hello"


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Open more and more sessions, and ask all of them."""
    lane = rig.lane("sessions")
    seconds: dict[int, list[float]] = {}
    rate, memory, each = Series("by ask", []), Series("worker", []), Series("per session", [])
    async with lane.running() as [worker], lane.client() as client:
        await _open(client, [f"warm-{n}" for n in range(sizes.warm_up)])
        start = resident_bytes(worker.pid)
        names: list[str] = []
        for count in sizes.sessions:
            more = [f"s{n}" for n in range(len(names), count)]
            await _open(client, more)
            names += more
            held = resident_bytes(worker.pid)
            memory.points.append((count, held / 2**20))
            if count >= ENOUGH:
                each.points.append((count, (held - start) / count / 2**10))
            began = time.perf_counter()
            seconds[count] = await _spread(client, names, max(sizes.asks, count))
            rate.points.append((count, len(seconds[count]) / (time.perf_counter() - began)))
    return _curves(seconds, rate, memory, each, sizes)


async def _open(client: Client, names: Sequence[str]) -> None:
    """Start sessions and run their first turn, some at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(name: str) -> None:
        async with slots:
            await client.session(name, agent="bench").ask(TEXT, event_id="open")

    await asyncio.gather(*map(run, names))


async def _spread(client: Client, names: Sequence[str], asks: int) -> list[float]:
    """Have callers ask, each its own sessions in turn; return the seconds of every turn."""
    callers = min(CALLERS, len(names))

    async def call(caller: int) -> list[float]:
        found, own = [], names[caller::callers]
        for n in range(-(-asks // callers)):
            began = time.perf_counter()
            await client.session(own[n % len(own)]).ask(TEXT, event_id=f"of-{len(names)}-{n}")
            found.append(time.perf_counter() - began)
        return found

    return [seconds for found in await asyncio.gather(*map(call, range(callers))) for seconds in found]


def _curves(seconds: dict[int, list[float]], rate: Series, memory: Series, each: Series, sizes: Sizes) -> list[Curve]:
    latency = [
        Series(f"p{percent}", [(count, 1000 * percentile(found, percent)) for count, found in seconds.items()])
        for percent in (50, 99)
    ]
    x = "sessions open"
    callers = f"{CALLERS} callers, one for each session where there are fewer."
    held = "All cached, with a turn or a few behind each."
    return [
        Curve("sessions-rate", "Turns per second, by sessions open at once", x, "turns/s", [rate], note=callers),
        Curve("sessions-latency", "Latency of an ask, by sessions open at once", x, "ms", latency, note=callers),
        Curve("sessions-memory", "Memory of a worker, by sessions open at once", x, "MiB", [memory], note=held),
        Curve(
            "sessions-each",
            "Memory of a cached session",
            x,
            "KiB",
            [each],
            note=f"The worker's growth since {sizes.warm_up} sessions before them, shared among the sessions.",
        ),
    ]
