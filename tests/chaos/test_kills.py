"""A worker killed at any named point loses nothing, repeats no keyed effect, breaks no order.

Each round: arm a point, send two events, a worker dies there by SIGKILL, another takes over; the journal, the strict
Claude's log and the effects outside are compared. Three campaigns run side by side, each with its own queue.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from inturn import Session
from inturn.testing.claude.log import overlaps
from tests.support.claude import ClaudeRig
from tests.support.rig import Rig
from tests.support.server import WorkerProcess
from tests.support.waiting import until

ROUNDS: Final = 10
POINTS: Final = {
    "model": ("claim_model:model:after", "streaming", "finish:model:before"),
    "tool": ("claim_call:call:after", "tool:before-effect", "tool:after-effect", "finish:call:before"),
    "between": ("finish:model:after", "finish:call:after", "claim_call:call:before", "claim_model:model:before"),
}


@dataclass
class Campaign:
    """Kills at some points, one after the other, in one session."""

    rig: Rig
    claude: ClaudeRig
    points: tuple[str, ...]
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    """Two that live: the one that does not die takes over."""

    async def run(self, count: int) -> None:
        """Kill `count` workers."""
        self.workers = [await self.start(), await self.start()]
        async with self.rig.client() as client:
            session = client.session("s", agent="support")
            await session.ask("hello", event_id="hello")
            for n in range(count):
                await self._round(session, self.points[n % len(self.points)], n)
            await self._judge(session, count)
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
        """Wait until one of the workers is dead; give when that was seen."""

        async def dead() -> list[WorkerProcess]:
            return [worker for worker in self.workers if worker.dead]

        (worker,) = await until(dead, within=60, every=0.02)
        killed = time.monotonic()
        self.workers.remove(worker)
        await asyncio.to_thread(worker.wait)
        return killed

    async def _judge(self, session: Session, count: int) -> None:
        expected = ["hello", *(f"{kind}{n}" for n in range(count) for kind in "ab")]
        started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
        completed = [e.event_id async for e in session.entries() if e.type == "turn.completed"]
        assert started == completed == expected
        keyed = [path for path in self.rig.effects.iterdir() if path.name != "attempts"]
        assert len(keyed) == count
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences

    @property
    def _armed(self) -> Path:
        return self.rig.directory / "armed"

    async def start(self) -> WorkerProcess:
        """Start a worker that can die at a point."""
        worker = self.rig.process(
            agents="tests.support.crashing:agents",
            INTURN_TEST_CRASH=str(self._armed),
            ANTHROPIC_API_KEY="test",
            ANTHROPIC_BASE_URL=self.claude.url,
        )
        await asyncio.to_thread(worker.start)
        return worker


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.promise("SUR-1", "EFF-1", "EFF-3", "ACC-1", "ACC-2", "ORD-1", "ORD-2", "MOD-2")
async def test_killed_workers_lose_nothing_and_repeat_no_keyed_effect(server_address: str, tmp_path: Path) -> None:
    async with ClaudeRig() as claude:
        campaigns = []
        for name, points in POINTS.items():
            (tmp_path / name).mkdir()
            rig = await Rig(server_address, tmp_path / name).connect()
            campaigns.append(Campaign(rig, claude, points))
        try:
            await asyncio.gather(*(campaign.run(ROUNDS) for campaign in campaigns))
        finally:
            for campaign in campaigns:
                campaign.rig.end()
        # An answer that was recorded is never asked for again: only kills before the record repeat a request.
        for campaign in campaigns:
            repeated = sum(1 for point, _ in campaign.recoveries if point in ("streaming", "finish:model:before"))
            steps = 1 + ROUNDS * 3
            asked = [r for r in claude.requests if r.session == f"{campaign.rig.tenant}/s"]
            assert len(asked) == steps + repeated
        assert overlaps(claude.requests) == []
    recoveries = sorted(seconds for campaign in campaigns for _, seconds in campaign.recoveries)
    assert recoveries[-1] <= 10.0, recoveries[-5:]


@pytest.mark.slow
@pytest.mark.promise("EFF-2")
async def test_a_call_without_key_that_was_cut_off_is_reported_as_unknown_and_not_repeated(rig: Rig) -> None:
    async with ClaudeRig() as claude, rig.client() as client:
        campaign = Campaign(rig, claude, ())
        worker = await campaign.start()
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="hello")
        (rig.directory / "armed").write_text("tool:after-effect")
        await session.send('[[tool post {"text": "news"}]]', event_id="post")
        await asyncio.to_thread(worker.wait, 60)
        await campaign.start()
        turn = await session.wait("post", timeout=60)
        assert [call.status for call in turn.tool_calls] == ["unknown"]
        assert len(rig.attempts("mail")) == 1
        assert "unknown" in turn.text


@pytest.mark.slow
@pytest.mark.promise("SUR-1", "ACC-1")
async def test_an_idle_session_answers_within_three_seconds_after_its_worker_was_killed(rig: Rig) -> None:
    waits = []
    async with rig.client() as client:
        session = client.session("s", agent="support")
        worker = await asyncio.to_thread(rig.process().start)
        await session.ask("hello", event_id="hello")
        for n in range(3):
            standby = await asyncio.to_thread(rig.process().start)
            await session.ask("hello", event_id=f"warm{n}")
            await asyncio.to_thread(worker.kill)
            began = time.monotonic()
            await session.ask("are you there?", event_id=f"e{n}", timeout=30)
            waits.append(time.monotonic() - began)
            worker = standby
    assert max(waits) <= 3.0, waits
