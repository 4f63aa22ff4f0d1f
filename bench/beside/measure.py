"""The whole comparison: every way through the same measurements, on one server in one run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.beside import growth, mishaps, rows
from bench.beside.counting import code_lines
from bench.beside.kills import kills
from bench.beside.report import Beside
from bench.beside.sizes import FULL, QUICK, Sizes
from bench.beside.ways import INTURN, Way, journal_bytes, running
from bench.rig import ROOT, Rig


async def measure(rig: Rig, *, quick: bool = False) -> Beside:
    """Measure all ways: what they cost while it is calm, then what becomes of events that come at a bad moment."""
    sizes = QUICK if quick else FULL
    found = Beside(sizes)
    async with running(rig) as ways:
        await _growth(found, ways, sizes)
        for together in (mishaps.SMALL, mishaps.HEAVY, (kills,)):
            await asyncio.gather(*(_each(found, ways, sizes, measurement) for measurement in together))
    for way in ways:
        found.add(way.name, {rows.LINES: lines(way)})
    return found


async def _growth(found: Beside, ways: Sequence[Way], sizes: Sizes) -> None:
    before = {way.name: journal_bytes(way) for way in ways}
    aged = await growth.grow(ways, sizes)
    for way in ways:
        found.add(way.name, growth.numbers(aged[way.name], sizes))
        found.add(way.name, {rows.JOURNAL: (journal_bytes(way) - before[way.name]) / sizes.sessions})
    found.curves += growth.curves(aged, sizes)


async def _each(found: Beside, ways: Sequence[Way], sizes: Sizes, measurement: mishaps.Measurement) -> None:
    """Measure the ways beside each other: what is counted here is no time."""
    numbers = await asyncio.gather(*(measurement(way, sizes) for way in ways))
    for way, each in zip(ways, numbers, strict=True):
        found.add(way.name, each)


def lines(way: Way) -> int:
    """Count what stands between the server and the model."""
    if way.name == INTURN:
        return code_lines(*(path for part in ("workflows", "activities") for path in (ROOT / part).glob("*.py")))
    chats = ROOT / "bench" / "beside"
    return code_lines(chats / "chat.py") + code_lines(chats / way.module, only=way.type)
