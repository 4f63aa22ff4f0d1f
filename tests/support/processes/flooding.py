"""A flood of events at one session: `python -m tests.support.processes.flooding ADDRESS '{…}'`.

Invariant: each producer's events are numbered in the order of its calls, and it goes on until all are in. The process
gives way to the server and the workers: those who send have machines of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from dataclasses import asdict, dataclass
from typing import Final

from inturn import Backpressure, Client, Session, Unavailable
from tests.support.processes.server import ROOT, clean_environment

PRODUCERS: Final = 16


@dataclass(frozen=True)
class Flood:
    """Signals and updates at one session; as many of each as a multiple of the producers allows."""

    tenant: str
    task_queue: str
    session_id: str
    signals: int = 0
    submits: int = 0

    @property
    def sent(self) -> int:
        """Events in all."""
        return sum(count // PRODUCERS * PRODUCERS for count in (self.signals, self.submits))

    async def send(self, address: str) -> None:
        """Send it from a process of its own, and wait until all is sent."""
        args = (sys.executable, "-m", "tests.support.processes.flooding", address, json.dumps(asdict(self)))
        env = {**clean_environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
        process = await asyncio.create_subprocess_exec(*args, cwd=ROOT, env=env)
        try:
            if await process.wait():
                raise RuntimeError(f"the flood ended with {process.returncode}")
        finally:
            if process.returncode is None:
                process.kill()

    async def run(self, address: str) -> int:
        """Send it; returns how often a full inbox refused."""
        async with Client(address, tenant=self.tenant, task_queue=self.task_queue) as client:
            signalling = (self._signal(client, number) for number in range(PRODUCERS))
            submitting = (self._submit(client, number) for number in range(PRODUCERS))
            return sum(await asyncio.gather(*signalling, *submitting))

    async def _signal(self, client: Client, producer: int) -> int:
        session = client.session(self.session_id, agent="support")
        for n in range(self.signals // PRODUCERS):
            await session.send(f"{producer} {n}", event_id=f"p{producer}:{n}", source=f"p{producer}")
        return 0

    async def _submit(self, client: Client, producer: int) -> int:
        session = client.session(self.session_id, agent="support")
        return sum([await patient(session, f"u{producer}:{n}") for n in range(self.submits // PRODUCERS)])


async def patient(session: Session, event_id: str) -> int:
    """Submit until there is room; returns how often there was none."""
    refused = 0
    while True:
        try:
            await session.submit("hi", event_id=event_id)
            return refused
        except Backpressure as full:
            refused += 1
            await asyncio.sleep(full.retry_after * random.uniform(0.5, 1.0))
        except Unavailable:
            pass  # no worker came to it within 10 s: the same id again is safe


if __name__ == "__main__":
    os.nice(10)
    print(asyncio.run(Flood(**json.loads(sys.argv[2])).run(sys.argv[1])), "times refused")
