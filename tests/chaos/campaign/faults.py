"""The faults: what is done to workers, server, databases, network and disk, and when.

Invariant: seeded: a seed gives the same faults in the same order (the machine decides what they hit). Every fault that
was done is in the log of faults with what it hit, and every fault ends: after `storm` returns, the way is free.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final

from tests.chaos.campaign.ground import Ground, Way
from tests.chaos.campaign.lanes import Lane, Worker
from tests.chaos.campaign.witness import Witness
from tests.support.processes.cluster import Cluster
from tests.support.processes.proxy import Proxy
from tests.support.waiting import until

POINTS: Final = (
    *(f"{method}:{when}" for method in ("claim_model:model", "finish:model") for when in ("before", "after")),
    *(f"{method}:{when}" for method in ("claim_call:call", "finish:call") for when in ("before", "after")),
    *("tool:before-effect", "tool:after-effect", "complete:call:before", "record:before", "record:after"),
)
WEIGHTS: Final = {point: 4 if ":model" in point else 2 for point in POINTS}
"""Model steps are what there is most of; the others are waited for."""
DECK: Final = ("freeze", "stop", *["kill"] * 4, *["kill at a point"] * 8)
"""What is done to a lane's workers, shuffled again and again: everything comes, in any order."""
HIT_WITHIN: Final = 4.0
"""Seconds to wait for a worker to come by a point."""
FROZEN: Final = (6.0, 9.0)
"""Seconds: longer than a heartbeat (5 s)."""
CUT: Final = (8.0, 14.0)
"""Seconds: the server gives a silent connection up after 5, and its worker's work is done again elsewhere."""
REACHED: Final = 8.0
"""Seconds for somebody to come by whom a fault of the network hits: a worker that was killed is replaced in less."""
LULL: Final = (2.0, 11.0)
"""Seconds between two faults of server, network and disk."""
GRACE: Final = 15.0
"""Seconds that a worker gets to drain: its own grace is 5."""


