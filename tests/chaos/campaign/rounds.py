"""A round of the campaign: server, lanes, producers and faults for some minutes, then the evidence.

Invariant: a round judges nothing. It leaves a directory that `tests.chaos.checker` judges, and what it did follows from
its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import temporalio.client

from inturn import Client
from inturn.testing import ClaudeProcess
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.chaos.campaign.export import export
from tests.chaos.campaign.faults import POINTS, Violence, Weather
from tests.chaos.campaign.ground import MakeGround, Way, one_machine
from tests.chaos.campaign.lanes import ForkServer, Lane
from tests.chaos.campaign.producers import produce
from tests.chaos.campaign.traffic import Traffic
from tests.chaos.campaign.witness import Witness
from tests.support.processes.proxy import Proxy

SLOTS: Final[Mapping[str, int]] = {"scripted": 14, "claude": 4}
"""Sessions at once of each lane: each death of a worker makes others replay its share of them."""
MIX: Final[Mapping[str, Mapping[str, float]]] = {
    "scripted": {"pay": 0.04, "post": 0.04, "poison": 0.01},
    "claude": {"pay": 0.04, "post": 0.04, "poison": 0.01, "fault": 0.04},
}
"""Shares of the events that ask for more than an answer: tools, failing for good, a model that fails."""
AGENTS: Final = {"scripted": "support", "claude": "desk"}
"""What becomes of events behind a gap: `support` goes on without the missing one, `desk` sets them aside."""
WORKERS: Final = {"scripted": 3, "claude": 2}
PAUSE: Final = {"scripted": 4.0, "claude": 6.0}
"""Seconds between two faults done to a lane's workers, at most."""
TELL_EVERY: Final = 10.0
"""Seconds between two lines of progress."""
WORKER_KINDS: Final = ("kill", "stop", "freeze", "model")
SURE_AFTER: Final = 2.0
"""Minutes of a round after which each kind of fault must have come."""

Tell = Callable[[str], None]


@dataclass
class Stage:
    """What a round plays on."""

    lanes: list[Lane]
    witness: Witness
    weather: Weather
    clients: dict[str, Client]
    temporal: temporalio.client.Client
    """Below inturn, through the proxy."""


