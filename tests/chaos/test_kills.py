"""A worker killed at any named point loses nothing, repeats no keyed effect, breaks no order.

Each round: arm a point, send two events, a worker dies there by SIGKILL, another takes over; the journal, the strict
Claude's log and the effects outside are compared. Three campaigns run side by side, each with its own queue.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from pathlib import Path
from typing import Final

import pytest

from inturn.testing.claude.log import overlaps
from tests.chaos.campaign.kills import POINTS, Kills
from tests.support.claude import ClaudeRig
from tests.support.rig import Rig
from tests.support.sizes import sized

ROUNDS: Final = sized(sample=4, whole=10)
"""Kills of each campaign: the sample has each point once."""


@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.promise("SUR-1", "EFF-1", "EFF-3", "ACC-1", "ACC-2", "ORD-1", "ORD-2", "MOD-2")
async def test_killed_workers_lose_nothing_and_repeat_no_keyed_effect(
    server_address: str, store: str, tmp_path: Path
) -> None:
    async with ClaudeRig() as claude:
        campaigns = []
        for name, points in POINTS.items():
            (tmp_path / name).mkdir()
            rig = await Rig(server_address, tmp_path / name).connect()
            campaigns.append(Kills(rig, claude, list(itertools.islice(itertools.cycle(points), ROUNDS))))
        try:
            await asyncio.gather(*(campaign.run() for campaign in campaigns))
        finally:
            for campaign in campaigns:
                campaign.rig.end()
        assert overlaps(claude.requests) == []
    # The worst is `make bench`'s to measure, on a machine that does nothing else.
    recoveries = [seconds for campaign in campaigns for _, seconds in campaign.recoveries]
    assert statistics.median(recoveries) <= 10.0, recoveries


@pytest.mark.promise("EFF-2")
async def test_a_call_without_key_that_was_cut_off_is_reported_as_unknown_and_not_repeated(rig: Rig) -> None:
    async with ClaudeRig() as claude, rig.client() as client:
        campaign = Kills(rig, claude, [])
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


@pytest.mark.alone
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
    assert statistics.median(waits) <= 3.0, waits
