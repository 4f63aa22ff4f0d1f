"""What a SIGKILL of the worker makes of tools that have just had their effect: made again, lost, or neither."""

from __future__ import annotations

import asyncio
from typing import Final

from bench.beside import counting, rows
from bench.beside.mishaps import EVENTS, Numbers
from bench.beside.settling import all_answered
from bench.beside.sizes import Sizes
from bench.beside.ways import Way
from bench.sides import until

STARTED: Final = 30.0
RECOVERED: Final = 45.0


async def kills(way: Way, sizes: Sizes) -> Numbers:
    """Kill a worker in the middle of several sessions' tools, and start another one."""
    sent = [f"k{n}" for n in range(EVENTS)]
    for event_id in sent:
        await way.begin(event_id)
        await way.send(event_id, event_id, f'[[tool effect {{"event": "{event_id}", "stands": true}}]] [[then]]')

    async def stand() -> bool | None:
        return {line["event"] for line in way.effects()} >= set(sent) or None

    await until(stand, within=STARTED)
    await way.worker.kill()
    await way.start()
    found = await asyncio.gather(*(all_answered(way, name, [name], within=RECOVERED) for name in sent))
    effects = [line for line in way.effects() if line["event"] in sent]
    return {
        rows.DOUBLED: counting.repeated(line["event"] for line in effects),
        rows.DOUBLED_KEYED: counting.repeated_keys(effects),
        rows.KILLED_LOST: counting.lost(sent, [event for each in found for event in each]),
    }
