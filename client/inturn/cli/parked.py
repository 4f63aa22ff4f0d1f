"""parked, redrive, discard: events that were set aside with their error.

Invariant: nothing is given up unless somebody names it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import EventId, Reason, SessionId, options_of
from inturn.cli.output import ago, console, document, note, say, table
from inturn.cli.running import run
from inturn.terminal import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from inturn.client.client import Client
    from inturn.values import Parked


def parked(ctx: typer.Context, session: SessionId) -> None:
    """List a session's parked events."""

    async def work(client: Client) -> None:
        found = await client.session(session).parked()
        if options_of(ctx).json:
            document(list(found))
        elif found:
            console().print(parked_table(found))
        else:
            note(f"{session}: nothing is parked")

    run(ctx, work)


def redrive(
    ctx: typer.Context,
    session: SessionId,
    event: EventId,
    force: Annotated[bool, typer.Option("--force", help="Even if the failed turn had effects.")] = False,
) -> None:
    """Run a parked event again, as a new turn."""
    _decide(ctx, event, "runs again", lambda client: client.session(session).redrive(event, force=force))


def discard(ctx: typer.Context, session: SessionId, event: EventId, reason: Reason = None) -> None:
    """Discard a parked event; the journal keeps it."""
    _decide(ctx, event, "discarded", lambda client: client.session(session).discard(event, reason=reason))


def parked_table(found: Sequence[Parked]) -> Table:
    """Return the table of parked events."""
    rows = [(p.event_id, ago(p.at), p.attempts or "", one_line(p.preview), one_line(p.error)) for p in found]
    return table("parked", ("event", "since", "attempts", "text", "error"), rows)


def _decide(ctx: typer.Context, event: str, done: str, call: Callable[[Client], Awaitable[Any]]) -> None:
    async def work(client: Client) -> int:
        ok = await call(client) is not False
        if options_of(ctx).json:
            document({"ok": ok, "event_id": event})
        else:
            say(f"{event}: {done if ok else 'not parked'}")
        return 0 if ok else FAILED

    run(ctx, work)
