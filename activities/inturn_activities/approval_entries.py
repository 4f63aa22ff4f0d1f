"""The journal's entries about approvals.

Invariant: a question is written with the answer of the model that raised it, and what a person said of it before
anything is done about it.
"""

from __future__ import annotations

from typing import Any

from inturn.journal import NewEntry
from inturn.journal.views import approvals
from inturn.keys import StepKey
from inturn_activities.messages import Answered, CallPlan


def requested(call: StepKey, plan: CallPlan) -> NewEntry:
    """Return the entry that asks a person for a call."""
    body = {
        "approval_id": plan.approval_id,
        "call_id": plan.id,
        "tool": plan.tool,
        "timeout": plan.approval_timeout,
    }
    return _entry(approvals.REQUESTED, body, call, approvals.requested_key(call))


def answered(call: StepKey, answer: Answered) -> NewEntry:
    """Return the entry of a person's answer, or of its absence."""
    return _entry(approvals.ANSWERED, answer.body(), call, approvals.answered_key(call), at=answer.at or None)


def _entry(type_: str, body: dict[str, Any], call: StepKey, key: str, at: float | None = None) -> NewEntry:
    return NewEntry(type_, body, event_id=call.turn.event_id, step=call.within_turn, key=key, at=at)
