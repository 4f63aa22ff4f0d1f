"""The ways beside inturn are real ones: they answer, and where they differ is where their code does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bench.beside import growth, rows
from bench.beside.mishaps import EVENTS, Measurement, Numbers, busy, twice
from bench.beside.sizes import Sizes
from bench.beside.ways import INTURN, Way, running
from bench.rig import Rig

SMALL = Sizes(turns=6, points=(1, 6), early=(2, 3), window=3, sessions=1)

pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]


async def test_all_ways_answer_what_comes_during_a_call_and_twice_each_in_its_own_manner() -> None:
    async with Rig() as rig, running(rig) as ways:
        aged = await growth.grow(ways, SMALL)
        assert [len(each.sessions[0]) for each in aged.values()] == [SMALL.turns] * len(ways)
        meanwhile, again = await asyncio.gather(_of_each(ways, busy), _of_each(ways, twice))
    assert {name: found[rows.BUSY_LOST] for name, found in meanwhile.items()} == dict.fromkeys(meanwhile, 0)
    assert [name for name, found in meanwhile.items() if found[rows.OVERLAPS]] == ["handler"]
    assert {name: found[rows.TWICE] for name, found in again.items()} == {
        INTURN: 0,
        "handler": EVENTS,
        "tuned handler": 0,
        "conversation": EVENTS,
        "tuned conversation": 0,
    }


async def _of_each(ways: Sequence[Way], measurement: Measurement) -> dict[str, Numbers]:
    found = await asyncio.gather(*(measurement(way, SMALL) for way in ways))
    return {way.name: numbers for way, numbers in zip(ways, found, strict=True)}
