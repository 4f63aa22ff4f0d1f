"""`inturn dev` as a process, in a directory of the test's own.

Invariant: it ends with the test; what it left behind is found by its directory, which all its processes work in.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.processes.server import READY_WITHIN, clean_environment

FOUND_BY = ("INTURN_TEMPORAL", "INTURN_CACHE")
"""What a machine may need to have a Temporal CLI."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a user without settings."""
    clean = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    return {**clean, **{name: os.environ[name] for name in FOUND_BY if name in os.environ}, **more}


class DevProcess:
    """`with DevProcess(directory) as dev: dev.until("ready")`."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        inturn: Sequence[str] = (sys.executable, "-P", "-m", "inturn"),
        env: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.events: list[dict[str, Any]] = []
        self._inturn = tuple(inturn)
        self._env = environment(**(env or {}))
        self._process = subprocess.Popen(
            [*self._inturn, "dev", "--json", *arguments],
            cwd=directory,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def until(self, event: str, within: float = 60.0) -> dict[str, Any]:
        """Read on until it tells of such an event."""
        end = time.monotonic() + within
        while (found := self._next(end - time.monotonic())) is not None:
            if found["event"] == event:
                return found
        raise AssertionError(f"no {event} within {within:g} s, or before its end: {self.told()}")

    def ready(self) -> dict[str, Any]:
        """Read on until everything is there."""
        return self.until("ready", READY_WITHIN)

    def run(self, *arguments: str) -> str:
        """Run another command of `inturn` in the directory; returns what it prints."""
        done = subprocess.run(
            [*self._inturn, *arguments],
            cwd=self.directory,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.told()
        return done.stdout

    def ask(self, session: str, text: str) -> str:
        """Ask an agent; returns its answer."""
        return str(json.loads(self.run("ask", session, text, "--json"))["text"])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """End it by a signal; returns its exit code."""
        self.send(number)
        code = self._process.wait(60)
        while self._next(10.0) is not None:
            pass
        return code

    def told(self) -> str:
        """All that it told until now."""
        return "\n".join(f"{event['from']}: {event['text']}" for event in self.events)

    def __enter__(self) -> DevProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGTERM)
        self._reader.join(10)
        if self._process.stdout:
            self._process.stdout.close()

    def _next(self, within: float) -> dict[str, Any] | None:
        """Return the next event; `None` where none comes in time, or it ended."""
        with contextlib.suppress(queue.Empty):
            if (event := self._queue.get(timeout=max(within, 0.01))) is not None:
                self.events.append(event)
                return event
        return None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)


def processes_in(directory: Path) -> list[str]:
    """The command lines of processes that work in a directory."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == directory.resolve():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found
