"""show, ls: sessions at a glance.

Invariant: shows what was found and from where, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from inturn.amounts import dollars
from inturn.cli.approvals import approvals_table
from inturn.cli.options import SessionId, options_of
from inturn.cli.output import ago, console, document, note, percent, plain, sentence, table
from inturn.cli.parked import parked_table
from inturn.cli.running import run
from inturn.cli.settle import unknown_table
from inturn.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from inturn.client.client import Client
    from inturn.client.session import Session
    from inturn.values import (
        Entry,
        Parked,
        QueuedEvent,
        SessionInfo,
        SessionStatus,
        TurnProgress,
        UnknownOutcome,
        Usage,
    )

_STATE_STYLES: Final = {"running": "green", "requires_action": "bold yellow", "paused": "yellow", "closed": "dim"}


LOOKED_THROUGH: Final = 200
"""Entries at the end of a session in which its last turn's beginning is looked for."""
ListedState = Literal["requires_action", "paused", "closed"]


def show(ctx: typer.Context, session: SessionId) -> None:
    """Show what a session does, what waits, and what went wrong."""

    async def work(client: Client) -> None:
        handle = client.session(session)
        status = await handle.status()
        parked = await _parked(handle) if _may_have_parked(status) else []
        unknown = await _unknown(handle)
        if options_of(ctx).json:
            more = {"parked": plain(list(parked)), "unknown": plain(list(unknown))}
            document({**plain(status), **more, **await _forked(handle)})
            return
        _print_status(session, status, parked)
        if status.head and (how := await _answered(handle, status.head)):
            sentence(f"  {how}")
        await _note_beginning(handle)
        if unknown:
            console().print(unknown_table(unknown))

    run(ctx, work)


