"""Memory of cached idle sessions, against the bare workflow: how much each worker has grown after a batch of them."""

from __future__ import annotations

import asyncio
from typing import Final

from bench import budgets
from bench.machine import resident_bytes
from bench.report import Book
from bench.rig import Rig
from bench.sides import Bare, Inturn, Side

TURNS: Final = 10
SESSIONS: Final = 300
WARM_UP: Final = 60
"""Sessions before the first look: the allocator's first arenas are nobody's."""
AT_ONCE: Final = 30


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the row of memory: one run of 300 sessions in as many batches as there are rounds."""
    lane = rig.lane("memory")
    async with lane.workers() as processes, lane.client() as client:
        sides: tuple[Side, Side] = (Inturn(lane, client), Bare(lane))
        for side in sides:
            await _sessions(side, 0, WARM_UP)
        batch = -(-SESSIONS // rounds)
        start = [resident_bytes(process.pid) for process in processes]
        for number in range(rounds):
            first = WARM_UP + number * batch
            for side in sides:
                await _sessions(side, first, first + batch)
            count = (number + 1) * batch
            ours, bare = ((resident_bytes(p.pid) - s) / count / 1024 for p, s in zip(processes, start, strict=True))
            book.add(budgets.MEMORY, ours / bare)
            book.note(budgets.MEMORY, f"over {count} sessions: {ours:.0f} KiB against {bare:.0f} KiB each")


async def _sessions(side: Side, first: int, end: int) -> None:
    """Run sessions of 10 turns, some at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(session_id: str) -> None:
        async with slots:
            await side.begin(session_id)
            for n in range(1, TURNS):
                await side.ask(session_id, f"event-{n}")

    await asyncio.gather(*(run(f"s{n}") for n in range(first, end)))
