"""The table that the Temporal UI shows of a session.

Invariant: showing changes nothing, and needs no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from inturn.policy import InboxPolicy
from inturn_workflows.display.status import used, waits_for
from inturn_workflows.inbox.events import Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import CallState, TurnState

SHOWN_EVENTS: Final = 20
_DAY: Final = 24 * 3600
_MARKDOWN: Final = re.compile(r"[\\`*_{}\[\]<>()#|~&@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""What begins something in Markdown, addresses of the web and of mail included."""


def details(state: SessionState, now: float) -> str:
    """Return the table as Markdown; its times are UTC, for nothing counts ages on in a text."""
    inbox, policy, counts = state.inbox, state.inbox_policy(), state.inbox.balance(running=state.running)
    lines = [
        f"{_headline(state)} · as of {_clock(now, now)} UTC ({_date(now)})",
        "",
        _limits_line(policy, used(inbox, policy), now),
        *_table(list(counts), [" | ".join(map(str, counts.values()))], 1),
    ]
    if state.turn is not None:
        lines += ["", _turn_line(state.turn, state.waiting_calls, now)]
    if inbox.queue:
        lines += _queue_table(inbox, now)
    if counts.get("held"):
        lines += _held_table(inbox, policy, counts["held"], now)
    if inbox.parked:
        lines += _parked_table(inbox, now)
    return "\n".join(lines)


def _headline(state: SessionState) -> str:
    notes = ["paused"] if state.paused and state.status != "paused" else []
    notes += ["closing"] if state.closing and not state.closed else []
    return " · ".join(
        [f"**{state.status}**", *notes, f"agent {_code(state.agent or state.wanted or '?')}", f"run {state.runs}"]
    )


def _limits_line(policy: InboxPolicy, use: dict[str, Any], now: float) -> str:
    """Return how full the inbox may be and is, and what slows it down."""
    limits = [
        f"waiting {use['waiting']:,} of {policy.capacity:,} events, "
        f"{_kib(use['waiting_bytes'])} of {_kib(policy.capacity_bytes)} KiB (then `{policy.overflow}`)",
        f"held {use['held']:,} of {policy.hold_capacity:,} (then `{policy.hold_overflow}`)",
    ]
    if policy.source_quota is not None:
        limits.append(f"{policy.source_quota:,} of one source")
    if policy.rate is not None:
        limits.append(f"rate {policy.rate:g}/s, burst {policy.burst:,}")
        limits[-1] += f", next turn at {_clock(use['next_turn_at'], now)}" if use["next_turn_at"] > now else ""
    if policy.expires_after is not None:
        limits.append(f"expire after {policy.expires_after:g} s")
    return "Limits: " + " · ".join(limits)


def _turn_line(turn: TurnState, waiting: Sequence[CallState], now: float) -> str:
    began = f"Turn {_code(turn.turn)} since {_clock(turn.started_at, now)}, at step {turn.step}"
    doing = f"waits for approval of {', '.join(call.tool for call in waiting)}" if waiting else turn.doing
    return f"{began}: {_cell(doing)} — {_cell(turn.preview)}"


def _queue_table(inbox: Inbox, now: float) -> list[str]:
    rows = [f"{_row(queued, now)} | {_cell(queued.preview)}" for queued in inbox.queue.events[:SHOWN_EVENTS]]
    return _table(("waiting", "since (UTC)", "source", "sequence", "text"), rows, len(inbox.queue))


def _held_table(inbox: Inbox, policy: InboxPolicy, total: int, now: float) -> list[str]:
    held = list(islice((queued for queued in inbox.sequencer.held if queued.event), SHOWN_EVENTS))
    waits = waits_for(held, inbox, policy)
    rows = [f"{_row(queued, now)} | {_cell(waits[queued.source])}" for queued in held]
    return _table(("held", "since (UTC)", "source", "sequence", "waits for"), rows, total)


def _parked_table(inbox: Inbox, now: float) -> list[str]:
    latest = inbox.parked.events[: -SHOWN_EVENTS - 1 : -1]
    rows = [f"{_code(p.turn)} | {_clock(p.at, now)} | {_cell(p.error[:200])}" for p in latest]
    # Of more than the session keeps there is only the count.
    return _table(("parked", "since (UTC)", "error"), rows, max(len(inbox.parked), inbox.books.counts.get("parked", 0)))


def _table(columns: Sequence[str], rows: Sequence[str], total: int) -> list[str]:
    lines = ["", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {row} |" for row in rows)]
    if total > len(rows):
        lines.append(f"| … and {total - len(rows):,} more " + "| " * (len(columns) - 1) + "|")
    return lines


def _row(queued: Queued, now: float) -> str:
    sequence = queued.event.get("sequence", "")
    return f"{_code(queued.turn)} | {_clock(queued.at, now)} | {_cell(queued.source)} | {sequence}"


def _clock(at: float, now: float) -> str:
    """Return a time of the day; with its date, where that is not today's."""
    seconds = int(at) % _DAY
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return time if at // _DAY == now // _DAY else f"{_date(at)} {time}"


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f}".removesuffix(".0")


def _cell(text: str) -> str:
    """Return a text of anybody's as it reads: on one line, no Markdown, no link and no image of its making."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))


def _code(name: str) -> str:
    """Return a name in a code span: there nothing is escaped."""
    return "`" + "".join(" " if c in "`|\\" or c.isspace() else c for c in name) + "`"
