"""How long an interrupt takes to close the model's stream: a real worker, the real Anthropic SDK, a strict server."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import Lane, Process, Rig
from bench.sides import until
from inturn import Client
from inturn.testing import StrictClaude

AT_ONCE: Final = 5
NAMES: Final = [f"s{n}" for n in range(AT_ONCE)]
WITHIN: Final = 30.0


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of interrupts."""
    async with StrictClaude() as claude:
        await _same_process(rig.lane("interrupt"), claude, book, rounds)
        await _another_process(rig.lane("interrupt-across"), claude, book, rounds)
    for row in (budgets.INTERRUPT, budgets.INTERRUPT_ACROSS):
        book.note(row, f"{AT_ONCE} sessions at once, a sample each")


async def _same_process(lane: Lane, claude: StrictClaude, book: Book, rounds: int) -> None:
    async with lane.client() as client:
        worker = await _worker(lane, claude)
        await _begun(client)
        await _measured(client, claude, book, budgets.INTERRUPT, rounds)
        await worker.stop()


async def _another_process(lane: Lane, claude: StrictClaude, book: Book, rounds: int) -> None:
    """The first worker keeps the sessions, and its only slot for steps is taken: the second one runs theirs."""
    async with lane.client() as client:
        first = await _worker(lane, claude, INTURN_STEP_SLOTS="1")
        await _begun(client)
        blocker = client.session("blocker", agent="bench")
        await blocker.send(f"[[delay 80]] {client.tenant}-blocker of many words")
        await until(lambda: _streaming(claude, f"{client.tenant}-blocker"), within=WITHIN)
        second = await _worker(lane, claude)
        await _measured(client, claude, book, budgets.INTERRUPT_ACROSS, rounds)
        await blocker.interrupt()
        await asyncio.gather(first.stop(), second.stop())


async def _worker(lane: Lane, claude: StrictClaude, **env: str) -> Process:
    return await lane.worker(ANTHROPIC_API_KEY="bench", ANTHROPIC_BASE_URL=claude.url, **env)


async def _begun(client: Client) -> None:
    asks = (client.session(name, agent="bench").ask("hello", timeout=WITHIN) for name in NAMES)
    await asyncio.gather(*asks)


async def _measured(client: Client, claude: StrictClaude, book: Book, row: str, rounds: int) -> None:
    for number in range(rounds):
        book.add(row, *await asyncio.gather(*(_interrupted(client, claude, name, number) for name in NAMES)))


async def _interrupted(client: Client, claude: StrictClaude, name: str, number: int) -> float:
    """Interrupt a turn whose model streams; return the seconds until the stream was closed."""
    tag = f"{client.tenant}-{name}-{number}"
    session = client.session(name)
    event_id = f"event-{number}"
    await session.send(f"[[delay 30]] {tag} and more words that stream slowly", event_id=event_id)

    async def closed() -> float | None:
        return next((e.ended for e in claude.requests if tag in e.text and e.ended is not None), None)

    await until(lambda: _streaming(claude, tag), within=WITHIN)
    await asyncio.sleep(0.2 + number % 5 * 0.1)  # at another point between two heartbeats in each round
    began = time.monotonic()
    await session.interrupt()
    ended = await until(closed, within=WITHIN)
    await session.wait(event_id, timeout=WITHIN)
    return ended - began


async def _streaming(claude: StrictClaude, tag: str) -> float | None:
    return next((e.began for e in claude.requests if tag in e.text and e.outcome == "open"), None)
