"""What the `status` query returns, and what of it the table in the Temporal UI shows, too.

Invariant: showing changes nothing, and needs no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from temporalio import workflow

from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import ParkedEvent, Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.sequencing import Gap
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState


def status(state: SessionState) -> dict[str, Any]:
    """Return `inturn.SessionStatus` as JSON."""
    info = workflow.info()
    return {
        "state": state.status,
        "agent": state.agent or state.wanted,
        "turn": _turn(state.turn) if state.turn else None,
        "queue": [_queued(queued) for queued in state.inbox.queue.events],
        "held": _held(state),
        "limits": _limits(state),
        "approvals": [call.question | {"preview": call.preview} for call in state.waiting_calls],
        "counts": state.inbox.balance(running=state.running),
        "usage": state.usage.model_dump(mode="json"),
        "runs": state.runs,
        "journal": state.journal,
        "head": state.head,
        "seal": state.seal,
        "history_events": info.get_current_history_length(),
        "parked": [_parked(parked) for parked in state.inbox.parked.events],
        "unrecorded": state.inbox.books.unrecorded,
        "fault": state.fault,
        "resets": state.resets,
        "chain": info.first_execution_run_id[-8:],
    }


def used(inbox: Inbox, policy: InboxPolicy) -> dict[str, Any]:
    """Return how much of an inbox is used."""
    held = inbox.sequencer.held
    use = {
        "waiting": len(inbox.queue) + len(held),
        "waiting_bytes": inbox.queue.bytes + inbox.sequencer.bytes,
        "waiting_content_bytes": inbox.queue.referred + inbox.sequencer.referred,
        "held": len(held),
        "turn_seconds": round(inbox.pace or 0.0, 3),
    }
    if policy.rate is not None:
        use["next_turn_at"] = inbox.rate.ready_at(policy)
    return use


def waits_for(held: Sequence[Queued], inbox: Inbox, policy: InboxPolicy) -> dict[str, str]:
    """Return what held events wait for, by source: all of a source wait for the same."""
    return {q.source: _missing(inbox.sequencer.missing(q, policy), q.source) for q in _one_each(held)}


def _turn(turn: TurnState) -> dict[str, Any]:
    waiting = [call.tool for call in turn.questions if call.waits]
    return {
        "event_id": turn.event_id,
        "merged": list(turn.merged),
        "step": turn.step,
        "doing": turn.doing,
        "since": turn.started_at,
        "waiting_for": f"approval of {', '.join(waiting)}" if waiting else None,
    }


def _parked(parked: ParkedEvent) -> dict[str, Any]:
    lost = {"lost": True} if parked.lost else {}
    return lost | {
        "event_id": parked.event_id,
        "error": parked.error,
        "attempts": parked.attempts,
        "at": parked.at,
        "preview": parked.preview,
        "delivery": parked.delivery,
    }


def _queued(queued: Queued) -> dict[str, Any]:
    return {
        "event_id": queued.event_id,
        "source": queued.event.get("source", "client"),
        "sequence": queued.event.get("sequence"),
        "accepted_at": queued.at,
        "preview": queued.preview,
    }


def _held(state: SessionState) -> list[dict[str, Any]]:
    held = [queued for queued in state.inbox.sequencer.held if queued.event]
    policy = state.inbox_policy()
    waits = waits_for(held, state.inbox, policy)
    until = {queued.source: state.inbox.sequencer.deadline(queued, policy) for queued in _one_each(held)}
    return [_queued(q) | {"waiting_for": waits[q.source], "until": until[q.source]} for q in held]


def _limits(state: SessionState) -> dict[str, Any]:
    """Return the policy, and how much of it is used."""
    policy = state.inbox_policy()
    return policy.model_dump(mode="json", exclude_none=True) | used(state.inbox, policy)


def _one_each(held: Sequence[Queued]) -> Iterable[Queued]:
    return {queued.source: queued for queued in held}.values()


def _missing(gap: Gap | None, source: str) -> str:
    if gap is None:
        return f"lower numbers of {source}"
    return f"{gap.first} of {source}" if gap.first == gap.last else f"{gap.first} to {gap.last} of {source}"
