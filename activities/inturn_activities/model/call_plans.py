"""A tool call as the workflow sees it: the tool's policy, resolved for these arguments.

Invariant: a person is asked about arguments that are valid; a call that cannot run needs no approval, for it will not
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from inturn.agents import Agent
from inturn.tools import arguments_hash
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
    if tool is None:
        return planned
    arguments = check_arguments(tool, raw)
    if isinstance(arguments, CallResult):
        return planned
    policy = {
        "timeout": tool.timeout,
        "retries": tool.retries,
        "approval": tool.needs_approval(arguments),
        "approval_timeout": agent.budget.approval_timeout,
        "locks": tool.lock_names(arguments),
    }
    return planned.model_copy(update=policy)


def preview(arguments: Mapping[str, Any]) -> str:
    """Return the start of the arguments, for people."""
    text = to_json(arguments, fallback=str).decode(errors="replace")
    return text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…"
