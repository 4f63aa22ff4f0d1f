"""The question whether a turn may use more than its budget.

Invariant: it is asked before the request that needs it, and nothing is held meanwhile. A yes is for this turn at this
step alone, once: no later question has the same id.
"""

from __future__ import annotations

from typing import Any, Final

from inturn.agents import Agent
from inturn.amounts import dollars
from inturn.journal import Journal, NewEntry
from inturn.journal.views import approvals
from inturn.keys import StepKey
from inturn.turns.stop_reasons import ASKS
from inturn.values import Usage
from inturn_activities.messages import Answered, CallPlan, ModelResult

_TOOL: Final = "budget"


async def ask(
    journal: Journal, step: StepKey, token: str, agent: Agent, used: Usage, *, raised: int, told: dict[str, Any]
) -> ModelResult:
    """Write the question down, and give the claim back: the step is run again with the answer.

    `told`: what this attempt used, and paid.
    """
    plan = _plan(step, agent, used, raised)
    body = {
        "kind": plan.kind,
        "approval_id": plan.approval_id,
        "call_id": plan.id,
        "tool": plan.tool,
        "preview": plan.preview,
        "timeout": plan.approval_timeout,
    }
    key = f"{approvals.budget_key(step, raised)}/requested"
    entry = NewEntry(approvals.REQUESTED, body, event_id=step.turn.event_id, step=step.step, key=key)
    head = await journal.append(step, token, [entry])
    await journal.release(step, token, **told)
    return ModelResult(stop=ASKS, calls=[plan], head=head)


def answer(step: StepKey, raised: int, answered: Answered) -> NewEntry:
    """Return the entry of what a person said; `raised`: how often there had been a yes before."""
    key = f"{approvals.budget_key(step, raised)}/answered"
    at = answered.at or None
    return NewEntry(approvals.ANSWERED, answered.body(), event_id=step.turn.event_id, step=step.step, key=key, at=at)


def _plan(step: StepKey, agent: Agent, used: Usage, raised: int) -> CallPlan:
    cents = -(-used.usd_nanos // 10**7)
    spent = f"{dollars(used.usd_nanos)}, {used.prompt_tokens + used.output_tokens:,} tokens, {used.steps} steps"
    return CallPlan(
        id=f"budget:{step.turn.turn}:{step.step}" + (f".{raised}" if raised else ""),
        tool=_TOOL,
        preview=f"the turn has used {spent}: as much as its budget once more?",
        hash=str(cents),
        approval=True,
        approval_timeout=agent.budget.approval_timeout,
        kind="budget",
    )