def ls(
    ctx: typer.Context,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    state: Annotated[ListedState | None, typer.Option(help="Only those in this state.")] = None,
    parked: Annotated[bool | None, typer.Option(help="Only with, or without, parked events.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
) -> None:
    """List the tenant's sessions."""

    async def work(client: Client) -> None:
        listing = client.sessions(agent=agent, state=state, parked=parked, limit=limit)
        found = [info async for info in listing]
        if options_of(ctx).json:
            document(found)
            return
        if not found:
            note(f"tenant {options_of(ctx).tenant}: no session fits")
            return
        rows = [(s.session_id, s.agent or "", _state(s), s.parked or "", ago(s.started_at)) for s in found]
        console().print(table("", ("session", "agent", "state", "parked", "age"), rows))
        if len(found) == limit:
            note(f"the first {limit}; --limit shows more")

    run(ctx, work)


async def _parked(handle: Session) -> Sequence[Parked]:
    from inturn.errors import JournalUnavailable

    try:
        return await handle.parked()
    except JournalUnavailable as error:  # the rest is worth showing
        note(f"parked events: {error}", style="yellow")
        return []


async def _unknown(handle: Session) -> Sequence[UnknownOutcome]:
    from inturn.errors import JournalUnavailable

    try:
        return await handle.unknown_calls()
    except JournalUnavailable:
        return []


async def _answered(handle: Session, head: int) -> str:
    """Return how the last turn was answered, where that is not as its agent is by default: by whom, with what."""
    from inturn.errors import JournalUnavailable

    asked: dict[str, Any] = {}
    answer: dict[str, Any] = {}
    try:
        async for entry in handle.entries(after=max(0, head - LOOKED_THROUGH)):
            if entry.type == "turn.started":
                asked, answer = entry.body, {}
            elif entry.type == "agent.message":
                answer = entry.body if "fallback" in entry.body else answer
    except JournalUnavailable:
        return ""
    parts = [f"{name} {value}" for name, value in (asked.get("settings") or {}).items()]
    if model := asked.get("model"):
        parts.insert(0, f"model {model}, as its event asked")
    if instead := answer.get("fallback"):
        parts.insert(0, f"model {answer.get('model')} instead of {instead.get('of')} ({instead.get('why')})")
    return one_line(f"last turn: {' · '.join(parts)}") if parts else ""


async def _first(handle: Session) -> Entry | None:
    from inturn.errors import JournalUnavailable

    try:
        return await anext(handle.entries(), None)
    except JournalUnavailable:
        return None


async def _forked(handle: Session) -> dict[str, Any]:
    first = await _first(handle)
    if first is None or first.type != "session.forked":
        return {}
    return {"forked": {name: first.body.get(name) for name in ("from", "upto")}}


async def _note_beginning(handle: Session) -> None:
    """Say what a log begins with, where that is no beginning."""
    from inturn.journal.log.pruned import FORKED, PRUNED

    first = await _first(handle)
    if first is not None and first.type == PRUNED:
        file = (first.body.get("export") or {}).get("file")
        where = f"; they were exported to {file}" if file else ""
        note(f"pruned: entries up to {first.seq - 1} are in the journal no more{where}")
    if first is not None and first.type == FORKED:
        whose = f"up to the turn of event {first.body.get('upto')}"
        note(f"forked from {first.body.get('from')}, {whose}: entries up to {first.seq - 1} are that session's")


def _may_have_parked(status: SessionStatus) -> bool:
    return status.source == "fallback" or bool(status.counts.get("parked"))


def _print_status(session: str, status: SessionStatus, parked: Sequence[Parked]) -> None:
    from inturn.client.health import explain

    out = console()
    sentence(_headline(session, status), style="")
    if trouble := explain(status):
        note(trouble, style="red")
    if status.counts:
        sentence("  " + " · ".join(f"{name} {count}" for name, count in status.counts.items()))
    sentence(f"  run {status.runs} · {status.history_events} history events · {status.head} journal entries")
    if status.usage.steps:
        sentence(f"  {_usage(status.usage)}")
    if status.turn:
        out.print(_turn_table(status.turn))
    if status.approvals:
        out.print(approvals_table(status.approvals))
    if status.queue:
        out.print(_events_table("queue", status.queue))
    if status.held:
        out.print(_held_table(status.held))
    if limits := _limits(status):
        sentence(f"  limits: {limits}")
    if parked:
        out.print(parked_table(parked))


def _usage(usage: Usage) -> str:
    parts = [f"{usage.steps} model calls", f"{usage.prompt_tokens:,} + {usage.output_tokens:,} tokens"]
    if usage.cache_hit is not None:
        parts.append(f"{percent(usage.cache_hit)} of the prompts from the cache")
    if usage.cache_missed:
        parts.append(f"{usage.cache_missed} that should have been there and were not (`inturn tail` says why)")
    if usage.usd_nanos:
        failed = f" ({dollars(usage.failed_usd_nanos)} of it without an answer)" if usage.failed_usd_nanos else ""
        parts.append(f"{dollars(usage.usd_nanos)}{failed}")
    return " · ".join(parts)


def _headline(session: str, status: SessionStatus) -> Text:
    from rich.text import Text

    made = Text(one_line(session), "bold")
    made.append(f"  {status.state}", _STATE_STYLES.get(status.state, ""))
    if status.agent:
        made.append(f"  agent {one_line(status.agent)}", "not bold")
    if status.health != "ok":
        made.append(f"  health {status.health}", "bold red")
    if status.source == "fallback":
        made.append("  (no worker answered: read from the server and the journal)", "yellow")
    return made


def _turn_table(turn: TurnProgress) -> Table:
    row = (
        turn.event_id,
        turn.step,
        one_line(turn.doing),
        ago(turn.since),
        turn.attempt,
        one_line(turn.waiting_for or ""),
        one_line(turn.last_error or ""),
    )
    return table("turn", ("event", "step", "doing", "since", "attempt", "waits for", "last error"), [row])


def _events_table(title: str, events: Sequence[QueuedEvent]) -> Table:
    rows = [(*_waiting(e), one_line(e.preview)) for e in events]
    return table(f"{title} ({len(events)})", ("event", "source", "sequence", "age", "text"), rows)


def _held_table(events: Sequence[QueuedEvent]) -> Table:
    columns = ("event", "source", "sequence", "age", "waits for", "until", "text")
    rows = [
        (
            *_waiting(e),
            one_line(e.waiting_for or ""),
            e.until.strftime("%H:%M:%S") if e.until else "",
            one_line(e.preview),
        )
        for e in events
    ]
    return table(f"held ({len(events)})", columns, rows)


def _waiting(event: QueuedEvent) -> tuple[Any, ...]:
    sequence = event.sequence if event.sequence is not None else ""
    return event.event_id, event.source, sequence, ago(event.accepted_at)


def _limits(status: SessionStatus) -> str:
    """Return how full the inbox may be and is, and what slows it down."""
    limits = status.limits
    if not limits:
        return ""
    waiting = len(status.queue) + len(status.held)
    parts = [
        f"{limits.get('waiting', waiting)} of {limits.get('capacity')} events",
        f"{limits.get('waiting_bytes', 0)} of {limits.get('capacity_bytes')} bytes",
    ]
    if hold := limits.get("hold_capacity"):
        parts.append(f"{limits.get('held', len(status.held))} of {hold} held")
    if quota := limits.get("source_quota"):
        parts.append(f"{quota} of one source")
    if rate := limits.get("rate"):
        parts.append(f"{rate:g} turns a second, {limits.get('burst')} at once")
    if expires := limits.get("expires_after"):
        parts.append(f"expire after {expires:g} s")
    return " · ".join(parts)


def _state(session: SessionInfo) -> str:
    """Return a session's state: the server's index holds only the rare ones."""
    return session.state or ("closed" if session.closed_at else "open")
