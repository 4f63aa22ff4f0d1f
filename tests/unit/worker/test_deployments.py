"""Workers that follow what is saved, with stand-ins for workers: who serves, who drains, who is started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from inturn.errors import Misconfigured
from inturn_worker.dev import deployments
from inturn_worker.dev.agents import Choice
from inturn_worker.dev.child import Child
from inturn_worker.dev.deployments import Deployments, saves
from inturn_worker.dev.output import Output
from inturn_worker.parent import die_with_parent
from tests.support.waiting import until

# Reads what it is from a file, as a worker reads the user's code: `good NAME`, `parent NAME` (which leaves a child with
# its output), `chatty NAME` (which ends no line), `slow`, `quits`, or an error to end with.
WORKER = """
import os, signal, subprocess, sys, threading
signal.signal(signal.SIGTERM, lambda *_: (print("drained", flush=True), os._exit(0)))
kind, _, name = open(sys.argv[1]).read().partition(" ")
if kind == "quits":
    sys.exit(3)
if kind == "parent":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
if kind == "chatty":
    print("loading...", end="", flush=True)
if kind in ("good", "parent", "chatty"):
    print(f"inturn worker ready pid={os.getpid()} agents={name} model=m", flush=True)
elif kind != "slow":
    sys.exit(f"worker: {kind} is broken")
threading.Event().wait()
"""


class Events(Output):
    """Keeps what would be printed, and wakes who waits for it."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.seen: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def show(self, event: Any) -> None:
        """Keep it."""
        self.seen.append(dict(event))
        self._news.set()

    async def until(self, event: str, times: int = 1) -> dict[str, Any]:
        """Wait for so many events of a kind; returns the last of them."""
        async with asyncio.timeout(20):
            while len(found := [e for e in self.seen if e["event"] == event]) < times:
                self._news.clear()
                await self._news.wait()
        return found[times - 1]


class Stage:
    """Deployments of one file, saved by hand."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.events = Events()
        self.choice: Choice | Misconfigured = Choice(("app:agents",), "")
        self.workers = Deployments(self._choose, self._start, self._ready, self.events)
        self._saved: asyncio.Queue[list[str]] = asyncio.Queue()

    def save(self, text: str) -> None:
        """Save the code."""
        self.code.write_text(text)
        self._saved.put_nowait(["code"])

    async def saves(self) -> AsyncIterator[list[str]]:
        """What was saved."""
        while True:
            yield await self._saved.get()

    def _choose(self) -> Choice:
        if isinstance(self.choice, Misconfigured):
            raise self.choice
        return self.choice

    async def _start(self, specs: Sequence[str]) -> Child:
        command = [sys.executable, "-c", WORKER, str(self.code)]
        ready = "inturn worker ready"
        return await Child.start(
            "worker", command, os.environ, self.events, ready_prefix=ready, with_parent=die_with_parent
        )

    def _ready(self, worker: Any) -> None:
        self.events.say(worker["agents"], event="ready", pid=int(worker["pid"]))


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage on which `good one` serves."""
    monkeypatch.setattr(deployments, "FIRST_DELAY", 0.05)
    made = Stage(tmp_path)
    made.code.write_text("good one")
    following = asyncio.create_task(made.workers.follow(made.saves()))
    made.workers.begin()
    await made.events.until("ready")
    yield made
    following.cancel()
    await made.workers.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running(pid: int) -> bool:
    """Whether a process is there and no zombie: nobody here waits for those of others."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


async def test_good_code_takes_over_and_the_old_worker_drains(stage: Stage) -> None:
    stage.save("good two")
    assert (await stage.events.until("ready", 2))["text"] == "two"
    assert (await stage.events.until("line"))["text"] == "drained"


async def test_broken_code_leaves_the_old_worker_alone_and_is_shown(stage: Stage) -> None:
    serving = stage.events.seen[-1]["pid"]
    stage.save("nonsense")
    broken = await stage.events.until("broken")
    assert broken["text"] == "nonsense is broken\nthe worker with the old code goes on; correct it and save"
    stage.choice = Misconfigured("no agents")
    stage.save("good two")
    assert "no agents" in (await stage.events.until("broken", 2))["text"]
    assert alive(serving)
    stage.choice = Choice(("app:agents",), "")
    stage.save("good two")
    assert (await stage.events.until("ready", 2))["text"] == "two"


async def test_a_save_during_a_start_begins_that_anew(stage: Stage) -> None:
    stage.save("slow")
    await stage.events.until("saved")
    stage.save("good two")
    assert (await stage.events.until("ready", 2))["text"] == "two"
    assert not any(event["event"] == "broken" for event in stage.events.seen)


async def test_a_worker_that_dies_is_started_again_and_one_that_drains_is_not(stage: Stage) -> None:
    os.kill(stage.events.seen[-1]["pid"], signal.SIGKILL)
    assert "SIGKILL" in (await stage.events.until("crashed"))["text"]
    await stage.events.until("ready", 2)
    stage.save("good two")
    await stage.events.until("ready", 3)
    await stage.events.until("line")
    assert sum(event["event"] == "crashed" for event in stage.events.seen) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_what_a_worker_started_ends_with_it_and_keeps_its_end_from_no_one(stage: Stage) -> None:
    stage.save("parent two")
    pid = (await stage.events.until("ready", 2))["pid"]
    os.kill(pid, signal.SIGKILL)
    await stage.events.until("crashed")
    await stage.events.until("ready", 3)
    await stage.workers.stop()
    children = [int(event["text"]) for event in stage.events.seen if event["text"].isdecimal()]
    assert len(children) == 2

    async def none_is_left() -> bool:
        return not any(map(running, children))

    await until(none_is_left)


async def test_a_worker_whose_modules_end_no_line_is_ready_all_the_same(stage: Stage) -> None:
    stage.save("chatty two")
    assert (await stage.events.until("ready", 2))["text"] == "two"
    assert (await stage.events.until("line"))["text"] == "loading..."


async def test_a_worker_that_ends_without_a_word_is_told_of(stage: Stage) -> None:
    stage.save("quits")
    assert "the worker ended (exit code 3) before it was ready" in (await stage.events.until("broken"))["text"]


async def test_a_start_that_takes_long_is_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "_LONG_START", 0.05)
    stage.save("slow")
    assert "has not ended" in (await stage.events.until("slow"))["text"]
    stage.save("good two")
    assert (await stage.events.until("ready", 2))["text"] == "two"


async def test_a_stop_ends_all_and_starts_none(stage: Stage) -> None:
    pid = stage.events.seen[-1]["pid"]
    stage.save("slow")
    await stage.events.until("saved")
    await stage.workers.stop()
    assert not alive(pid)


async def test_saves_are_those_of_what_a_worker_reads(tmp_path: Path) -> None:
    for folder in (".inturn", "pkg", "__pycache__"):
        (tmp_path / folder).mkdir()
    following = saves(tmp_path)
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    for name in (".inturn/x.py", "notes.txt", "__pycache__/a.py"):
        (tmp_path / name).touch()
    for name in ("pkg/app.py", ".env"):
        (tmp_path / name).touch()
    async with asyncio.timeout(20):
        seen = set(await first)
        while seen < {"pkg/app.py", ".env"}:
            seen |= set(await anext(following))
    assert seen == {"pkg/app.py", ".env"}