@dataclass
class Round:
    """One round, in a directory of its own."""

    directory: Path
    seed: str
    minutes: float
    tell: Tell = print
    slots: Mapping[str, int] = field(default_factory=lambda: SLOTS)
    mix: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MIX)
    traffic: Traffic = field(default_factory=Traffic)
    ground: MakeGround = one_machine

    async def run(self) -> dict[str, Any]:
        """Run it and leave the evidence; returns the figures that only the campaign knows."""
        cpu = sum(os.times()[:4])
        async with self._stage() as stage:
            began = time.monotonic()
            self._plan(stage)
            deadline = began + self.minutes * 60
            violence = [self._violence(stage, lane) for lane in stage.lanes]
            aside = [
                asyncio.create_task(stage.weather.mind()),
                asyncio.create_task(self._progress(stage, violence, began)),
            ]
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(stage.weather.storm(deadline))
                    for part in violence:
                        tasks.create_task(part.storm(deadline))
                    for lane in stage.lanes:
                        tasks.create_task(self._produce(stage, lane, deadline))
            finally:
                for task in aside:
                    task.cancel()
            seconds = time.monotonic() - began
            figures = {"seconds": round(seconds, 1), **await self._evidence(stage)}
        return {**figures, "cpu_seconds": round(sum(os.times()[:4]) - cpu, 1)}

    @asynccontextmanager
    async def _stage(self) -> AsyncGenerator[Stage]:
        async with AsyncExitStack() as stack:
            ground = await stack.enter_async_context(self.ground(self.directory))
            claude = stack.enter_context(ClaudeProcess())
            model = await stack.enter_async_context(Proxy(int(claude.url.rpartition(":")[2])))
            witness = await stack.enter_async_context(Witness(self.directory))
            fork_server = await stack.enter_async_context(ForkServer(self.directory))
            shared = await stack.enter_async_context(ground.through_proxies("claude"))
            island = await stack.enter_async_context(ground.through_proxies("claude"))
            ways = {"scripted": [ground.direct("scripted")], "claude": [shared, island]}
            lanes = self._lanes(fork_server, witness, ways, model.address)
            clients = {}
            for lane in lanes:
                stack.push_async_callback(lane.end)
                await lane.keep(lane.size)
                way = lane.ways[0]
                client = Client(way.address, tenant=lane.name, task_queue=lane.name, journal=way.journal)
                clients[lane.name] = await stack.enter_async_context(client)
                await client.session("nobody").transcript()  # opens its journal, while there is a disk
            weather = Weather(ground, shared, island, model, witness, random.Random(f"{self.seed} weather"))
            below = await connect(Settings(address=shared.address))
            yield Stage(lanes, witness, weather, clients, below)

    def _lanes(
        self, fork_server: ForkServer, witness: Witness, ways: Mapping[str, Sequence[Way]], model: str
    ) -> list[Lane]:
        """One lane has the cheap model and goes straight to the server, the other the strict Claude and proxies."""
        reporting = {"INTURN_TEST_WITNESS": str(witness.path)}
        asked = {**reporting, "ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": f"http://{model}"}
        armed = self.directory / "armed"
        return [
            Lane(
                name,
                ways[name],
                fork_server=fork_server,
                env=env,
                armed=armed.with_suffix(f".{name}"),
                size=WORKERS[name],
                slots=self.slots[name],
                mix=self.mix[name],
                traffic=self.traffic,
                agent=AGENTS[name],
                claude=env is asked,
            )
            for name, env in (("scripted", reporting), ("claude", asked))
        ]

    def _plan(self, stage: Stage) -> None:
        """Say what must have been done for the round to show anything."""
        kinds = [*WORKER_KINDS, *stage.weather.kinds] if self.minutes >= SURE_AFTER else ["kill"]
        stage.witness.faults.write(op="plan", kinds=kinds, points=POINTS, seed=self.seed)

    def _violence(self, stage: Stage, lane: Lane) -> Violence:
        rng = random.Random(f"{self.seed} {lane.name}")
        return Violence(lane, stage.witness, rng, PAUSE[lane.name])

    async def _produce(self, stage: Stage, lane: Lane, deadline: float) -> None:
        await produce(lane, stage.clients[lane.name], stage.temporal, stage.witness, self.seed, deadline)

    async def _progress(self, stage: Stage, violence: list[Violence], began: float) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            seconds = time.monotonic() - began
            turns = sum(map(len, stage.witness.seen.values()))
            kills = sum(part.kills for part in violence)
            self.tell(
                f"  {seconds:5.0f} s  {turns:7,} events ({turns / seconds:.0f}/s)  {kills:5,} kills "
                f"({kills / seconds * 60:.0f}/min)  {len(stage.witness.seen):4} sessions  {stage.weather.doing}"
            )

    async def _evidence(self, stage: Stage) -> dict[str, Any]:
        """End the logs, let every session audit itself, and export the histories."""
        stage.witness.producers.write(op="end", calls=stage.witness.calls)
        sessions = sorted(stage.witness.sessions)
        self.tell(f"  {len(sessions)} sessions: audits and export")
        audits = [await self._audit(stage, name) for name in sessions]
        runs = await export(stage.temporal, sessions, self.directory / "histories")
        differences = [text for found in audits for text in found]
        deaths = stage.weather.deaths
        return {"runs": runs, "audits": len(audits), "audit_differences": differences, "server_deaths": deaths}

    async def _audit(self, stage: Stage, name: str) -> list[str]:
        tenant, _, session_id = name.partition("/")
        audit = await stage.clients[tenant].session(session_id).audit()
        return [f"{name}: {difference}" for difference in audit.differences] or (
            [] if audit.ok else [f"{name}: not ok"]
        )
