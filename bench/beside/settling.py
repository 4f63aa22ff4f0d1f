"""Waiting until a session has done what it can."""

from __future__ import annotations

from typing import Final

from bench.beside.counting import answered, lost
from bench.beside.ways import Way
from bench.sides import quiet, until

STILL: Final = 0.2


async def turn(way: Way, session_id: str, event_id: str, text: str = "", *, every: float = 0.01) -> None:
    """Send an event and wait until its turn is over."""
    await way.send(session_id, event_id, text)
    await quiet(way.handle(session_id), every=every)


async def all_answered(way: Way, session_id: str, sent: list[str], *, within: float) -> list[str]:
    """Wait until every event has its answer, or the time is over; return the events answered, in order."""
    found: list[str] = []

    async def look() -> bool | None:
        nonlocal found
        found = answered(await way.answers(session_id), sent)
        return not lost(sent, found) or None

    try:
        await until(look, within=within, every=STILL)
    except TimeoutError:
        pass  # what is missing is counted
    return found
