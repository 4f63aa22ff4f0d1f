"""Events and bytes that a turn leaves in the history."""

from __future__ import annotations

import asyncio
from typing import Final

from bench import budgets
from bench.report import Book, shown
from bench.rig import Rig
from bench.sides import Bare, Inturn, Side, quiet

EARLY: Final = 10
LATE: Final = 1_000
CHUNK: Final = 45
"""Events sent together on the way to a late turn."""
TOOL: Final = '[[tool add {"a": 1, "b": 2}]]'


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of the history."""
    lane = rig.lane("history")
    async with lane.workers(), lane.client() as far, lane.client(journal=True) as near:
        ours, reader, bare = Inturn(lane, far), Inturn(lane, near), Bare(lane)
        await ours.begin("s")
        await bare.begin("s")
        for n in range(rounds):
            await _turn(book, ours, "send", n, budgets.SEND_EVENTS, budgets.SEND_BYTES)
            await _turn(book, ours, "ask", n, budgets.ASK_EVENTS, budgets.ASK_BYTES)
            await _turn(book, reader, "read", n, None, budgets.READ_BYTES)
            await _turn(book, ours, "tool", n, budgets.TOOL_EVENTS, None)
        for how, events, size in (
            ("send", budgets.SEND_EVENTS, budgets.SEND_BYTES),
            ("ask", budgets.ASK_EVENTS, budgets.ASK_BYTES),
        ):
            found = await cost(bare, "s", how, f"{how}-bare")
            book.note(events, f"bare: {shown(found[0], 'events')}")
            book.note(size, f"bare: {shown(found[1], 'bytes')}")
        await _growth(ours, book, rounds)


async def cost(side: Side, session_id: str, how: str, event_id: str) -> tuple[int, int]:
    """Run one turn; return the events and bytes that it left."""
    handle = side.handle(session_id)
    before = await quiet(handle)
    if how in ("ask", "read"):
        await side.ask(session_id, event_id)
    elif how == "tool":
        await side.send(session_id, event_id, TOOL)
    else:
        await side.send(session_id, event_id)
    after = await quiet(handle)
    return after[0] - before[0], after[1] - before[1]


async def _turn(book: Book, side: Side, how: str, n: int, events: str | None, size: str | None) -> None:
    found = await cost(side, "s", how, f"{how}-{n:06d}")
    if events:
        book.add(events, found[0])
    if size:
        book.add(size, found[1])


async def _growth(ours: Inturn, book: Book, rounds: int) -> None:
    """Compare early turns with late ones of the same session; ids of one length, so that only age differs."""
    await ours.begin("long")
    await advance(ours, "long", 2, EARLY)
    early = [await cost(ours, "long", "ask", f"event-{n:06d}") for n in range(EARLY, EARLY + rounds)]
    await advance(ours, "long", EARLY + rounds, LATE)
    late = [await cost(ours, "long", "ask", f"event-{n:06d}") for n in range(LATE, LATE + rounds)]
    for first, last in zip(early, late, strict=True):
        if first[0] == last[0]:  # else the run continued as new in between, and the two are not alike
            book.add(budgets.GROWTH, abs(last[1] / first[1] - 1) * 100)
    book.note(budgets.GROWTH, f"{shown(late[-1][1], 'bytes')} after {LATE:,} turns")


async def advance(side: Side, session_id: str, first: int, end: int) -> None:
    """Run the turns from `first` until before `end`, many of them sent together."""
    for start in range(first, end, CHUNK):
        numbers = range(start, min(start + CHUNK, end))
        await asyncio.gather(*(side.send(session_id, f"event-{n:06d}", "hello") for n in numbers[:-1]))
        await side.ask(session_id, f"event-{numbers[-1]:06d}", "hello")
