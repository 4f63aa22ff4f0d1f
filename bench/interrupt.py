"""How long an interrupt takes to close the model's stream: a real worker, the real Anthropic SDK, a strict server."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import Rig
from bench.sides import until
from inturn import Client
from inturn.testing import StrictClaude

AT_ONCE: Final = 5
WITHIN: Final = 30.0


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the row of interrupts."""
    lane = rig.lane("interrupt")
    async with StrictClaude() as claude, lane.client() as client:
        worker = await lane.worker(ANTHROPIC_API_KEY="bench", ANTHROPIC_BASE_URL=claude.url)
        try:
            names = [f"s{n}" for n in range(AT_ONCE)]
            await asyncio.gather(*(client.session(name, agent="bench").ask("hello", timeout=WITHIN) for name in names))
            for number in range(rounds):
                found = await asyncio.gather(*(_interrupted(client, claude, name, number) for name in names))
                book.add(budgets.INTERRUPT, *found)
        finally:
            await worker.stop()
        book.note(budgets.INTERRUPT, f"{AT_ONCE} sessions at once, a sample each")


async def _interrupted(client: Client, claude: StrictClaude, name: str, number: int) -> float:
    """Interrupt a turn whose model streams; return the seconds until the stream was closed."""
    tag = f"{client.tenant}-{name}-{number}"
    session = client.session(name)
    event_id = f"event-{number}"
    await session.send(f"[[delay 30]] {tag} and more words that stream slowly", event_id=event_id)

    async def streaming() -> float | None:
        return next((e.began for e in claude.requests if tag in e.text and e.outcome == "open"), None)

    async def closed() -> float | None:
        return next((e.ended for e in claude.requests if tag in e.text and e.ended is not None), None)

    await until(streaming, within=WITHIN)
    await asyncio.sleep(0.2 + number % 5 * 0.1)  # at another point between two heartbeats in each round
    began = time.monotonic()
    await session.interrupt()
    ended = await until(closed, within=WITHIN)
    await session.wait(event_id, timeout=WITHIN)
    return ended - began
