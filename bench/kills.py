"""How long sessions take to recover from a worker's SIGKILL: real processes, a new worker started at once."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import Lane, Process, Rig
from bench.sides import until
from inturn import Session, Unavailable
from inturn.testing import StrictClaude

KILLS: Final = 10
LANES: Final = 2
WITHIN: Final = 60.0
STREAMS: Final = 1.0
"""Seconds that the model or the tool takes, again after the kill: part of what is measured."""


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of kills; `rounds` does not matter, ten kills of each kind are the least."""
    async with StrictClaude() as claude:
        await asyncio.gather(*(_mid_turn(rig.lane(f"kill{n}"), claude, book) for n in range(LANES)))
    await asyncio.gather(*(_idle(rig.lane(f"idle{n}"), book) for n in range(LANES)))
    book.note(budgets.KILLED, f"a new worker started at once; {STREAMS:g} s is the step's own")
    book.note(budgets.IDLE, "another worker running")


async def _mid_turn(lane: Lane, claude: StrictClaude, book: Book) -> None:
    async def start() -> Process:
        return await lane.worker(ANTHROPIC_API_KEY="bench", ANTHROPIC_BASE_URL=claude.url)

    worker = await start()
    async with lane.client(journal=True) as client:
        session = client.session("s", agent="bench")
        await session.ask("hello", timeout=WITHIN)
        for n in range(KILLS // LANES):
            event_id = f"event-{n}"
            if n % 2:
                await session.send(f'[[tool work {{"seconds": {STREAMS}}}]]', event_id=event_id)
                await _until_working(session, event_id)
            else:
                await session.send(f"[[delay {STREAMS}]] {lane.name}-{n} and more words", event_id=event_id)
                await _until_streaming(claude, f"{lane.name}-{n}")
            await worker.kill()
            killed = time.monotonic()
            worker = await start()
            await session.wait(event_id, timeout=WITHIN)
            book.add(budgets.KILLED, time.monotonic() - killed)
    await worker.stop()


async def _until_streaming(claude: StrictClaude, tag: str) -> None:
    async def streaming() -> bool | None:
        return any(tag in e.text and e.outcome == "open" for e in claude.requests) or None

    await until(streaming, within=WITHIN)


async def _until_working(session: Session, event_id: str) -> None:
    """Wait until the model has asked for the tool: the kill comes in the workflow task after it, or in the tool."""

    async def working() -> bool | None:
        found = [entry.type async for entry in session.entries(event_id=event_id)]
        return "agent.tool_use" in found or None

    await until(working, within=WITHIN, every=0.05)


async def _idle(lane: Lane, book: Book) -> None:
    worker = await lane.worker()
    async with lane.client() as client:
        session = client.session("s", agent="bench")
        await session.ask("hello", timeout=WITHIN)
        for n in range(KILLS // LANES):
            standby = await lane.worker()
            await session.ask("still there?", event_id=f"warm-{n}", timeout=WITHIN)
            await worker.kill()
            began = time.monotonic()
            await _answered(session, f"event-{n}")
            book.add(budgets.IDLE, time.monotonic() - began)
            worker = standby
    await worker.stop()


async def _answered(session: Session, event_id: str) -> None:
    """Ask until there is an answer: a caller who was told that no worker took the call sends it again."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await session.ask("and now?", event_id=event_id)
                return
            except Unavailable:
                continue
