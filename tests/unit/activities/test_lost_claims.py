"""A claim whose answer is lost is the same claim once it is made again, however long the journal is away.

An attempt that gives up tells the next one: its body never began, and nothing is unknown.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn.errors import JournalUnavailable
from inturn.journal import AnswerLost, Claim, Journal
from inturn.keys import StepKey
from inturn.testing import ToolCall
from inturn.tools import Tool, tool
from inturn_activities.bounds import Bounds
from inturn_activities.messages import ToolInput
from tests.support.journal import SESSION
from tests.support.steps import StepRunner, environment, rig

BOUNDS = Bounds(beat=0.01, lease=7.0, leased_wait=1.0, claim_patience=0.05, claim_wait=30.0)


@pytest.fixture
def ran() -> list[str]:
    return []


def _tools(ran: list[str]) -> list[Tool[..., Any]]:
    @tool
    async def act() -> str:
        """Act once."""
        ran.append("act")
        return "done"

    @tool
    def act_in_a_thread() -> str:
        """Act once."""
        ran.append("act_in_a_thread")
        return "done"

    return [act, act_in_a_thread]


def _lose(monkeypatch: pytest.MonkeyPatch, first: type[Exception], tries: int) -> None:
    """Lose the answer to a call's first claim, and be away for the tries that follow."""
    claim_call, tried = Journal.claim_call, list[StepKey]()

    async def lost(self: Journal, step: StepKey, **options: Any) -> Claim:
        tried.append(step)
        if len(tried) > tries:
            return await claim_call(self, step, **options)
        if len(tried) == 1 and first is AnswerLost:
            await claim_call(self, step, **options)
        raise (first if len(tried) == 1 else JournalUnavailable)("away")

    monkeypatch.setattr(Journal, "claim_call", lost)


async def _called(r: StepRunner) -> str:
    result = await r.ask()
    return (await r.tool(call=result.calls[0].id)).status


@pytest.mark.promise("EFF-3", "EFF-2")
@pytest.mark.parametrize("name", ["act", "act_in_a_thread"])
@pytest.mark.parametrize("tries", [1, 4])
async def test_a_call_whose_claim_was_lost_runs_once(
    name: str, tries: int, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, [ToolCall(name), "end"], tools=_tools(ran), bounds=BOUNDS) as r:
        _lose(monkeypatch, AnswerLost, tries)
        assert (await _called(r), ran) == ("ok", [name])


async def test_a_claim_that_surely_failed_comes_back_later(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, [ToolCall("act"), "end"], tools=_tools(ran), bounds=BOUNDS) as r:
        _lose(monkeypatch, JournalUnavailable, 4)
        with pytest.raises(ApplicationError, match="away"):
            await _called(r)
        assert ran == []


IMPATIENT = dataclasses.replace(BOUNDS, claim_patience=0.3, claim_wait=0.5)


class Attempts:
    """The attempts of a call: what one leaves with its last sign of life, the next one finds."""

    def __init__(self, r: StepRunner, call: str) -> None:
        self.r, self.call, self.number = r, call, 0
        self.left: Sequence[Any] = ()

    async def run(self, *, cancel: asyncio.Event | None = None) -> str:
        """Run one more; `cancel`: once this is set."""
        self.number += 1
        made = environment(SESSION.turn("e1").step(0, 0), self.number)
        made.info = dataclasses.replace(made.info, heartbeat_details=self.left)
        made.on_heartbeat = self._beat
        running = asyncio.ensure_future(made.run(self.r.steps.run_tool, ToolInput(call=self.call)))
        if cancel is not None:
            await cancel.wait()
            running.cancel()
        return (await running).status

    def _beat(self, *details: Any) -> None:
        self.left = details


async def _attempts(r: StepRunner) -> Attempts:
    return Attempts(r, (await r.ask()).calls[0].id)


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize("name", ["act", "act_in_a_thread"])
async def test_a_call_whose_claim_was_lost_for_longer_than_its_attempt_waits_runs_on_the_next(
    name: str, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, [ToolCall(name), "end"], tools=_tools(ran), bounds=IMPATIENT) as r:
        attempts = await _attempts(r)
        with monkeypatch.context() as away:
            _lose(away, AnswerLost, 1_000)
            for _ in range(3):  # an outage may cost several
                with pytest.raises(ApplicationError, match="away"):
                    await attempts.run()
        assert (await attempts.run(), ran) == ("ok", [name])


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize("tries", [1, 1_000])
async def test_a_call_whose_beginning_was_lost_runs_once(
    tries: int, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, tried = Journal.begin, list[StepKey]()

    async def lost(self: Journal, step: StepKey, token: str, *, lease: float) -> None:
        await begin(self, step, token, lease=lease)
        tried.append(step)
        if len(tried) <= tries:
            raise AnswerLost("away")

    async with rig(tmp_path, [ToolCall("act_in_a_thread"), "end"], tools=_tools(ran), bounds=IMPATIENT) as r:
        attempts = await _attempts(r)
        with monkeypatch.context() as away:
            away.setattr(Journal, "begin", lost)
            if tries == 1:
                assert await attempts.run() == "ok"
            else:
                with pytest.raises(ApplicationError, match="away"):
                    await attempts.run()
        assert tries == 1 or await attempts.run() == "ok"
        assert ran == ["act_in_a_thread"]


@pytest.mark.promise("EFF-2", "SUR-2")
async def test_a_call_whose_worker_was_told_to_stop_while_it_claimed_runs_on_the_next(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, claim_call = asyncio.Event(), Journal.claim_call

    async def slow(self: Journal, step: StepKey, **options: Any) -> Claim:
        await claim_call(self, step, **options)
        claimed.set()
        await asyncio.sleep(3600)
        raise AssertionError

    async with rig(tmp_path, [ToolCall("act"), "end"], tools=_tools(ran), bounds=BOUNDS) as r:
        attempts = await _attempts(r)
        with monkeypatch.context() as hanging:
            hanging.setattr(Journal, "claim_call", slow)
            with pytest.raises(asyncio.CancelledError):
                await attempts.run(cancel=claimed)
        assert (await attempts.run(), ran) == ("ok", ["act"])


@pytest.mark.promise("EFF-2")
async def test_what_an_earlier_attempt_told_says_nothing_of_a_later_one_whose_body_began(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig(tmp_path, [ToolCall("act"), "end"], tools=_tools(ran), bounds=IMPATIENT) as r:
        attempts = await _attempts(r)
        with monkeypatch.context() as away:
            _lose(away, AnswerLost, 1_000)
            with pytest.raises(ApplicationError, match="away"):
                await attempts.run()
        told = attempts.left
        assert told
        tokens = told[1]
        step = SESSION.turn("e1").step(0, 0)
        claim = await r.journal.claim_call(step, lease=0.0, unbegun=tokens)  # its worker dies in the body
        assert (claim.status, claim.began) == ("claimed", False)
        attempts.left = told
        assert (await attempts.run(), ran) == ("unknown", [])
