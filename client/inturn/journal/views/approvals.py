"""Approvals as the journal has them: what was asked of people, and what they answered.

Invariant: a question and its answer are entries of the call they are about, each written once. A question is pending
until its call has an answer or a result.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from inturn.keys import StepKey
from inturn.values import Approval, Entry

REQUESTED: Final = "approval.requested"
ANSWERED: Final = "approval.answered"
APPROVAL_ENTRY_TYPES: Final = ("agent.tool_use", REQUESTED, ANSWERED, "agent.tool_result", "turn.started")
"""The types of entries that a turn's approvals are read from."""


def requested_key(call: StepKey) -> str:
    """Return the key of the entry that asks."""
    return f"{call.within_session}/requested"


def answered_key(call: StepKey) -> str:
    """Return the key of the entry that answers: the first one counts."""
    return f"{call.within_session}/answered"


def budget_key(step: StepKey, raised: int) -> str:
    """Return what the keys of a question begin with that is about a turn's budget, and how often that was raised."""
    return f"{step.within_session}/budget{raised}"


def approves(answer: Entry, approval_id: str) -> bool:
    """Return whether an answer on record lets a call run: a yes to this call with these very arguments."""
    return (
        answer.type == ANSWERED
        and answer.body.get("answer") == "approved"
        and (answer.body.get("approval_id") == approval_id)
    )


def arguments(entries: Iterable[Entry]) -> dict[str, Any]:
    """Return the arguments of a turn's calls, by call id."""
    return {str(e.body.get("call_id")): e.body.get("args") for e in entries if e.type == "agent.tool_use"}


def pending(entries: Iterable[Entry]) -> list[Approval]:
    """Return the approvals that a turn waits for, in the order of asking.

    Args:
        entries: Those of one event, of the types in `APPROVAL_ENTRY_TYPES`, in order.
    """
    entries = list(entries)
    args = arguments(entries)
    asked: dict[str, Approval] = {}
    for entry in entries:
        call_id = str(entry.body.get("call_id"))
        if entry.type == "turn.started":  # of a redrive: what was asked before it is over
            asked.clear()
        elif entry.type == REQUESTED:
            asked[call_id] = _asked(entry, args.get(call_id))
        elif entry.type in (ANSWERED, "agent.tool_result"):
            asked.pop(call_id, None)
    return list(asked.values())


def _asked(entry: Entry, args: Any) -> Approval:
    body = entry.body
    more = {"kind": "budget", "preview": str(body.get("preview"))} if body.get("kind") == "budget" else {}
    return Approval.model_validate(
        {
            "approval_id": str(body.get("approval_id")),
            "call_id": str(body.get("call_id")),
            "tool": str(body.get("tool")),
            "args": args if isinstance(args, dict) else None,
            "asked_at": entry.at,
            "expires_at": entry.at + timedelta(seconds=float(body.get("timeout") or 0)),
            **more,
        }
    )
