"""What people see of a session: the `status` query and the table in the Temporal UI.

Invariant: showing changes nothing, and needs no I/O.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from temporalio import workflow

from workflows.queued import ParkedEvent, Queued
from workflows.state import SessionState, TurnState
from workflows.steps import ActivitySteps

SHOWN_EVENTS: Final = 20


def status(state: SessionState, steps: ActivitySteps) -> dict[str, Any]:
    """Give `inturn.SessionStatus` as JSON."""
    info = workflow.info()
    waiting = [
        {
            "approval_id": call.approval_id,
            "call_id": call.id,
            "tool": call.tool,
            "asked_at": call.asked_at,
            "expires_at": steps.expires_at(call),
            "preview": call.preview,
        }
        for call in steps.waiting_calls()
    ]
    return {
        "state": _state(state, bool(waiting)),
        "agent": state.agent or state.wanted,
        "turn": _turn(state.turn) if state.turn else None,
        "queue": [_queued(queued) for queued in state.inbox.queue],
        "held": [_held(queued, state) for queued in state.inbox.sequencer.held if queued.event],
        "limits": _limits(state),
        "approvals": waiting,
        "counts": state.inbox.book(running=state.running),
        "usage": state.usage,
        "runs": state.runs,
        "head": state.head,
        "history_events": info.get_current_history_length(),
        "parked": [_parked(parked) for parked in state.inbox.parked],
        "unrecorded": len(state.inbox.decisions),
        "chain": info.first_execution_run_id[-8:],
    }


def details(state: SessionState) -> str:
    """Give the table that the Temporal UI shows."""
    counts = state.inbox.book(running=state.running)
    lines = [
        f"**{_state(state, False)}** · agent `{state.agent or state.wanted or '?'}` · run {state.runs}",
        "",
        "| " + " | ".join(counts) + " |",
        "|" + "---|" * len(counts),
        "| " + " | ".join(str(count) for count in counts.values()) + " |",
    ]
    if state.turn is not None:
        lines += [
            "",
            f"Turn `{state.turn.turn}` at step {state.turn.step}: {_doing(state.turn)} — {_cell(state.turn.preview)}",
        ]
    if state.inbox.queue:
        lines += ["", "| waiting | since | source | sequence | text |", "|---|---|---|---|---|"]
        lines += [f"| {_row(queued)} | {_cell(queued.preview)} |" for queued in state.inbox.queue[:SHOWN_EVENTS]]
    if held := [queued for queued in state.inbox.sequencer.held if queued.event][:SHOWN_EVENTS]:
        lines += ["", "| held | since | source | sequence | waits for |", "|---|---|---|---|---|"]
        lines += [f"| {_row(queued)} | {_cell(_waits_for(queued, state))} |" for queued in held]
    if state.inbox.parked:
        lines += ["", "| parked | error |", "|---|---|"]
        lines += [f"| `{p.turn}` | {_cell(p.error[:200])} |" for p in state.inbox.parked[-SHOWN_EVENTS:]]
    return "\n".join(lines)


def _state(state: SessionState, requires_action: bool) -> str:
    if state.closed:
        return "closed"
    if requires_action:
        return "requires_action"
    if state.turn is not None:
        return "running"
    return "paused" if state.paused else "idle"


def _turn(turn: TurnState) -> dict[str, Any]:
    waiting = [call.tool for call in turn.calls if call.asked_at and not call.answer]
    return {
        "event_id": turn.event_id,
        "merged": list(turn.merged),
        "step": turn.step,
        "doing": _doing(turn),
        "since": turn.started_at,
        "waiting_for": f"approval of {', '.join(waiting)}" if waiting else None,
    }


def _doing(turn: TurnState) -> str:
    open_ = [call.tool for call in turn.calls if not call.done]
    return f"tools: {', '.join(open_)}" if open_ else "model"


def _parked(parked: ParkedEvent) -> dict[str, Any]:
    return {
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


def _held(queued: Queued, state: SessionState) -> dict[str, Any]:
    until = state.inbox.sequencer.deadline(queued, state.inbox_policy())
    return _queued(queued) | {"waiting_for": _waits_for(queued, state), "until": until}


def _waits_for(queued: Queued, state: SessionState) -> str:
    gap = state.inbox.sequencer.missing(queued, state.inbox_policy())
    if gap is None:
        return f"lower numbers of {queued.source}"
    return f"{gap.first} of {gap.source}" if gap.first == gap.last else f"{gap.first} to {gap.last} of {gap.source}"


def _limits(state: SessionState) -> dict[str, Any]:
    """Give the policy, and how much of it is used."""
    inbox, policy = state.inbox, state.inbox_policy()
    used = {"waiting_bytes": inbox.queued_bytes + inbox.sequencer.bytes, "turn_seconds": round(inbox.pace or 0.0, 3)}
    if policy.rate is not None:
        used["next_turn_at"] = inbox.bucket.ready_at(policy)
    return policy.model_dump(mode="json", exclude_none=True) | used


def _row(queued: Queued) -> str:
    since = datetime.fromtimestamp(queued.at, UTC).strftime("%H:%M:%S")
    sequence = queued.event.get("sequence", "")
    return f"`{queued.turn}` | {since} | {_cell(queued.source)} | {sequence}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
