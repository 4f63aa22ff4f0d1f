"""Kills of workers at named points, and what must hold after them.

Invariant: judged by what stands outside the workers: the journal, the strict Claude's log, the effects' own files.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inturn import Session
from tests.support.claude import ClaudeRig
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.waiting import until

POINTS: Final = {
    "model": ("claim_model:model:after", "streaming", "finish:model:before"),
    "tool": ("claim_call:call:after", "tool:before-effect", "tool:after-effect", "finish:call:before"),
    "between": ("finish:model:after", "finish:call:after", "claim_call:call:before", "claim_model:model:before"),
}
BEFORE_THE_RECORD: Final = ("streaming", "finish:model:before")
"""Points at which an answer is lost with its worker."""


@dataclass
class Kills:
    """Kills at some points, one after the other, in one session."""

    rig: Rig
    claude: ClaudeRig
    points: Sequence[str]
    """Where the workers die, kill by kill."""
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    """Two that live: the one that does not die takes over."""

    async def run(self) -> None:
        """Kill a worker at each point, and judge."""
        self.workers = [await self.start(), await self.start()]
        async with self.rig.client() as client:
            session = client.session("s", agent="support")
            await session.ask("hello", event_id="hello")
            for n, point in enumerate(self.points):
                await self._round(session, point, n)
            await self._judge(session)
        for worker in self.workers:
            await asyncio.to_thread(worker.stop)

    async def _round(self, session: Session, point: str, n: int) -> None:
        tag = f"{self.rig.tenant}-{n}"
        text = f'[[tool pay {{"cents": {n}}}]] [[tool add {{"a": 1, "b": {n}}}]] pay {tag} and go on with more words'
        if point == "streaming":
            text = f"[[delay 2.0]] {text}"
        else:
            self._armed.write_text(point)
        await session.send(text, event_id=f"a{n}")
        await session.send(f"then {tag}", event_id=f"b{n}")
        if point == "streaming":
            await self.claude.until_streaming(tag)
            await self._kill_the_one_that_streams(session)
        killed = await self._death()
        turn = await session.wait(f"a{n}", timeout=60)
        self.recoveries.append((point, time.monotonic() - killed))
        assert turn.disposition == "applied", (point, turn)
        assert [call.status for call in turn.tool_calls] == ["ok", "ok"], (point, turn)
        assert (await session.wait(f"b{n}", timeout=60)).disposition == "applied"
        self.workers.append(await self.start())

    async def _kill_the_one_that_streams(self, session: Session) -> None:
        described = await self.rig.temporal.get_workflow_handle(str(self.rig.key("s"))).describe()
        (step,) = described.raw_description.pending_activities
        pid = int(step.last_worker_identity.rpartition(":")[2])
        next(worker for worker in self.workers if worker.pid == pid).send(signal.SIGKILL)

    async def _death(self) -> float:
        """Wait until one of the workers is dead; return when that was seen."""

        async def dead() -> list[WorkerProcess]:
            return [worker for worker in self.workers if worker.dead]

        (worker,) = await until(dead, within=60, every=0.02)
        killed = time.monotonic()
        self.workers.remove(worker)
        await asyncio.to_thread(worker.wait)
        return killed

    async def _judge(self, session: Session) -> None:
        count = len(self.points)
        expected = ["hello", *(f"{kind}{n}" for n in range(count) for kind in "ab")]
        started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
        completed = [e.event_id async for e in session.entries() if e.type == "turn.completed"]
        assert started == completed == expected
        keyed = [path for path in self.rig.effects.iterdir() if path.name != "attempts"]
        assert len(keyed) == count
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        # An answer that was recorded is never asked for again: only kills before the record repeat a request.
        repeated = sum(point in BEFORE_THE_RECORD for point in self.points)
        requests = self.claude.requests  # of other campaigns, too
        (name,) = {request.session for request in requests if f"{self.rig.tenant}-" in str(request.body)}
        assert sum(request.session == name for request in requests) == 1 + 3 * count + repeated

    @property
    def _armed(self) -> Path:
        return self.rig.directory / "armed"

    async def start(self) -> WorkerProcess:
        """Start a worker that can die at a point."""
        worker = self.rig.process(
            agents="tests.support.agents.crashing:agents",
            INTURN_TEST_CRASH=str(self._armed),
            ANTHROPIC_API_KEY="test",
            ANTHROPIC_BASE_URL=self.claude.url,
        )
        await asyncio.to_thread(worker.start)
        return worker
