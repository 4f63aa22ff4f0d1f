"""Turns per second and CPU per turn under load, against the bare workflow: block by block, one side after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench import budgets
from bench.machine import cpu_seconds
from bench.report import Book
from bench.rig import Process, Rig
from bench.sides import Bare, Inturn, Side
from bench.turns import ByAsk, BySend, Timer

SESSIONS: Final = 50
TURNS: Final = 6
"""Of each session in a round, one at a time."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a block of turns took."""

    per_second: float
    cpu: float
    """Of the worker, in milliseconds per turn."""


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of load."""
    lane = rig.lane("load")
    async with lane.workers() as processes, lane.client() as client:
        sides: tuple[Side, Side] = (Inturn(lane, client), Bare(lane))
        for side in sides:
            await asyncio.gather(*(side.begin(f"s{n}") for n in range(SESSIONS)))
        for kind, per_second, cpu in (
            (BySend, budgets.SEND_THROUGHPUT, budgets.SEND_CPU),
            (ByAsk, budgets.ASK_THROUGHPUT, budgets.ASK_CPU),
        ):
            timers = [[kind(side, f"s{n}") for n in range(SESSIONS)] for side in sides]
            for index in (0, 1):
                await block(timers[index], processes[index], f"{kind.__name__}-warm", 2)
            for number in range(rounds):
                order = (0, 1) if number % 2 == 0 else (1, 0)
                name = f"{kind.__name__}-{number}"
                blocks = {i: await block(timers[i], processes[i], name, TURNS) for i in order}
                ours, bare = blocks[0], blocks[1]
                book.add(per_second, ours.per_second / bare.per_second)
                book.add(cpu, ours.cpu / bare.cpu)
                book.note(per_second, f"last: {ours.per_second:.0f} against {bare.per_second:.0f} turns/s")
                book.note(cpu, f"last: {ours.cpu:.1f} ms against {bare.cpu:.1f} ms")


async def block(timers: Sequence[Timer], worker: Process, name: str, turns: int) -> Block:
    """Run every session's turns, all sessions at once."""

    async def run(timer: Timer) -> None:
        for n in range(turns):
            await timer.turn(f"{name}-{n}")

    cpu, began = cpu_seconds(worker.pid), time.perf_counter()
    await asyncio.gather(*map(run, timers))
    seconds, used = time.perf_counter() - began, cpu_seconds(worker.pid) - cpu
    count = len(timers) * turns
    return Block(count / seconds, used * 1000 / count)
