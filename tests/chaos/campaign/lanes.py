"""Lanes: a task queue with a journal and worker processes of its own.

Invariant: a process is signalled only while its death was not reported: no signal ever hits a stranger's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.chaos.campaign.ground import Way
from tests.chaos.campaign.traffic import Traffic
from tests.support.processes.server import ROOT, clean_environment

READY_WITHIN: Final = 90.0
"""Seconds; a worker may be born into an outage, and gives up after 10 s."""


class ForkServer:
    """The process that forks workers: `async with ForkServer(directory) as fork_server`."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "workers.log"
        self._births: list[asyncio.Future[int]] = []
        self._ready: dict[int, asyncio.Event] = {}
        self._deaths: dict[int, asyncio.Future[int]] = {}

    async def spawn(self, way: Way, options: Mapping[str, Any], env: Mapping[str, str]) -> Worker:
        """Fork a worker."""
        assert self._process.stdin is not None
        born: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._births.append(born)
        named = {"address": way.address, "journal": way.journal, **options}
        order = {"options": named, "env": dict(env), "log": str(self._log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = await born
        return Worker(pid, way, self._ready[pid], self._deaths[pid])

    async def __aenter__(self) -> Self:
        path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        env = {**clean_environment(), "PYTHONPATH": path, "INTURN_LOG_LEVEL": "warning", "INTURN_GRACE": "5"}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.chaos.campaign.fork_server",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=env,
                cwd=ROOT,
            )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()  # its children end with it
        await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        loop = asyncio.get_running_loop()
        async for raw in self._process.stdout:
            words = raw.decode().split()
            match words:
                case ["born", pid]:
                    self._ready[int(pid)] = asyncio.Event()
                    self._deaths[int(pid)] = loop.create_future()
                    self._births.pop(0).set_result(int(pid))
                case ["dead", pid, code]:
                    self._deaths[int(pid)].set_result(int(code))
                case ["inturn", "worker", "ready", pid, *_]:
                    self._ready[int(pid.partition("=")[2])].set()
                case _:
                    pass


@dataclass
class Worker:
    """A worker process."""

    pid: int
    way: Way
    _ready: asyncio.Event
    _death: asyncio.Future[int]

    @property
    def dead(self) -> bool:
        """Whether its end was reported."""
        return self._death.done()

    def send(self, number: signal.Signals) -> bool:
        """Signal it, if it lives."""
        if self.dead:
            return False
        os.kill(self.pid, number)
        return True

    async def until_ready(self) -> bool:
        """Wait until it works; whether it does."""
        ready: asyncio.Future[Any] = asyncio.ensure_future(self._ready.wait())
        either: list[asyncio.Future[Any]] = [ready, self._death]
        await asyncio.wait(either, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self._ready.is_set() and not self.dead

    async def until_dead(self, within: float) -> int | None:
        """Wait for its exit code (negative: a signal's); `None` while it lives on."""
        await asyncio.wait([self._death], timeout=within)
        return self._death.result() if self.dead else None


@dataclass
class Lane:
    """A queue, a journal, and the workers that serve it."""

    name: str
    ways: Sequence[Way]
    """Of its workers; who calls from outside takes the first."""
    fork_server: ForkServer
    env: dict[str, str]
    armed: Path
    """Where a point is named at which the next worker to come by dies."""
    size: int
    """Workers at once."""
    slots: int
    """Sessions at once."""
    mix: Mapping[str, float]
    """Shares of the events that ask for more than an answer."""
    traffic: Traffic
    agent: str
    claude: bool = False
    workers: list[Worker] = field(default_factory=list)

    async def start(self) -> Worker | None:
        """Start one more worker; `None` where it found no server and gave up."""
        taken = [worker.way for worker in self.workers]
        way = min(self.ways, key=taken.count)
        env = {**self.env, "INTURN_TEST_CRASH": str(self.armed)}
        worker = await self.fork_server.spawn(way, {"task_queue": self.name}, env)
        self.workers.append(worker)
        if not await worker.until_ready():
            self.workers.remove(worker)
            worker.send(signal.SIGKILL)
            return None
        return worker

    async def keep(self, count: int) -> None:
        """Bring the number of workers to `count`, however often that takes."""
        self.workers = [worker for worker in self.workers if not worker.dead]
        while len(self.workers) < count:
            await self.start()

    async def first_death(self, within: float) -> Worker | None:
        """Wait for the death of any of its workers."""
        deaths = {worker._death: worker for worker in self.workers}
        done, _ = await asyncio.wait(deaths, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return deaths[next(iter(done))] if done else None

    async def end(self) -> None:
        """Kill all."""
        for worker in self.workers:
            worker.send(signal.SIGKILL)
            await worker.until_dead(10)
        self.workers.clear()