@dataclass
class Violence:
    """What is done to the workers of one lane."""

    lane: Lane
    witness: Witness
    rng: random.Random
    pause: float
    """Seconds between two faults, at most."""
    kills: int = 0

    async def storm(self, deadline: float) -> None:
        """Kill, freeze and stop workers, and start others, until the time is up."""
        frozen: set[asyncio.Task[None]] = set()
        deck: list[str] = []
        while time.monotonic() < deadline:
            await self.lane.keep(self.lane.size)
            await asyncio.sleep(self.rng.uniform(0, self.pause))
            deck = deck or self.rng.sample(DECK, len(DECK))
            match deck.pop():
                case "freeze":
                    task = asyncio.create_task(self._freeze())
                    frozen.add(task)
                    task.add_done_callback(frozen.discard)
                case "stop":
                    await self._stop()
                case "kill":
                    await self._kill(self._any())
                case _:
                    await self._kill_at(self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
        await asyncio.gather(*frozen)
        self.lane.armed.unlink(missing_ok=True)
        await self.lane.keep(self.lane.size)

    async def _kill_at(self, point: str) -> None:
        draft = self.lane.armed.with_suffix(".draft")
        draft.write_text(point)
        draft.rename(self.lane.armed)
        dead = await self.lane.first_death(HIT_WITHIN)
        if dead is None:
            self.lane.armed.unlink(missing_ok=True)
            dead = await self.lane.first_death(0.0)
        if dead is not None:
            self._done(dead, point=point, hit=True)
        else:
            await self._kill(self._any(), point=point, hit=False)

    async def _kill(self, worker: Worker, **more: object) -> None:
        worker.send(signal.SIGKILL)
        if await worker.until_dead(10) is not None:
            self._done(worker, **more)

    async def _stop(self) -> None:
        worker = self._any()
        worker.send(signal.SIGTERM)
        code = await worker.until_dead(GRACE)
        self.witness.faults.write(op="done", kind="stop", pid=worker.pid, lane=self.lane.name, code=code)

    async def _freeze(self) -> None:
        """Freeze a worker until others have taken its work over, wake it, and let it find out."""
        worker = self._any()
        self.lane.workers.remove(worker)
        if worker.send(signal.SIGSTOP):
            await asyncio.sleep(self.rng.uniform(*FROZEN))
            worker.send(signal.SIGCONT)
            self.witness.faults.write(op="done", kind="freeze", pid=worker.pid, lane=self.lane.name)
            await asyncio.sleep(2.0)
            await self._kill(worker)

    def _any(self) -> Worker:
        return self.rng.choice(self.lane.workers)

    def _done(self, worker: Worker, **more: object) -> None:
        self.kills += 1
        self.witness.faults.write(op="done", kind="kill", pid=worker.pid, lane=self.lane.name, **more)


@dataclass
class Weather:
    """What is done to the server, the databases, the network and the disk, one at a time."""

    ground: Ground
    shared: Way
    """Of workers and producers."""
    island: Way
    """Of one worker alone."""
    model: Proxy
    witness: Witness
    rng: random.Random
    doing: str = ""
    """What is being done now."""
    deaths: int = 0
    """Of the server, by itself."""

    @property
    def kinds(self) -> list[str]:
        """All kinds there are here."""
        disk = ["disk"] if self.ground.disk else []
        database = ["database"] if self.ground.databases else []
        return ["server", "latency", "reset", "hole", "deaf", "cut", *disk, *database]

    async def storm(self, deadline: float) -> None:
        """Do one after the other until the time is up."""
        order: list[str] = []
        while True:
            order = order or self.rng.sample(self.kinds, len(self.kinds))
            await asyncio.sleep(self.rng.uniform(*LULL))
            if time.monotonic() > deadline:
                return
            await self._do(order.pop())

    async def mind(self) -> None:
        """Start the server again where it ended by itself, as whoever runs one does."""
        while True:
            await asyncio.sleep(1.0)
            if self.ground.server.gone and self.doing not in ("server", "database"):
                self.deaths += 1
                await asyncio.to_thread(self.ground.server.start)

    async def _do(self, kind: str) -> None:
        began = time.monotonic()
        self.doing = kind
        where, hit = await self._done(kind)
        self.doing = ""
        seconds = round(time.monotonic() - began, 3)
        self.witness.faults.write(op="done", kind=kind, where=where, seconds=seconds, hit=hit)

    async def _done(self, kind: str) -> tuple[str, int]:
        """Do it; returns where, and what it hit: connections, or bytes."""
        match kind:
            case "server":
                return await self._restart(), 1
            case "database":
                return await self._crash(), 1
            case "disk":
                return "journal", await self._fill()
            case "cut":
                return "a worker", await self._cut()
            case _:
                where, proxy = self._somewhere(kind)
                return where, await self._disturb(kind, proxy)

    def _somewhere(self, kind: str) -> tuple[str, Proxy]:
        """Choose a part of the network; answers that are lost, where that must not matter."""
        named = dict(zip(("temporal", "journal"), self.shared.proxies, strict=False))
        weights = {"temporal": 2, "journal": 1, **({} if kind == "deaf" else {"model": 1})}
        named["model"] = self.model
        where = self.rng.choice([name for name in named for _ in range(weights.get(name, 0))])
        return where, named[where]

    async def _disturb(self, kind: str, proxy: Proxy) -> int:
        links, cut = await _used(proxy), proxy.cut
        match kind:
            case "latency":
                proxy.latency = self.rng.uniform(0.02, 0.2)
                await asyncio.sleep(self.rng.uniform(2.0, 5.0))
                proxy.latency = 0.0
                return links
            case "reset":
                for _ in range(self.rng.randint(1, 4)):
                    proxy.reset()
                    await asyncio.sleep(self.rng.uniform(0.1, 1.0))
                return proxy.cut - cut
            case "hole":
                async with proxy.hole():
                    await asyncio.sleep(self.rng.uniform(1.0, 8.0))
                return links
            case _:
                return await self._deafen(proxy)

    async def _deafen(self, proxy: Proxy) -> int:
        """Throw answers away, at least one where one comes; return their bytes."""
        before = proxy.dropped

        async def lost() -> bool:
            return proxy.dropped > before

        async with proxy.deaf():
            await asyncio.sleep(self.rng.uniform(0.05, 0.5))
            with suppress(TimeoutError):  # so short a time may be one in which nobody answers
                await until(lost, within=REACHED)
        return proxy.dropped - before

    async def _cut(self) -> int:
        """Take a worker off the network, long enough for others to take over, and let it back."""
        links = await _used(*self.island.proxies)
        async with AsyncExitStack() as stack:
            for proxy in self.island.proxies:
                await stack.enter_async_context(proxy.hole())
            await asyncio.sleep(self.rng.uniform(*CUT))
        return links

    async def _crash(self) -> str:
        """End a database as a crash does, and start it again."""
        whose = self.rng.choice(list(self.ground.databases))
        database = self.ground.databases[whose]
        await asyncio.to_thread(database.stop)
        await asyncio.sleep(self.rng.uniform(0.0, 3.0))
        await asyncio.to_thread(database.start)
        return whose

    async def _restart(self) -> str:
        """Kill the server, or one service of a cluster, and start it again."""
        server = self.ground.server
        service = self.rng.choice([*server.services, "all"]) if isinstance(server, Cluster) else "all"
        if isinstance(server, Cluster) and service != "all":
            await asyncio.to_thread(server.kill, service)
        else:
            await asyncio.to_thread(server.kill)
        await asyncio.sleep(self.rng.uniform(0.0, 2.0))
        await asyncio.to_thread(server.start)
        return service

    async def _fill(self) -> int:
        disk = self.ground.disk
        assert disk is not None
        taken = await asyncio.to_thread(disk.fill)
        await asyncio.sleep(self.rng.uniform(1.0, 5.0))
        disk.free()
        return taken


async def _used(*proxies: Proxy) -> int:
    """Return how many connections go through the proxies, once one does: who used them may be dead just now."""

    async def links() -> int:
        return sum(proxy.links for proxy in proxies)

    with suppress(TimeoutError):
        return await until(links, within=REACHED)
    return 0
