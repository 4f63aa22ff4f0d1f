"""A dev server and worker processes of the benchmark's own.

Invariant: whatever a run starts ends with it, and only that is signalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import temporalio.client

from bench.machine import children
from inturn import Client
from inturn_worker.dev_server import free_port
from inturn_worker.server import connect
from inturn_worker.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[1]
SERVER_WITHIN: Final = 420.0
"""Seconds; the first run on a machine may have to build the Temporal CLI."""
WORKER_WITHIN: Final = 60.0
STOP_WITHIN: Final = 20.0
REQUESTS: Final = re.compile(rb'service_requests\{.*namespace="default".*service_name="frontend"')
CACHED: Final = 2_000
"""Sessions that each worker keeps in memory: none is evicted while it is measured."""


class Process:
    """A program that says when it is ready."""

    def __init__(self, args: list[str], ready: str, log: Path, within: float, env: dict[str, str]) -> None:
        self._name, self._ready, self._within, self._log = " ".join(args), ready, within, log
        self.line = ""
        errors = log.open("ab")
        try:
            self._popen = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=errors, env=env, cwd=ROOT)
        finally:
            errors.close()

    @property
    def pid(self) -> int:
        """The process."""
        return self._popen.pid

    async def until_ready(self) -> str:
        """Wait for its ready line; return it."""
        self.line = await asyncio.to_thread(self._first_line)
        return self.line

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._popen.kill()
        await asyncio.to_thread(self._reap)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL where that does not help."""
        if self._popen.poll() is None:
            self._popen.terminate()
        await asyncio.to_thread(self._reap)

    def _reap(self) -> None:
        try:
            self._popen.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout:
            self._popen.stdout.close()

    def _first_line(self) -> str:
        out = self._popen.stdout
        assert out is not None
        end = time.monotonic() + self._within
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                if selector.select(min(left, 1.0)):
                    line = out.readline().decode()
                    if line.startswith(self._ready):
                        return line
                    if not line:
                        break
        why = self._log.read_text()[-500:].strip()
        raise RuntimeError(f"{self._name} did not say {self._ready!r} within {self._within:g} s: {why}")


class Rig:
    """`async with Rig() as rig`: a server, and what parts start on it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="inturn-bench-"))
        self._processes: list[Process] = []
        self._temporal: temporalio.client.Client | None = None
        self.address = ""
        self._metrics = free_port()

    async def __aenter__(self) -> Rig:
        try:
            script = [sys.executable, "-m", "inturn_worker.dev_server", "--port", "0"]
            script += ["--metrics-port", str(self._metrics)]
            server = self._start(script, "ready ", SERVER_WITHIN, {})
            self.address = (await server.until_ready()).split()[1]
            [self.server_pid] = children(server.pid)
            self._temporal = await connect(Settings(address=self.address))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            await process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def requests(self) -> int:
        """How many requests the server's frontend has taken in the benchmark's namespace."""
        return await asyncio.to_thread(self._requests)

    def _requests(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=SERVER_WITHIN) as response:
            return sum(int(float(line.rsplit(b" ", 1)[1])) for line in response if REQUESTS.match(line))

    @property
    def temporal(self) -> temporalio.client.Client:
        """The SDK below inturn."""
        assert self._temporal is not None
        return self._temporal

    def lane(self, name: str) -> Lane:
        """A task queue and a journal of their own."""
        return Lane(self, name)

    def _start(self, args: list[str], ready: str, within: float, env: dict[str, str]) -> Process:
        log = self.directory / f"process-{len(self._processes)}.log"
        process = Process(args, ready, log, within, {**_clean_environment(), **env})
        self._processes.append(process)
        return process


class Lane:
    """What one part works on, apart from all others."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.name = f"{name}-{uuid.uuid4().hex[:6]}"
        self.journal = f"sqlite:///{rig.directory / f'{self.name}.sqlite'}"

    async def worker(self, **env: str) -> Process:
        """A worker of inturn that is ready."""
        args = [sys.executable, str(ROOT / "worker.py"), "bench.agents:agents", "--address", self.rig.address]
        args += ["--task-queue", self.name, "--journal", self.journal]
        return await self._started(args, "inturn worker ready", env)

    async def bare_worker(self, **env: str) -> Process:
        """A worker of the bare workflow that is ready."""
        args = [sys.executable, "-m", "bench.bare_worker", self.rig.address, f"{self.name}-bare"]
        return await self._started(args, "bare worker ready", env)

    async def program(self, ready: str, module: str, *args: str, **env: str) -> Process:
        """Another worker, run as a module, that has said `ready`."""
        return await self._started([sys.executable, "-m", module, *args], ready, env)

    @contextlib.asynccontextmanager
    async def running(self, count: int = 1) -> AsyncGenerator[list[Process]]:
        """Workers of inturn alone, for as long as the block runs."""
        processes = await asyncio.gather(*(self.worker() for _ in range(count)))
        try:
            yield processes
        finally:
            await asyncio.gather(*(process.stop() for process in processes))

    @contextlib.asynccontextmanager
    async def workers(self) -> AsyncGenerator[tuple[Process, Process]]:
        """A worker of inturn and a bare one, for as long as the block runs."""
        ours, bare = await asyncio.gather(self.worker(), self.bare_worker())
        try:
            yield ours, bare
        finally:
            await asyncio.gather(ours.stop(), bare.stop())

    def client(self, *, journal: bool = False) -> Client:
        """A client of this lane."""
        return Client(
            temporal=self.rig.temporal,
            tenant=self.name,
            task_queue=self.name,
            journal=self.journal if journal else None,
        )

    async def bare_session(self, session_id: str) -> temporalio.client.WorkflowHandle[Any, Any]:
        """A bare session that runs."""
        return await self.rig.temporal.start_workflow(
            "Bare", id=f"{self.name}-bare/{session_id}", task_queue=f"{self.name}-bare"
        )

    async def _started(self, args: list[str], ready: str, env: dict[str, str]) -> Process:
        process = self.rig._start(args, ready, WORKER_WITHIN, {"INTURN_CACHED_SESSIONS": str(CACHED), **env})
        await process.until_ready()
        return process


def _clean_environment() -> dict[str, str]:
    """The environment without the settings of whoever runs this."""
    foreign = ("INTURN_", "ANTHROPIC_", "TEMPORAL_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]), "INTURN_LOG_LEVEL": "warning"}
