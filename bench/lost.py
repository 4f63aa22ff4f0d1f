"""How long sessions take to recover from a machine that is lost: its worker is frozen, so nothing is closed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import Lane, Process, Rig
from bench.sides import until
from inturn import Client, Session
from inturn.testing import StrictClaude

LOSSES: Final = 6
LANES: Final = 2
IDLE: Final = 3
WITHIN: Final = 90.0
STREAMS: Final = 1.0
"""Seconds that the model takes, again after the loss: part of what is measured."""


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of lost machines; `rounds` does not matter, six losses are the least."""
    async with StrictClaude() as claude:
        await asyncio.gather(*(_losses(rig.lane(f"lost{n}"), claude, book) for n in range(LANES)))
    book.note(budgets.LOST, f"SIGSTOP, another worker running; {STREAMS:g} s is the step's own")
    book.note(budgets.LOST_IDLE, f"{IDLE} sessions that the lost one kept, at each loss")


async def _losses(lane: Lane, claude: StrictClaude, book: Book) -> None:
    async with lane.client(journal=True) as client:
        for n in range(LOSSES // LANES):
            lost = await _worker(lane, claude)
            idle = [client.session(f"idle-{n}-{i}", agent="bench") for i in range(IDLE)]
            await asyncio.gather(*(session.ask("hello", timeout=WITHIN) for session in idle))
            other = await _worker(lane, claude)
            busy = await _in_mid_turn(lane, claude, client, lost, n)
            os.kill(lost.pid, signal.SIGSTOP)
            began = time.monotonic()
            await asyncio.gather(*(session.send("and now?", event_id="next") for session in idle))
            waiting = (_done(busy, "story", began), *(_done(session, "next", began) for session in idle))
            taken_over, *answered = await asyncio.gather(*waiting)
            book.add(budgets.LOST, taken_over)
            book.add(budgets.LOST_IDLE, *answered)
            await lost.kill()
            await other.stop()


async def _worker(lane: Lane, claude: StrictClaude) -> Process:
    return await lane.worker(ANTHROPIC_API_KEY="bench", ANTHROPIC_BASE_URL=claude.url)


async def _done(session: Session, event_id: str, began: float) -> float:
    await session.wait(event_id, timeout=WITHIN)
    return time.monotonic() - began


async def _in_mid_turn(lane: Lane, claude: StrictClaude, client: Client, worker: Process, n: int) -> Session:
    """Return a session whose model streams on that worker; the other one may take the step first."""
    attempt = 0
    while True:
        attempt += 1
        session, tag = client.session(f"busy-{n}-{attempt}", agent="bench"), f"{lane.name}-{n}-{attempt}-"
        await session.send(f"[[delay {STREAMS}]] {tag} and more words", event_id="story")

        async def streaming(tag: str = tag) -> bool | None:
            return any(tag in e.text and e.outcome == "open" for e in claude.requests) or None

        await until(streaming, within=WITHIN)
        seen = await lane.rig.temporal.get_workflow_handle(f"{client.tenant}/{session.session_id}").describe()
        pending = seen.raw_description.pending_activities
        if any(p.last_worker_identity.endswith(f":{worker.pid}") for p in pending):
            return session
