"""A claim whose answer is lost is the same claim once it is made again, however long the journal is away."""

from __future__ import annotations

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
from tests.support.steps import StepRunner, rig

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
