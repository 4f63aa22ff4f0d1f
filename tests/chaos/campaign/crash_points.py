"""Every crash point of a tool call, for every kind of tool, and what must have become of the call.

Invariant: all calls of a round stand at their points, then their worker is killed: one SIGKILL is a crash at each of
them. Judged by the ledger outside and by what the journal tells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from inturn import Client
from tests.support import ledger
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.waiting import until

POINTS: Final = {
    "before-claim": "claim_call:call:before",
    "after-claim": "claim_call:call:after",
    "after-effect": "tool:after-effect",
    "after-record": "finish:call:after",
    "before-completion": "complete:call:before",
}
TOOLS: Final = ("save", "book", "post", "wire")
"""Idempotent by nature; by its key; neither; neither, but it can be looked up."""
CELLS: Final = tuple(product(TOOLS, POINTS))


@dataclass(frozen=True)
class End:
    """What became of a call."""

    status: str
    effects: int
    bodies: int


def expected(tool: str, point: str) -> End:
    """Return what must have become of it, by the ledger's rules."""
    if tool == "post" and point == "after-claim":
        return End("unknown", 0, 0)  # it might have begun: it is not repeated, though it did nothing
    if tool == "post" and point == "after-effect":
        return End("unknown", 1, 1)
    again = point == "after-effect" and tool in ("save", "book")
    return End("ok", 1, 2 if again else 1)


@dataclass
class CrashPoints:
    """Rounds of crashes on one queue."""

    rig: Rig
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Crashes by tool and point."""
    wrong: list[str] = field(default_factory=list)
    """What was not as expected."""

    async def run(self, rounds: int) -> None:
        """Crash each kind of tool at each point so many times."""
        self._standing.mkdir()
        ledger.make(self.rig.effects)
        worker = await self._start()
        async with self.rig.client() as client:
            for n in range(rounds):
                worker = await self._round(client, worker, n)
        await asyncio.to_thread(worker.stop)

    async def _round(self, client: Client, worker: WorkerProcess, n: int) -> WorkerProcess:
        cells = {f"{tool}-{point}-{n}": (tool, point) for tool, point in CELLS}
        for name, (_, point) in cells.items():
            (self._standing / name).write_text(POINTS[point])
        sends = [client.session(name).send(f"[[tool {tool} {{}}]]", event_id="e") for name, (tool, _) in cells.items()]
        await asyncio.gather(*sends)
        await until(lambda: self._all_stand(cells), within=60, every=0.02)
        await asyncio.to_thread(worker.kill)
        for path in self._standing.iterdir():
            path.unlink()
        successor = await self._start()
        ends = await asyncio.gather(*(self._end(client, name, tool) for name, (tool, _) in cells.items()))
        for (name, cell), end in zip(cells.items(), ends, strict=True):
            self.seen[cell] += 1
            if end != expected(*cell):
                self.wrong.append(f"{name}: {end}, not {expected(*cell)}")
        return successor

    async def _all_stand(self, cells: dict[str, tuple[str, str]]) -> bool:
        return all((self._standing / f"{name}.stands").exists() for name in cells)

    async def _end(self, client: Client, name: str, tool: str) -> End:
        session = client.session(name)
        [call] = (await session.wait("e", timeout=90)).tool_calls
        audit = await session.audit()
        listed = [outcome.tool for outcome in audit.unknown]
        if not audit.ok or listed != [tool] * (call.status == "unknown"):
            self.wrong.append(f"{name}: audit {audit.differences}, listed as unknown {listed}")
        return End(str(call.status), self._count("effects", name), self._count("bodies", name))

    def _count(self, table: str, session: str) -> int:
        [(count,)] = ledger.run(self.rig.effects, f"SELECT COUNT(*) FROM {table} WHERE session = ?", (session,))
        return int(count)

    @property
    def _standing(self) -> Path:
        return self.rig.directory / "standing"

    async def _start(self) -> WorkerProcess:
        armed = str(self.rig.directory / "armed")
        worker = self.rig.process(
            agents="tests.support.agents.ledger_tools:agents",
            INTURN_TEST_STAND=str(self._standing),
            INTURN_TEST_CRASH=armed,
        )
        return await asyncio.to_thread(worker.start)
