"""A real Temporal server for tests, by the project's own scripts/dev-server.

Invariant: it ends with the tests that started it; only the process started here is signalled.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
READY_WITHIN: Final = 420.0
"""Seconds; the first run on a machine may have to build the Temporal CLI."""


class DevServer:
    """`with DevServer() as server: server.address`. A fixed `port` and `db` let it be killed and started again.

    The port is not to be one that the system gives to connections: who calls a server that is down may get that very
    port as its own end, then talks to itself, and keeps the server from coming back. `fixed_port` gives one.
    """

    def __init__(self, *, port: int = 0, db: Path | None = None, log: Path | None = None) -> None:
        self._args = [sys.executable, "-m", "inturn_worker.dev_server", "--port", str(port)]
        if db is not None:
            self._args += ["--db", str(db)]
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> DevServer:
        """Start it and wait until it answers."""
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(self._log.open("a")) if self._log else None
            self._process = subprocess.Popen(self._args, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.address = first_line(self._process, "ready ", READY_WITHIN).split()[1]
        return self

    @property
    def gone(self) -> bool:
        """It was started, and ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: the server dies with its script."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> DevServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class WorkerProcess:
    """A real `worker.py` in a process of its own."""

    def __init__(
        self,
        address: str,
        task_queue: str,
        journal: str,
        *agents: str,
        env: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
        cwd: Path = ROOT,
        log: Path | None = None,
    ) -> None:
        self._args = [sys.executable, str(ROOT / "worker.py"), *agents, "--address", address]
        self._args += ["--task-queue", task_queue, "--journal", journal, *options]
        path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
        self._env = {**clean_environment(), "PYTHONPATH": path, **(env or {})}
        self._cwd = cwd
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def dead(self) -> bool:
        """Whether it has ended by itself or by a signal."""
        return self._process is not None and self._process.poll() is not None

    def start(self, *, wait: bool = True) -> WorkerProcess:
        """Start it; `wait` until the server has seen its pollers."""
        errors = self._log.open("a") if self._log else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                self._args, stdout=subprocess.PIPE, stderr=errors, text=True, env=self._env, cwd=self._cwd
            )
        finally:
            if not isinstance(errors, int):
                errors.close()
        if wait:
            self.until_ready()
        return self

    def until_ready(self) -> None:
        """Wait for its ready line."""
        assert self._process is not None
        first_line(self._process, "inturn worker ready", 60.0)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, and wait for its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self._reap(timeout)

    def wait(self, timeout: float = 30) -> int:
        """Wait for its exit code."""
        return self._reap(timeout)

    def _reap(self, timeout: float = 30) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise
        finally:
            if self._process.stdout:
                self._process.stdout.close()
        self._process = None
        return code

    def __enter__(self) -> WorkerProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self.kill()


def fixed_port() -> int:
    """Return a port that is free, and stays so: below those that the system gives away."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def first_line(process: subprocess.Popen[str], start: str, within: float) -> str:
    """Wait for the line that starts so."""
    assert process.stdout is not None
    end = time.monotonic() + within
    while (left := end - time.monotonic()) > 0:
        readable, _, _ = select.select([process.stdout], [], [], min(left, 1.0))
        if readable:
            line = process.stdout.readline()
            if line.startswith(start):
                return line
            if not line:
                raise RuntimeError(f"{process.args!r} ended with {process.wait(5)} before it said {start!r}")
    process.kill()
    process.wait(10)
    raise TimeoutError(f"{process.args!r} did not say {start!r} within {within} s")


def clean_environment() -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    ours = ("INTURN_", "ANTHROPIC_", "TEMPORAL_", "OTEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
