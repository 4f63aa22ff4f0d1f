"""The stage: a Temporal server and two workers, as real processes, in a directory of their own.

Invariant: whatever way the demo ends, what was started here is ended and its files are gone, unless they are kept on
purpose.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TASK_QUEUE: Final = "inturn-demo"
READY_SECONDS: Final = 60.0
SHOP_LATENCY: Final = "1.0"
"""Seconds the shop takes to answer after it booked a refund: room for a kill between effect and result."""


class NotReady(Exception):
    """A process ended, or said nothing, before it was ready."""


@dataclass
class Process:
    """A process of the stage; what it says is in its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    killed: bool = False

    def until(self, start: str) -> dict[str, str]:
        """Wait for the line that starts so; return its `name=value` words, and the line itself as `line`."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            ended = self.popen.poll() is not None
            for line in self.log.read_text(errors="replace").splitlines():
                if line.startswith(start):
                    words = [word.partition("=") for word in line.split() if "=" in word]
                    return {"line": line, **{name: value for name, _, value in words}}
            if ended:
                break
            time.sleep(0.05)
        last = "\n  ".join(self.log.read_text(errors="replace").splitlines()[-5:])
        raise NotReady(f"{self.name} was not ready; its last lines:\n  {last}")

    def kill(self) -> None:
        """End it as a crash does."""
        self.popen.kill()
        self.popen.wait(10)
        self.killed = True

    def end(self) -> None:
        """End it in good order, at most 10 seconds long."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)


@dataclass
class Stage:
    """Server and workers."""

    keep: bool = False
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="inturn-demo-")))
    workers: list[Process] = field(default_factory=list)
    address: str = ""
    ui: str = ""
    model: str = ""
    server: Process | None = None

    @property
    def journal(self) -> str:
        """The journal's URL."""
        return f"sqlite:///{self.directory / 'journal.sqlite'}"

    @property
    def shop(self) -> Path:
        """The shop's file."""
        return self.directory / "shop.sqlite"

    def start(self) -> None:
        """Start the server, then both workers at once."""
        # Found or built first, in sight: the first time on a machine it may take minutes.
        finder = [sys.executable, "-m", "inturn_worker.temporal_cli", "--which"]
        found = subprocess.run(finder, stdout=subprocess.PIPE, text=True, check=False)
        if found.returncode != 0:
            raise NotReady("there is no Temporal CLI (see above)")
        temporal, _, origin = found.stdout.strip().partition("\t")
        print(f"Temporal CLI: {origin or temporal}", flush=True)
        command = [sys.executable, "-m", "inturn_worker.dev_server", "--port", "0"]
        command += ["--db", str(self.directory / "temporal.db"), *(["--ui"] if self.keep else [])]
        self.server = self._spawn("server", command, {"INTURN_TEMPORAL": temporal})
        words = self.server.until("ready ")["line"].split()
        self.address, self.ui = words[1], words[-1] if self.keep else ""
        self.workers = [self._worker(name) for name in ("worker A", "worker B")]
        for worker in self.workers:
            self.model = worker.until("inturn worker ready").get("model", "")

    def worker(self, pid: int) -> Process:
        """Return the worker that is this process."""
        return next(worker for worker in self.workers if worker.popen.pid == pid)

    def end(self) -> None:
        """End what still runs, workers first, and remove the files."""
        ignored = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)]
        for process in (*self.workers, self.server):
            if process is not None:
                process.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), ignored, strict=True):
            signal.signal(number, handler)

    def _worker(self, name: str) -> Process:
        command = [sys.executable, str(ROOT / "worker.py"), "examples.support:agents"]
        command += ["--lifespan", "examples.support:lifespan", "--address", self.address, "--namespace", "default"]
        command += ["--task-queue", TASK_QUEUE, "--journal", self.journal]
        return self._spawn(name, command, {"SHOP_DB": str(self.shop), "SHOP_LATENCY": SHOP_LATENCY})

    def _spawn(self, name: str, command: list[str], env: dict[str, str]) -> Process:
        log = self.directory / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,  # where no .env of the user's leads it to another server
                env={**_plain_environment(), **env},
                process_group=0,  # a terminal's Ctrl-C is for the demo, which ends the others in order
            )
        return Process(name, popen, log)


def _plain_environment() -> dict[str, str]:
    """Return the environment without the user's settings for other servers and journals; keys for Claude stay."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client"), *filter(None, [os.environ.get("PYTHONPATH")])])
    others = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "INTURN_"))}
    return {**others, "PYTHONPATH": path}
