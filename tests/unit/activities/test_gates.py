"""Gates are judged where the effect is: whatever was planned, a call runs only with the yes that it needs now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.journal.views.approvals import pending
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel, ToolCall
from inturn.tools import Tool, tool
from inturn.turns.budget import Budget
from inturn.values import Usage
from inturn_activities.messages import Answered, CallPlan, ToolResult
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.worker_turn import WorkerSteps

pytestmark = pytest.mark.promise("EFF-7", "SEC-4")

Approve = bool | Callable[[Mapping[str, Any]], bool]


class Purse:
    """What was paid, and the tools that pay."""

    def __init__(self) -> None:
        self.paid: list[int] = []

    def tool(self, approval: Approve = True, **options: Any) -> Tool[..., Any]:
        async def pay(cents: int) -> str:
            self.paid.append(cents)
            return f"paid {cents}"

        return tool(approval=approval, **options)(pay)


class Given:
    """A model that makes one call of exactly this block, and is done after it."""

    def __init__(self, *blocks: dict[str, Any]) -> None:
        self.blocks = list(blocks)

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        if not self.blocks:
            return ModelMessage([{"type": "text", "text": "done"}], "end_turn", Usage(), "m")
        return ModelMessage([self.blocks.pop(0)], "tool_use", Usage(), "m")


def yes(plan: CallPlan, **changed: Any) -> Answered:
    said = {"approval_id": plan.approval_id, "call_id": plan.id, "tool": plan.tool, "answer": "approved", "by": "ann"}
    return Answered(**(said | changed))


def once(first: Any, then: Any) -> Callable[..., Any]:
    """Return something that says one thing when a call is planned, and another one from then on."""
    said = [first]
    return lambda *_: said.pop() if said else then


async def asked_for(r: StepRunner, result: ToolResult, plan: CallPlan, purse: Purse) -> CallPlan:
    """Check that a call asks a person and nothing was done; gives the plan of the question."""
    assert result.status == "needs_approval"
    assert purse.paid == []
    assert result.plan is not None
    assert result.plan.approval
    assert (result.plan.id, result.plan.tool) == (plan.id, plan.tool)
    [question] = pending(await r.journal.read(SESSION, event_id="e1"))
    assert (question.approval_id, question.args) == (result.plan.approval_id, {"cents": 500})
    assert await r.entries("agent.tool_result") == []
    return result.plan


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_predicate_that_changes_its_mind_asks_and_runs_with_the_answer(
    tmp_path: Path, idempotent: bool
) -> None:
    purse = Purse()
    pay = purse.tool(once(False, True), idempotent=idempotent)
    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=[pay], budget=Budget(approval_timeout=60)) as r:
        [plan] = (await r.ask()).calls
        assert not plan.approval
        asks = await asked_for(r, await r.tool(call=plan.id), plan, purse)
        assert asks.approval_timeout == 60
        assert (await r.tool(call=plan.id, attempt=2)).status == "needs_approval", "it is asked once"
        assert len(await r.entries("approval.requested")) == 1
        assert (await r.tool(call=plan.id, answered=yes(asks))).status == "ok"
        assert purse.paid == [500]
        assert (await r.tool(call=plan.id, attempt=2)).status == "ok", "what is on record needs no second yes"
        assert purse.paid == [500]


async def test_an_argument_check_that_fails_once_when_the_call_is_planned_opens_no_gate(tmp_path: Path) -> None:
    purse = Purse()
    pay = purse.tool()
    check = pay.validate_arguments
    failing = once(True, False)

    def flaky(raw: Mapping[str, Any]) -> dict[str, Any]:
        if failing():
            raise RuntimeError("the directory of customers does not answer")
        return check(raw)

    pay.validate_arguments = flaky  # type: ignore[method-assign]
    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=[pay]) as r:
        [plan] = (await r.ask()).calls
        asks = await asked_for(r, await r.tool(call=plan.id), plan, purse)
        assert (await r.tool(call=plan.id, denied="no", answered=yes(asks, answer="denied"))).status == "denied"
        assert purse.paid == []


@pytest.mark.parametrize("planning", [(), (Purse().tool(approval=False),)], ids=["no such tool", "another policy"])
async def test_what_the_planning_worker_did_not_know_opens_no_gate(tmp_path: Path, planning: tuple[Any, ...]) -> None:
    purse = Purse()
    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=planning) as old:
        [plan] = (await old.ask()).calls
        assert not plan.approval
        agent = Agent("support", model="m", instructions="", tools=[purse.tool(lambda a: a["cents"] > 100, timeout=7)])
        new = StepRunner(old.journal, ScriptedModel([]), [agent])
        asks = await asked_for(new, await new.tool(call=plan.id), plan, purse)
        assert asks.timeout == 7
        assert (await new.tool(call=plan.id, answered=yes(asks))).status == "ok"
        assert purse.paid == [500]


@pytest.mark.parametrize("value", [[["cents", 500]], [("cents", 500)], "cents=500", None, 500, [], True])
async def test_an_input_that_is_no_object_is_read_alike_and_never_runs(tmp_path: Path, value: Any) -> None:
    purse = Purse()
    block = {"type": "tool_use", "id": "t1", "name": "pay", "input": value}
    async with rig(tmp_path, model=Given(block), tools=[purse.tool(lambda a: a["cents"] > 100)]) as r:
        [plan] = (await r.ask()).calls
        assert (await r.tool(call=plan.id)).status == "error"
        assert purse.paid == []


async def test_a_predicate_that_raises_asks_whenever_it_does(tmp_path: Path) -> None:
    purse = Purse()
    judged: list[Any] = []

    def broken(arguments: Mapping[str, Any]) -> bool:
        judged.append(dict(arguments))
        if len(judged) > 1:
            raise RuntimeError("cannot tell")
        return False

    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=[purse.tool(broken)]) as r:
        [plan] = (await r.ask()).calls
        await asked_for(r, await r.tool(call=plan.id), plan, purse)


@pytest.mark.parametrize(
    "changed",
    [
        {"answer": "denied"},
        {"answer": "expired"},
        {"approval_id": "other:000000000000"},
        {"approval_id": ""},
    ],
)
async def test_nothing_but_a_yes_to_this_call_with_these_arguments_lets_it_run(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    purse = Purse()
    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=[purse.tool()]) as r:
        [plan] = (await r.ask()).calls
        for attempt in (1, 2):
            result = await r.tool(call=plan.id, attempt=attempt, answered=yes(plan, **changed))
            assert result.status == "denied", "it is final: nobody is asked for ever"
        assert purse.paid == []


async def test_the_yes_to_one_call_is_none_to_its_twin(tmp_path: Path) -> None:
    purse = Purse()
    twin = {"type": "tool_use", "id": "call_0", "name": "pay", "input": {"cents": 500}}
    async with rig(tmp_path, model=Given(twin, twin), tools=[purse.tool(once(True, True))]) as r:
        [first] = (await r.ask()).calls
        assert (await r.tool(call=first.id, answered=yes(first))).status == "ok"
        [second] = (await r.ask(step=1)).calls
        assert (await r.tool(call=second.id, step=1)).status == "needs_approval"
        assert purse.paid == [500]


async def test_the_yes_to_a_call_is_none_to_that_of_a_redrive(tmp_path: Path) -> None:
    purse = Purse()
    twin = {"type": "tool_use", "id": "call_0", "name": "pay", "input": {"cents": 500}}
    async with rig(tmp_path, model=Given(twin, twin), tools=[purse.tool()]) as r:
        [first] = (await r.ask()).calls
        assert (await r.tool(call=first.id, answered=yes(first))).status == "ok"
        [again] = (await r.ask("e1~1", event={"event_id": "e1", "content": "hi"})).calls
        assert (await r.tool("e1~1", call=again.id)).status == "needs_approval"
        assert purse.paid == [500]


@pytest.mark.parametrize(("answer", "paid"), [(True, [500]), (False, [])])
async def test_a_turn_waits_for_the_person_that_only_the_running_step_asks(
    tmp_path: Path, answer: bool, paid: list[int]
) -> None:
    purse = Purse()
    agent = Agent("support", model="m", instructions="", tools=[purse.tool(once(False, True))])
    async with rig(tmp_path, [ToolCall("pay", cents=500), "done"], agents=[agent]) as r:
        turn = await WorkerSteps(r, agent, {"content": "hi"}, answer).run()
    assert (turn.text, purse.paid) == ("done", paid)
    assert [call.status for call in turn.tool_calls] == ["ok" if answer else "denied"]


@pytest.mark.parametrize("idempotent", [False, True])
async def test_what_runs_is_what_was_judged_whatever_the_predicate_does_to_it(tmp_path: Path, idempotent: bool) -> None:
    purse = Purse()

    def raising(arguments: Any) -> bool:
        arguments["cents"] = 99_999
        return False

    async with rig(tmp_path, [ToolCall("pay", cents=5)], tools=[purse.tool(raising, idempotent=idempotent)]) as r:
        [plan] = (await r.ask()).calls
        assert (await r.tool(call=plan.id)).status == "ok"
        assert purse.paid == [5]


async def test_a_predicate_that_says_nothing_asks(tmp_path: Path) -> None:
    purse = Purse()

    def forgets(arguments: Mapping[str, Any]) -> Any:
        if arguments["cents"] < 100:
            return False

    async with rig(tmp_path, [ToolCall("pay", cents=500)], tools=[purse.tool(forgets)]) as r:
        [plan] = (await r.ask()).calls
        assert plan.approval
        assert (await r.tool(call=plan.id)).status == "needs_approval"
        assert purse.paid == []


@pytest.mark.parametrize(("given", "ran"), [({"to": "bob"}, []), ({"to": "bob", "cents": 100}, [100])])
async def test_a_yes_is_to_the_defaults_that_stood_when_it_was_asked_for(
    tmp_path: Path, given: dict[str, Any], ran: list[int]
) -> None:
    paid: list[int] = []

    async def pay(to: str, cents: int = 100) -> str:
        paid.append(cents)
        return "paid"

    async def deployed(to: str, cents: int = 99_999) -> str:
        return await pay(to, cents)

    async with rig(tmp_path, [ToolCall("pay", **given)], tools=[tool(name="pay", approval=True)(pay)]) as r:
        [plan] = (await r.ask()).calls
        agent = Agent("support", model="m", instructions="", tools=[tool(name="pay", approval=True)(deployed)])
        new = StepRunner(r.journal, ScriptedModel([]), [agent])
        assert (await new.tool(call=plan.id, answered=yes(plan))).status == ("ok" if ran else "denied")
        assert paid == ran
