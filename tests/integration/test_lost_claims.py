"""What an attempt's last sign of life says reaches the next attempt through the server."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import Agent
from inturn.journal import AnswerLost, Claim, Journal
from inturn.keys import StepKey
from inturn.tools import tool
from inturn_activities.bounds import Bounds
from tests.support.rig import Rig

BOUNDS = Bounds(claim_patience=0.2, claim_wait=0.5)


@pytest.mark.promise("EFF-2")
async def test_a_call_whose_claim_stayed_without_an_answer_runs_once_on_the_next_attempt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, lost = list[str](), set[str]()
    claim_call = Journal.claim_call

    @tool
    async def act() -> str:
        """Act once."""
        ran.append("act")
        return "done"

    async def answerless(self: Journal, step: StepKey, *, token: str = "", **options: Any) -> Claim:
        claim = await claim_call(self, step, token=token, **options)
        lost.update([] if lost else [token])
        if token in lost:
            raise AnswerLost("away")
        return claim

    monkeypatch.setattr(Journal, "claim_call", answerless)
    agent = Agent("actor", model="m", instructions="Act.", tools=[act])
    async with rig.worker([agent], bounds=BOUNDS), rig.client() as client:
        turn = await client.session("s", agent="actor").ask("[[tool act {}]]", event_id="e", timeout=60)
    assert [call.status for call in turn.tool_calls] == ["ok"]
    assert ran == ["act"]
