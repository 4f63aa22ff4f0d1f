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
from inturn.tools.declared import MAX_TIMEOUT
from inturn.tools.threads import NoThread
from inturn.turns.answers import ToolUse
from inturn.turns.call_results import CallResult
from inturn_activities.messages import CallPlan

PREVIEW: Final = 200

Check = Callable[[Tool[..., Any], Any], Awaitable[CheckedCall | CallResult | None]]
"""Tells what a tool's declaration says of a call, see `inturn.tools.checks.checked_call`."""


async def plan(agent: Agent, call: ToolUse, check: Check) -> CallPlan:
    """Return the plan of a call. What cannot be judged in time is asked for where it might be needed."""
    tool = None if call.error else agent.tool(call.tool)
    if tool is None:  # another worker may have it, and knows for how long it may run
        return planned(agent, call).model_copy(update={"timeout": 30.0 if call.error else MAX_TIMEOUT})
    try:
        checked = await check(tool, call.input)
    except NoThread:
        checked = None
    if isinstance(checked, CallResult):
        return planned(agent, call, tool).model_copy(update={"timeout": tool.timeout, "retries": tool.retries})
    return resolved(planned(agent, call, tool), agent, tool, checked)


def planned(agent: Agent, call: ToolUse, tool: Tool[..., Any] | None = None) -> CallPlan:
    """Return the plan of a call whose tool is not known, or does not take its arguments."""
    return CallPlan(
        id=call.id,
        tool=call.tool,
        preview=preview(call.input),
        hash=arguments_hash(call.input if tool is None else tool.filled_in(call.input)),
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
