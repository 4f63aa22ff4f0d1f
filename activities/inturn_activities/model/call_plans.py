"""A tool call as the workflow sees it: the tool's policy, resolved for these arguments.

Invariant: a plan opens no gate. It says what this worker can judge now; the step that runs the call judges again, so a
call that cannot be judged here (no such tool, arguments that do not fit) needs no approval yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pydantic_core import to_json

from inturn.agents import Agent
from inturn.tools import Tool, arguments_hash
from inturn.tools.checks import CheckedCall
from inturn.tools.threads import NoThread
from inturn.turns.call_results import CallResult
from inturn_activities.messages import CallPlan

PREVIEW: Final = 200

Check = Callable[[Tool[..., Any], Any], Awaitable[CheckedCall | CallResult | None]]
"""Tells what a tool's declaration says of a call, see `inturn.tools.checks.checked_call`."""


async def plan(agent: Agent, block: Mapping[str, Any], check: Check) -> CallPlan:
    """Return the plan of a `tool_use` block. What cannot be judged in time is asked for where it might be needed."""
    tool = agent.tool(block["name"])
    if tool is None:
        return planned(agent, block)
    try:
        checked = await check(tool, block["input"])
    except NoThread:
        checked = None
    if isinstance(checked, CallResult):
        return planned(agent, block)
    return resolved(planned(agent, block), agent, tool, checked)


def planned(agent: Agent, block: Mapping[str, Any]) -> CallPlan:
    """Return the plan of a call whose tool is not known, or does not take its arguments."""
    raw = block["input"] if isinstance(block["input"], dict) else {}
    return CallPlan(
        id=block["id"],
        tool=block["name"],
        preview=preview(raw),
        hash=arguments_hash(raw),
        failures=agent.budget.failures,
    )


def resolved(plan: CallPlan, agent: Agent, tool: Tool[..., Any], checked: CheckedCall | None) -> CallPlan:
    """Return a plan with the tool's policy for these validated arguments; `None`: nothing is known of them."""
    policy = {
        "timeout": tool.timeout,
        "retries": tool.retries,
        "approval": bool(tool.approval) if checked is None else checked.approval,
        "approval_timeout": agent.budget.approval_timeout,
        "locks": [] if checked is None else checked.locks,
    }
    return plan.model_copy(update=policy)


def preview(arguments: Mapping[str, Any]) -> str:
    """Return the start of the arguments, for people."""
    text = to_json(arguments, fallback=str).decode(errors="replace")
    return text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…"
