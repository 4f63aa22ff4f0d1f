"""tail: a session's journal, one line per entry.

Invariant: an entry is one line whatever it holds, in the order of seq; `--after` with the last seq seen misses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from inturn.amounts import dollars
from inturn.cli.live.screen import Screen, show
from inturn.cli.options import SessionId, options_of
from inturn.cli.output import compact, console, line
from inturn.cli.running import run
from inturn.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.text import Text

    from inturn.client.client import Client
    from inturn.values import Entry

_STYLES: Final = (
    ("user.", "bold cyan"),
    ("agent.tool", "magenta"),
    ("agent.", "green"),
    ("turn.failed", "bold red"),
    ("turn.interrupted", "yellow"),
    ("turn.", "dim"),
    ("event.parked", "bold red"),
    ("event.", "yellow"),
    ("approval.", "bold yellow"),
)


def tail(
    ctx: typer.Context,
    session: SessionId,
    after: Annotated[int, typer.Option(help="Only entries behind this seq.", min=0)] = 0,
    event: Annotated[str | None, typer.Option(help="Only this event's entries.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as entries come, until Ctrl-C.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Follow, with answers word by word as they come.")] = False,
) -> None:
    """Print a session's journal, one line per entry."""
    as_json = options_of(ctx).json

    async def work(client: Client) -> None:
        from inturn.values import Delta

        handle = client.session(session)
        if live and not as_json and console().is_terminal:
            with Screen(console(), _print) as screen:
                return await show(handle, event, screen, after=after)
        news: AsyncIterator[Entry | Delta]
        if live:
            news = handle.stream(event, after=after, deltas=as_json)
        else:
            news = handle.entries(after, event_id=event, follow=follow)
        async for new in news:
            if as_json:
                line(new)
            elif not isinstance(new, Delta):
                _print(new)

    run(ctx, work)


def _print(entry: Entry) -> None:
    out = console()
    # A terminal shows what fits on one line; a file gets all of it.
    out.print(entry_line(entry), no_wrap=True, overflow="ellipsis", soft_wrap=not out.is_terminal)


def entry_line(entry: Entry) -> Text:
    """Return an entry as one line with colours."""
    from rich.text import Text

    where = " ".join(part for part in (entry.event_id, entry.step) if part)
    made = Text()
    made.append(f"{entry.seq:>5}  ", "dim")
    made.append(f"{entry.at.astimezone():%H:%M:%S}  ", "dim")
    made.append(f"{entry.type:<18} ", next((style for start, style in _STYLES if entry.type.startswith(start)), ""))
    made.append(f"{one_line(where)}  ", "blue")
    made.append(one_line(summary(entry)))
    return made


def summary(entry: Entry) -> str:
    """Return what an entry holds, for a line."""
    body = entry.body
    match entry.type:
        case "agent.tool_use":
            return f"{body.get('tool')} {compact(body.get('args'))}"
        case "agent.tool_result":
            return f"{body.get('tool')} {body.get('status')}: {entry.text or ''}"
        case "agent.message":
            instead = body.get("fallback")
            by = f"[{body.get('model')} instead of {instead.get('of')}: {instead.get('why')}] " if instead else ""
            return by + (entry.text or f"({body.get('stop')})")
        case "turn.completed":
            usage = body.get("usage") or {}
            cost = f", {dollars(int(usage['usd_nanos']))}" if usage.get("usd_nanos") else ""
            return f"{body.get('stop')}, {usage.get('input_tokens', 0)} + {usage.get('output_tokens', 0)} tokens{cost}"
        case "approval.requested":
            return f"{body.get('tool')}? {body.get('approval_id')}"
        case "approval.answered":
            by = f" by {body['by']}" if body.get("by") else ""
            why = f": {body['reason']}" if body.get("reason") else ""
            return f"{body.get('tool')} {body.get('answer')}{by}{why}"
        case "session.started":
            return f"{body.get('agent')} ({body.get('model')})"
        case "turn.interrupted" if body.get("partial"):
            return f"{body.get('reason')}; it had said: {body['partial']}"
        case "turn.started":
            how = " ".join(compact(body[name]) for name in ("model", "settings") if name in body)
            return f"event {body.get('n')}" + (f", {how}" if how else "")
        case _:
            return _other(entry)


def _other(entry: Entry) -> str:
    body = entry.body
    if entry.type == "session.forked":
        return f"from {body.get('from')}, behind its entry {body.get('seq')} (event {body.get('upto')})"
    if entry.type == "session.compacted":
        before, after = body.get("tokens") or (0, 0)
        why = "; ".join(body.get("failures") or ())
        return f"by {body.get('by')}: {before} -> {after} tokens" + (f" ({why})" if why else "")
    shown = entry.text or body.get("error") or body.get("reason")
    return str(shown) if shown else compact(body)
