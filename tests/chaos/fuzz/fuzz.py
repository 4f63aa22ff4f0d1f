"""One bombardment: a server, a worker, sessions that are fired at, innocent ones beside them, and the judgement.

Invariant: plain and hostile slices of the same pace follow each other, so that what hostility costs the innocent is a
ratio of one run. It is judged by the usual slice of each kind: a stall of the machine meets all sessions at once and is
the whole tail of a slice, but not of most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inturn import Client, Session
from inturn.journal import open_journal
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.chaos.fuzz.garbling import garbled
from tests.chaos.fuzz.innocents import Innocents
from tests.chaos.fuzz.judge import Judge, key_of
from tests.chaos.fuzz.shots import Gun
from tests.support.processes.server import ROOT, DevServer, clean_environment, first_line
from tests.support.stores import journal_url

VICTIMS: Final = 12
SLICE: Final = 4.0
"""Seconds of plain messages, then as many of hostile ones."""
SHELLS: Final = 8
"""Shots on their way at once, of all sessions together, where no pace is set."""


@dataclass
class Result:
    """What a bombardment brought."""

    seed: int
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M", time.gmtime()))
    inputs: int = 0
    acknowledged: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    innocent_turns: int = 0
    p99_beside_plain: float = 0.0
    """Of each slice its own, and of these the median."""
    p99_beside_hostile: float = 0.0
    memory_before: int = 0
    memory_most: int = 0
    findings: list[str] = field(default_factory=list[str])

    @property
    def slower(self) -> float:
        """How much longer the slowest turns of the innocent take beside hostile messages than beside plain ones."""
        return self.p99_beside_hostile / self.p99_beside_plain if self.p99_beside_plain else 1.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "answers": dict(self.answers), "slower": round(self.slower, 3)}


@dataclass
class Bombardment:
    """Fires for so many seconds, and at least so many inputs, whichever are given."""

    directory: Path
    seed: int
    seconds: float | None = None
    inputs: int | None = None
    pace: float | None = None
    """Shots per second; `None`: as fast as they go."""
    tell: Callable[[str], None] = print

    async def run(self) -> Result:
        """Fire, and judge."""
        with DevServer() as server:
            return await self._run(server.address)

    async def _run(self, address: str) -> Result:
        url = journal_url(self.directory)
        temporal = await connect(Settings(address=address))
        journal = open_journal(url)
        await journal.open()
        async with Client(address, tenant="fuzz", task_queue="fuzz", journal=url) as client:
            try:
                with worker(address, "fuzz", url, self.directory / "worker.log") as pid:
                    return await self._fire(client, temporal, Judge(client, temporal, journal), pid)
            finally:
                await journal.close()

    async def _fire(self, client: Client, temporal: Any, judge: Judge, pid: int) -> Result:
        result = Result(self.seed)
        victims = [client.session(f"victim-{n}", agent="fuzzed") for n in range(VICTIMS)]
        for session in victims:
            await session.ask("innocent, still", event_id="first")
        guns = [Gun(temporal, str(key_of(session)), f"{self.seed}/{n}") for n, session in enumerate(victims)]
        innocents = Innocents(client)
        result.memory_before = memory(pid)
        began = time.monotonic()
        async with innocents.asking():
            async for share in self._slices(guns, innocents):
                result.memory_most = max(result.memory_most, memory(pid))
                self.tell(f"  {share:4.0%}: {sum(gun.fired.answers.total() for gun in guns):,} inputs")
            result.seconds = round(time.monotonic() - began, 1)
        self.tell("  waiting for what they have to do")
        result.findings += await judge.settle(victims)
        result.memory_most = max(result.memory_most, memory(pid))
        for gun in guns:
            result.answers += gun.fired.answers
            result.acknowledged += len(gun.fired.acknowledged)
        self.tell("  judging, and garbling others")
        async with asyncio.TaskGroup() as group:  # an audit waits, to be sure, and so do garbled sessions
            judging = group.create_task(self._judge(judge, result, victims, guns, innocents))
            garbling = group.create_task(garbled(client, journal_url(self.directory)))
        result.findings += [*judging.result(), *garbling.result()]
        result.inputs = result.answers.total()
        result.innocent_turns = sum(len(took) for _, took in innocents.slices)
        result.p99_beside_plain = innocents.usual("plain", 0.99)
        result.p99_beside_hostile = innocents.usual("hostile", 0.99)
        return result

    async def _judge(
        self, judge: Judge, result: Result, victims: list[Session], guns: list[Gun], innocents: Innocents
    ) -> list[str]:
        found = await all_of(judge.lost(s, gun.fired) for s, gun in zip(victims, guns, strict=True))
        found += await all_of(map(judge.failed_tasks, victims))
        everyone = [*victims, *innocents.sessions]
        result.runs, unreplayable = await judge.unreplayable(everyone, self.directory / "histories")
        found += [*innocents.failed, *(f"does not replay: {name}" for name in unreplayable)]
        return found + await all_of(judge.blind(s, journal_url(self.directory)) for s in victims[:3])

    async def _slices(self, guns: list[Gun], innocents: Innocents) -> Any:
        """Fire slice by slice; give the share that is done."""
        began, fired = time.monotonic(), 0
        while True:
            for phase in ("plain", "hostile") if self.pace else ("hostile",):
                innocents.begin(phase)
                fired += await self._slice(guns, plain=phase == "plain")
            shares = (time.monotonic() - began) / (self.seconds or 1e-9), fired / (self.inputs or 1e-9)
            yield (share := min(1.0, *shares))
            if share >= 1:
                return

    async def _slice(self, guns: list[Gun], *, plain: bool) -> int:
        end, shells = time.monotonic() + SLICE, asyncio.Semaphore(SHELLS)
        fired = 0
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                gun = guns[fired % len(guns)]
                fired += 1
                await shells.acquire()
                shot = group.create_task(gun.fire_plain() if plain else gun.fire())
                shot.add_done_callback(lambda _: shells.release())
                await asyncio.sleep(1 / self.pace if self.pace else 0)
        return fired


async def all_of(judgements: Iterable[Awaitable[list[str]]]) -> list[str]:
    """Return what all of them found; each waits, for an audit to be sure, so they wait together."""
    return [finding for found in await asyncio.gather(*judgements) for finding in found]


@contextlib.contextmanager
def worker(address: str, task_queue: str, journal: str, log: Path) -> Any:
    """Run the worker in a process of its own; gives its pid, and finds out whether it lives on to the end."""
    args = [sys.executable, "-m", "tests.chaos.fuzz.tools", address, task_queue, journal]
    env = {**clean_environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
    with log.open("w") as errors:
        process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, cwd=ROOT)
    try:
        first_line(process, "ready", 60.0)
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}")
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def memory(pid: int) -> int:
    """Return the resident bytes of a process; 0 of one that is gone."""
    with contextlib.suppress(OSError):
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) * 1024 if "VmRSS" in fields else 0
    return 0
