"""What becomes of events that come at a bad moment: during a model call, twice, refused, around a new run, too large.

Each function measures one way in one session, and gives numbers by the row that they belong to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.service import RPCError

from bench.beside import counting, rows
from bench.beside.settling import all_answered, turn
from bench.beside.sizes import Sizes
from bench.beside.stub import POISON
from bench.beside.ways import Way
from bench.sides import quiet, until

Numbers = dict[str, float]
Measurement = Callable[[Way, Sizes], Awaitable[Numbers]]

CALL_BEGINS: Final = 20.0
ANSWERED: Final = 30.0
LARGE: Final = 50_000
EVENTS: Final = 5
LARGE_EVENTS: Final = 25


async def busy(way: Way, sizes: Sizes) -> Numbers:
    """Send five events, four of them while the first one's model call runs: it is slow, they are quick."""
    sent = [f"e{n}" for n in range(EVENTS)]
    await way.begin("busy")
    await way.send("busy", sent[0], "[[delay 1.5]]")
    await _call(way, "busy", sent[0], "begin")
    for n, event_id in enumerate(sent[1:], 1):
        await way.send("busy", event_id, f"[[delay {0.25 - n * 0.05:.2f}]]")
    found = await all_answered(way, "busy", sent, within=ANSWERED)
    calls = way.calls("busy")
    ended = [line["event"] for line in calls if line["what"] == "end"]
    return {
        rows.OVERLAPS: counting.overlaps(calls),
        rows.DISORDER: counting.late(sent, ended),
        rows.BUSY_LOST: counting.lost(sent, found),
    }


async def twice(way: Way, sizes: Sizes) -> Numbers:
    """Deliver each event twice, as a webhook does whose first answer came too late."""
    sent = [f"e{n}" for n in range(EVENTS)]
    await way.begin("twice")
    for event_id in sent:
        await way.send("twice", event_id)
        await turn(way, "twice", event_id)
    found = counting.answered(await way.answers("twice"), sent)
    return {rows.TWICE: counting.repeated(found)}


async def poison(way: Way, sizes: Sizes) -> Numbers:
    """Send an event that the model refuses, then a good one."""
    await way.begin("poison")
    await way.send("poison", "bad", POISON)
    await _call(way, "poison", "bad", "refuse")
    began = time.monotonic()
    await way.send("poison", "good")
    found = await all_answered(way, "poison", ["good"], within=sizes.patience)
    await asyncio.sleep(max(0.0, began + sizes.patience - time.monotonic()))
    refused = [line for line in way.calls("poison") if line["what"] == "refuse"]
    await _end(way, "poison")
    return {rows.POISONED: counting.lost(["good"], found), rows.ASKED: len(refused)}


async def flood(way: Way, sizes: Sizes) -> Numbers:
    """Send many events at once to a session that continues as new every few turns."""
    sent = [f"e{n}" for n in range(sizes.flood)]
    await way.begin("flood", limit=sizes.limit)
    for event_id in sent:
        await way.send("flood", event_id)
    found = await all_answered(way, "flood", sent, within=2 * ANSWERED)
    runs = await way.runs("flood")
    return {
        rows.FLOOD_LOST: counting.lost(sent, found),
        rows.FLOOD_DISORDER: counting.late(sent, found),
        rows.FLOOD_RUNS: len(runs),
        rows.FLOOD_LONGEST: max(len(events) for events in runs),
    }


async def large(way: Way, sizes: Sizes) -> Numbers:
    """Send large messages until the session stands still."""
    await way.begin("large")
    for n in range(LARGE_EVENTS):
        try:
            await way.send("large", f"e{n}", "x" * LARGE)
            await _call(way, "large", f"e{n}", "end", within=sizes.patience)
            await quiet(way.handle("large"))
        except (TimeoutError, RPCError):  # it stands still, or the server has ended it
            break
    ended = {line["event"] for line in way.calls("large") if line["what"] == "end"}
    await _end(way, "large")
    return {rows.LARGE: len(ended)}


async def _call(way: Way, session_id: str, event: str, what: str, within: float = CALL_BEGINS) -> None:
    async def look() -> bool | None:
        return any(line["event"] == event and line["what"] == what for line in way.calls(session_id)) or None

    await until(look, within=within)


async def _end(way: Way, session_id: str) -> None:
    """End a session that may try something for ever."""
    with contextlib.suppress(Exception):
        await way.handle(session_id).terminate()


SMALL: Final[tuple[Measurement, ...]] = (busy, twice, poison)
HEAVY: Final[tuple[Measurement, ...]] = (flood, large)
