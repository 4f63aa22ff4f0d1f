"""A tool call as the workflow sees it: the tool's policy, resolved for these arguments.

Invariant: a plan opens no gate. It says what this worker can judge now; the step that runs the call judges again, so a
call that cannot be judged here (no such tool, arguments that do not fit) needs no approval yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from inturn.agents import Agent
from inturn.tools import Tool, arguments_hash
from inturn.tools.calling import check_arguments
from inturn.turns.call_results import CallResult
from inturn_activities.messages import CallPlan

PREVIEW: Final = 200


def plan(agent: Agent, block: Mapping[str, Any]) -> CallPlan:
    """Return the plan of a `tool_use` block."""
    raw = block["input"] if isinstance(block["input"], dict) else {}
    planned = CallPlan(
        id=block["id"],
        tool=block["name"],
        preview=preview(raw),
        hash=arguments_hash(raw),
        failures=agent.budget.failures,
    )
    tool = agent.tool(block["name"])
    arguments = None if tool is None else check_arguments(tool, block["input"])
    if tool is None or arguments is None or isinstance(arguments, CallResult):
        return planned
    return resolved(planned, agent, tool, arguments, approval=tool.needs_approval(arguments))


def resolved(
    planned: CallPlan, agent: Agent, tool: Tool[..., Any], arguments: Mapping[str, Any], *, approval: bool
) -> CallPlan:
    """Return a plan with the tool's policy for these validated arguments."""
    policy = {
        "timeout": tool.timeout,
        "retries": tool.retries,
        "approval": approval,
        "approval_timeout": agent.budget.approval_timeout,
        "locks": tool.lock_names(arguments),
    }
    return planned.model_copy(update=policy)


def preview(arguments: Mapping[str, Any]) -> str:
    """Return the start of the arguments, for people."""
    text = to_json(arguments, fallback=str).decode(errors="replace")
    return text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…"
