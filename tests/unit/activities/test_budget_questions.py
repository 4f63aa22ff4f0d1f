"""A turn at its budget may ask a person for as much once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.journal.views.approvals import APPROVAL_ENTRY_TYPES, pending
from inturn.testing import ScriptedModel, ToolCall
from inturn.tools import tool
from inturn.turns.budget import Budget
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import Answered, CallPlan, ModelResult
from tests.support.steps import StepRunner, rig
from tests.support.strict import MODEL, strict

ASKING = Budget(steps=2, on_limit="ask")


@tool
async def look() -> str:
    """Look."""
    return "nothing"


def said(plan: CallPlan, answer: str = "approved") -> Answered:
    return Answered.model_validate(
        {"approval_id": plan.approval_id, "call_id": plan.id, "tool": plan.tool, "answer": answer, "by": "ann"}
    )


async def up_to_the_limit(r: StepRunner, first: int = 0, **fields: Any) -> ModelResult:
    """Run steps until one asks."""
    step, result = first, await r.ask(step=first, **fields)
    while result.stop == "tool_use":
        await r.tools(result, step=step)
        step += 1
        result = await r.ask(step=step, **{name: value for name, value in fields.items() if name == "raised"})
    return result


@pytest.mark.promise("MOD-4")
async def test_at_its_limit_a_turn_asks_and_goes_on_with_a_yes_then_asks_again_under_another_id(tmp_path: Path) -> None:
    model = ScriptedModel([ToolCall("look")] * 9)
    async with rig(tmp_path, model=model, tools=[look], budget=ASKING) as r:
        asked = await up_to_the_limit(r)
        assert asked.stop == "ask_budget"
        assert len(model.requests) == 2
        [plan] = asked.calls
        assert (plan.kind, plan.approval_id, plan.approval) == ("budget", "budget:e1:2:0", True)
        assert "2 steps" in plan.preview
        [waiting] = pending(await r.entries(*APPROVAL_ENTRY_TYPES))
        assert (waiting.kind, waiting.approval_id) == ("budget", plan.approval_id)
        assert await r.bodies("turn.completed") == []
        again = await up_to_the_limit(r, 2, raised=1, answered=said(plan))
        assert again.stop == "ask_budget"
        assert len(model.requests) == 4
        assert again.calls[0].approval_id == "budget:e1:4.1:0"
        [answered] = await r.bodies("approval.answered")
        assert (answered["answer"], answered["by"], answered["approval_id"]) == ("approved", "ann", plan.approval_id)


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize("answer", ["denied", "expired"])
async def test_a_no_ends_the_turn_and_the_session_answers_on(tmp_path: Path, answer: str) -> None:
    model = ScriptedModel([ToolCall("look")] * 2 + ["fine"])
    async with rig(tmp_path, model=model, tools=[look], budget=ASKING) as r:
        asked = await up_to_the_limit(r)
        ended = await r.ask(step=2, answered=said(asked.calls[0], answer))
        assert ended.stop == "budget_reached"
        assert [body["stop"] for body in await r.bodies("turn.completed")] == ["budget_reached"]
        assert pending(await r.entries(*APPROVAL_ENTRY_TYPES)) == []
        assert (await r.ask("e2")).stop == "end_turn"


async def test_a_question_at_the_first_step_says_what_the_user_said_once(tmp_path: Path) -> None:
    model = ScriptedModel(["fine"])
    async with rig(tmp_path, model=model, budget=Budget(steps=0, tokens=None, on_limit="ask")) as r:
        asked = await r.ask()
        assert asked.stop == "ask_budget"
        denied = await r.ask(answered=said(asked.calls[0], "denied"))
        assert denied.stop == "budget_reached"
        assert len(await r.bodies("user.message")) == 1


async def test_an_attempt_that_asks_again_writes_its_question_once(tmp_path: Path) -> None:
    async with rig(tmp_path, model=ScriptedModel([]), budget=Budget(steps=0, on_limit="ask")) as r:
        first, second = await r.ask(), await r.ask(attempt=2)
        assert first.calls == second.calls
        assert len(await r.bodies("approval.requested")) == 1


@pytest.mark.promise("MOD-4")
async def test_a_yes_gives_as_much_money_once_more_and_no_request_is_sent_before_it(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        r = plain.deployed(budget=Budget(usd=0.008, on_limit="ask"), max_tokens=1_024)
        asked = await r.step("e1", 0, "words " * 700)
        assert isinstance(asked, ModelResult)
        assert asked.stop == "ask_budget"
        assert r.server.requests == []
        done = await r.step("e1", 0, "words " * 700, raised=1, answered=said(asked.calls[0]))
        assert isinstance(done, ModelResult)
        assert done.stop == "end_turn"
        assert len(r.server.requests) == 1


async def test_nobody_is_asked_for_what_all_workers_allow_in_a_day(tmp_path: Path) -> None:
    class Costing(ScriptedModel):
        price = None  # type: ignore[assignment]

    agent = Agent("support", model=MODEL, instructions="", budget=Budget(usd=100, on_limit="ask"))
    async with rig(tmp_path, model=Costing([]), limits=Limits(usd_per_tenant_day=0), agents=[agent]) as r:
        assert (await r.ask()).stop == "budget_reached"
