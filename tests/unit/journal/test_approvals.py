"""What was asked of people and what they said stands in the journal, before anything is done about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn.journal.views.approvals import answered_key, pending
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn.turns.budget import Budget
from inturn.values import Entry
from inturn_activities.messages import Answered, CallPlan, Decision, ToolInput
from tests.support.steps import SESSION, StepRunner, rig

pytestmark = pytest.mark.usefixtures("store")

KEY = SESSION.turn("e1").step(0, 0)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def entries(*written: tuple[str, dict[str, Any]]) -> list[Entry]:
    return [
        Entry(seq=seq, type=type_, event_id="e1", at=AT, body=body, hash="", prev="")
        for seq, (type_, body) in enumerate(written, start=1)
    ]


def use(call: str) -> tuple[str, dict[str, Any]]:
    return "agent.tool_use", {"call_id": call, "tool": "pay", "args": {"cents": 7}}


def asked(call: str) -> tuple[str, dict[str, Any]]:
    return "approval.requested", {"approval_id": f"{call}:0", "call_id": call, "tool": "pay", "timeout": 60.0}


def test_a_question_is_pending_until_its_call_has_an_answer_or_a_result() -> None:
    written = [use("a"), use("b"), use("c"), asked("a"), asked("b"), asked("c")]
    first, second, _ = pending(entries(*written))
    assert (first.approval_id, first.args, first.expires_at) == ("a:0", {"cents": 7}, AT + timedelta(seconds=60))
    written += [("approval.answered", {"call_id": "a"}), ("agent.tool_result", {"call_id": "c"})]
    assert pending(entries(*written)) == [second]


def test_what_was_asked_before_a_redrive_is_over() -> None:
    assert pending(entries(use("a"), asked("a"), ("turn.started", {"turn": "e1~1"}), use("b"))) == []


def test_a_plan_of_an_older_release_waits_a_day() -> None:
    assert CallPlan.model_validate({"id": "c", "approval": True}).approval_timeout == 86_400
    assert "approval_timeout" not in CallPlan(id="c", approval=True).model_dump()


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e12])
def test_a_wait_that_no_workflow_can_keep_is_refused_when_it_is_declared(seconds: float) -> None:
    with pytest.raises(ValueError, match="approval_timeout"):
        Budget(approval_timeout=seconds)


@tool(approval=lambda a: a["cents"] > 100)
async def pay(cents: int, ctx: ToolContext) -> str:
    """Pay."""
    return f"paid {cents}"


async def _asked(r: StepRunner, *cents: int) -> list[CallPlan]:
    result = await r.ask()
    assert len(result.calls) == len(cents)
    return result.calls


async def test_the_question_is_written_with_the_answer_that_raised_it(tmp_path: Path) -> None:
    calls = [ToolCall("pay", cents=500), ToolCall("pay", cents=1)]
    async with rig(tmp_path, [calls], tools=[pay], budget=Budget(approval_timeout=60)) as r:
        large, small = await _asked(r, 500, 1)
        assert (large.approval, large.approval_timeout, small.approval) == (True, 60, False)
        [question] = await r.entries("approval.requested")
        assert question.step == "0/0"
        assert question.body == {
            "approval_id": f"{large.id}:{large.hash}",
            "call_id": large.id,
            "tool": "pay",
            "timeout": 60,
        }
        assert [a.args for a in pending(await r.journal.read(SESSION, event_id="e1"))] == [{"cents": 500}]


def answer(plan: CallPlan, how: Any, **more: Any) -> Answered:
    return Answered(
        approval_id=plan.approval_id, call_id=plan.id, tool=plan.tool, answer=how, at=AT.timestamp(), **more
    )


async def test_who_allowed_a_call_is_written_before_its_effect(tmp_path: Path) -> None:
    seen: list[str] = []

    @tool(approval=True, retries=0)
    async def drop(ctx: ToolContext) -> str:
        """Look at the journal."""
        seen.extend(e.type for e in await r.entries() if e.type.startswith("approval."))
        raise RuntimeError("broken")

    async with rig(tmp_path, [[ToolCall("drop")]], tools=[drop]) as r:
        [plan] = await _asked(r, 1)
        await r.tool(call=plan.id, answered=answer(plan, "approved", by="ann", reason="fine"))
        assert seen == ["approval.requested", "approval.answered"]
        [entry] = await r.entries("approval.answered")
        assert (entry.at, entry.step, entry.event_id) == (AT, "0/0", "e1")
        assert {k: entry.body[k] for k in ("answer", "by", "reason")} == {
            "answer": "approved",
            "by": "ann",
            "reason": "fine",
        }


async def test_a_denied_call_says_by_whom_and_does_not_run(tmp_path: Path) -> None:
    async with rig(tmp_path, [[ToolCall("pay", cents=500)]], tools=[pay]) as r:
        [plan] = await _asked(r, 500)
        for attempt in (1, 2):  # the second finds the first one's entry
            denied = answer(plan, "denied", by="eve")
            result = await r.tool(call=plan.id, attempt=attempt, denied="denied by eve", answered=denied)
            assert result.status == "denied"
        assert [b["by"] for b in await r.bodies("approval.answered")] == ["eve"]
        assert [b["status"] for b in await r.bodies("agent.tool_result")] == ["denied"]


async def test_the_first_answer_in_the_journal_stands(tmp_path: Path) -> None:
    async with rig(tmp_path, [[ToolCall("pay", cents=500)]], tools=[pay]) as r:
        [plan] = await _asked(r, 500)
        await r.tool(call=plan.id, answered=answer(plan, "approved", by="ann"))
        late = answer(plan, "expired", reason="the turn was stopped")
        await r.record(
            Decision(type="approval.answered", turn="e1", step="0/0", key=answered_key(KEY), body=late.body())
        )
        assert [b["answer"] for b in await r.bodies("approval.answered")] == ["approved"]


async def test_a_call_that_the_journal_does_not_hold_has_no_answer_either(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hi"], tools=[pay]) as r:
        await r.ask()
        with pytest.raises(ApplicationError, match="holds no call"):
            await r.tool(call="made_up", answered=Answered(call_id="made_up"))
        assert await r.entries("approval.answered") == []


def test_a_call_that_nobody_was_asked_about_takes_no_more_bytes() -> None:
    assert ToolInput(call="c").model_dump() == {"call": "c"}
