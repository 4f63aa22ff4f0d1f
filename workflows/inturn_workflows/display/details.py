"""What people see of a session: the `status` query and the table in the Temporal UI.

Invariant: showing changes nothing, and needs no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from temporalio import workflow

from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import ParkedEvent, Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.sequencing import Gap
from inturn_workflows.state import CallState, SessionState, TurnState
from inturn_workflows.steps import ActivitySteps

SHOWN_EVENTS: Final = 20
_DAY: Final = 24 * 3600


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
        "held": _held(state),
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


def details(state: SessionState, waiting: Sequence[CallState], now: float) -> str:
    """Give the table that the Temporal UI shows; times are UTC, for nothing counts ages on in a text.

    Args:
        state: The session's.
        waiting: The calls that wait for a person.
        now: In seconds since 1970.
    """
    inbox, policy, counts = state.inbox, state.inbox_policy(), state.inbox.book(running=state.running)
    lines = [
        f"{_headline(state, bool(waiting))} · as of {_clock(now, now)} UTC ({_date(now)})",
        "",
        _limits_line(policy, _used(inbox, policy), now),
        *_table(list(counts), [" | ".join(map(str, counts.values()))], 1),
    ]
    if state.turn is not None:
        lines += ["", _turn_line(state.turn, waiting, now)]
    if inbox.queue:
        lines += _queue_table(inbox, now)
    if counts.get("held"):
        lines += _held_table(inbox, policy, counts["held"], now)
    if inbox.parked:
        lines += _parked_table(inbox, now)
    return "\n".join(lines)


def _headline(state: SessionState, requires_action: bool) -> str:
    name = _state(state, requires_action)
    notes = ["paused"] if state.paused and name != "paused" else []
    notes += ["closing"] if state.closing and not state.closed else []
    return " · ".join([f"**{name}**", *notes, f"agent `{state.agent or state.wanted or '?'}`", f"run {state.runs}"])


def _limits_line(policy: InboxPolicy, used: dict[str, Any], now: float) -> str:
    """Say how full the inbox may be and is, and what slows it down."""
    said = [
        f"waiting {used['waiting']:,} of {policy.capacity:,} events, "
        f"{_kib(used['waiting_bytes'])} of {_kib(policy.capacity_bytes)} KiB (then `{policy.overflow}`)",
        f"held {used['held']:,} of {policy.hold_capacity:,} (then `{policy.hold_overflow}`)",
    ]
    if policy.source_quota is not None:
        said.append(f"{policy.source_quota:,} of one source")
    if policy.rate is not None:
        said.append(f"rate {policy.rate:g}/s, burst {policy.burst:,}")
        said[-1] += f", next turn at {_clock(used['next_turn_at'], now)}" if used["next_turn_at"] > now else ""
    if policy.expires_after is not None:
        said.append(f"expire after {policy.expires_after:g} s")
    return "Limits: " + " · ".join(said)


def _turn_line(turn: TurnState, waiting: Sequence[CallState], now: float) -> str:
    began = f"Turn `{turn.turn}` since {_clock(turn.started_at, now)}, at step {turn.step}"
    doing = f"waits for approval of {', '.join(call.tool for call in waiting)}" if waiting else _doing(turn)
    return f"{began}: {_cell(doing)} — {_cell(turn.preview)}"


def _queue_table(inbox: Inbox, now: float) -> list[str]:
    rows = [f"{_row(queued, now)} | {_cell(queued.preview)}" for queued in inbox.queue[:SHOWN_EVENTS]]
    return _table(("waiting", "since (UTC)", "source", "sequence", "text"), rows, len(inbox.queue))


def _held_table(inbox: Inbox, policy: InboxPolicy, total: int, now: float) -> list[str]:
    held = list(islice((queued for queued in inbox.sequencer.held if queued.event), SHOWN_EVENTS))
    waits = _waits_for(held, inbox, policy)
    rows = [f"{_row(queued, now)} | {_cell(waits[queued.source])}" for queued in held]
    return _table(("held", "since (UTC)", "source", "sequence", "waits for"), rows, total)


def _parked_table(inbox: Inbox, now: float) -> list[str]:
    latest = inbox.parked[: -SHOWN_EVENTS - 1 : -1]
    rows = [f"`{_cell(p.turn)}` | {_clock(p.at, now)} | {_cell(p.error[:200])}" for p in latest]
    # Of more than the session keeps there is only the count.
    return _table(("parked", "since (UTC)", "error"), rows, max(len(inbox.parked), inbox.counts.get("parked", 0)))


def _table(columns: Sequence[str], rows: Sequence[str], total: int) -> list[str]:
    lines = ["", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {row} |" for row in rows)]
    if total > len(rows):
        lines.append(f"| … and {total - len(rows):,} more " + "| " * (len(columns) - 1) + "|")
    return lines


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


def _held(state: SessionState) -> list[dict[str, Any]]:
    held = [queued for queued in state.inbox.sequencer.held if queued.event]
    policy = state.inbox_policy()
    waits = _waits_for(held, state.inbox, policy)
    until = {queued.source: state.inbox.sequencer.deadline(queued, policy) for queued in _one_each(held)}
    return [_queued(q) | {"waiting_for": waits[q.source], "until": until[q.source]} for q in held]


def _waits_for(held: Sequence[Queued], inbox: Inbox, policy: InboxPolicy) -> dict[str, str]:
    """Say what held events wait for, by source: all of a source wait for the same."""
    return {q.source: _missing(inbox.sequencer.missing(q, policy), q.source) for q in _one_each(held)}


def _one_each(held: Sequence[Queued]) -> Iterable[Queued]:
    return {queued.source: queued for queued in held}.values()


def _missing(gap: Gap | None, source: str) -> str:
    if gap is None:
        return f"lower numbers of {source}"
    return f"{gap.first} of {source}" if gap.first == gap.last else f"{gap.first} to {gap.last} of {source}"


def _limits(state: SessionState) -> dict[str, Any]:
    """Give the policy, and how much of it is used."""
    policy = state.inbox_policy()
    return policy.model_dump(mode="json", exclude_none=True) | _used(state.inbox, policy)


def _used(inbox: Inbox, policy: InboxPolicy) -> dict[str, Any]:
    held = inbox.sequencer.held
    used = {
        "waiting": len(inbox.queue) + len(held),
        "waiting_bytes": inbox.queued_bytes + inbox.sequencer.bytes,
        "held": len(held),
        "turn_seconds": round(inbox.pace or 0.0, 3),
    }
    if policy.rate is not None:
        used["next_turn_at"] = inbox.bucket.ready_at(policy)
    return used


def _row(queued: Queued, now: float) -> str:
    sequence = queued.event.get("sequence", "")
    return f"`{_cell(queued.turn)}` | {_clock(queued.at, now)} | {_cell(queued.source)} | {sequence}"


def _clock(at: float, now: float) -> str:
    """Give a time of the day; with its date, where that is not today's."""
    seconds = int(at) % _DAY
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return time if at // _DAY == now // _DAY else f"{_date(at)} {time}"


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f}".removesuffix(".0")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
