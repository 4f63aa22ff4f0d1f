"""What more worker processes bring, on one machine and one journal file."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Final

from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.machine import cpu_seconds
from bench.report import percentile
from bench.rig import Rig
from inturn import Client

TEXT: Final = "hello"


@dataclass(frozen=True, slots=True)
class Load:
    """What some workers did with the same load."""

    per_second: float
    cpu: float
    """Of all workers, in milliseconds per turn."""
    ms: list[float]


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Keep as many sessions busy with 1, 2, 4 workers."""
    found = {count: await _loaded(rig, count, sizes) for count in sizes.workers}
    return _curves(found, sizes)


async def _loaded(rig: Rig, workers: int, sizes: Sizes) -> Load:
    lane = rig.lane(f"workers-{workers}")
    async with lane.running(workers) as processes, lane.client() as client:
        await _ask_all(client, sizes.busy, 1, "first")
        cpu, began = sum(cpu_seconds(process.pid) for process in processes), time.perf_counter()
        seconds = await _ask_all(client, sizes.busy, sizes.each, "event")
        took = time.perf_counter() - began
        used = sum(cpu_seconds(process.pid) for process in processes) - cpu
    return Load(len(seconds) / took, 1000 * used / len(seconds), [1000 * each for each in seconds])


async def _ask_all(client: Client, sessions: int, turns: int, name: str) -> list[float]:
    """Run every session's turns, all sessions at once; return the seconds of every turn."""

    async def run(number: int) -> list[float]:
        found = []
        for n in range(turns):
            began = time.perf_counter()
            await client.session(f"s{number}", agent="bench").ask(TEXT, event_id=f"{name}-{n}")
            found.append(time.perf_counter() - began)
        return found

    return [each for found in await asyncio.gather(*map(run, range(sessions))) for each in found]


def _curves(found: dict[int, Load], sizes: Sizes) -> list[Curve]:
    x = "worker processes"
    note = f"{sizes.busy} sessions, on {os.cpu_count()} cores together with the server, the caller and the journal."
    latency = [
        Series(f"p{percent}", [(count, percentile(load.ms, percent)) for count, load in found.items()])
        for percent in (50, 99)
    ]
    return [
        Curve(
            "workers-rate",
            "Turns per second, by worker processes",
            x,
            "turns/s",
            [Series("by ask", [(count, load.per_second) for count, load in found.items()])],
            log_x=False,
            note=note,
        ),
        Curve("workers-latency", "Latency of an ask, by worker processes", x, "ms", latency, log_x=False, note=note),
        Curve(
            "workers-cpu",
            "CPU of all workers per turn, by worker processes",
            x,
            "ms of CPU",
            [Series("by ask", [(count, load.cpu) for count, load in found.items()])],
            log_x=False,
            note=note,
        ),
    ]
