"""interrupt, cancel, compact, pause, resume, close, approve, deny: what people ask of a session, out of band.

Invariant: a control names what it touches; where there was nothing to touch it says so, with exit code 1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import EventId, Reason, SessionId, options_of
from inturn.cli.output import document, say
from inturn.cli.running import run

if TYPE_CHECKING:
    from inturn.client.client import Client
    from inturn.client.session import Session


Pending = Literal["park", "cancel"]
ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL", help="As `inturn show` gives it.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Who decides.", envvar="USER")]


def interrupt(
    ctx: typer.Context,
    session: SessionId,
    event: Annotated[str | None, typer.Option(help="Only if this event's turn runs.")] = None,
    reason: Reason = None,
    clear_queue: Annotated[bool, typer.Option("--clear-queue", help="Cancel what waits, too.")] = False,
) -> None:
    """Stop the running turn; the next event goes on."""

    async def call(handle: Session) -> bool:
        stopped = await handle.interrupt(event_id=event, reason=reason, clear_queue=clear_queue)
        return stopped or clear_queue

    done = "nothing runs or waits now" if clear_queue else "interrupted"
    _control(ctx, session, call, done, "nothing to interrupt")


def cancel(ctx: typer.Context, session: SessionId, event: EventId, reason: Reason = None) -> None:
    """Take one event out, whether it waits or runs."""
    _control(
        ctx, session, lambda handle: handle.cancel(event, reason=reason), "cancelled", f"{event} neither waits nor runs"
    )


def pause(ctx: typer.Context, session: SessionId) -> None:
    """Start no more turns; the running one finishes, events are accepted."""
    _control(ctx, session, lambda handle: handle.pause(), "paused")


def compact(
    ctx: typer.Context,
    session: SessionId,
    instructions: Annotated[str | None, typer.Option(help="What the summary is to be like.")] = None,
) -> None:
    """Have the next turn begin with a summary of the conversation, which makes room."""
    _control(
        ctx,
        session,
        lambda handle: handle.compact(instructions=instructions),
        "the next model step begins with a summary",
        "the session is about to close",
    )


def fork(
    ctx: typer.Context,
    session: SessionId,
    new: Annotated[str, typer.Argument(metavar="NEW", help="An id that no session ever had.", show_default=False)],
    upto: Annotated[str | None, typer.Option(help="An event whose turn has ended; else as far as it is.")] = None,
) -> None:
    """Make a session that goes on from where a turn of another ended."""

    async def work(client: Client) -> None:
        made = await client.session(session).fork(new, upto=upto)
        first = await anext(made.entries())
        if options_of(ctx).json:
            document({"session_id": new, "from": session, "upto": first.body.get("upto")})
        else:
            say(f"{new}: forked from {session}, up to the turn of event {first.body.get('upto')}")

    run(ctx, work)


def resume(ctx: typer.Context, session: SessionId) -> None:
    """Take up events again, after a pause."""
    _control(ctx, session, lambda handle: handle.resume(), "resumed")


def close(
    ctx: typer.Context,
    session: SessionId,
    pending: Annotated[Pending, typer.Option(help="What becomes of events that wait.")] = "park",
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait; the close goes on behind it.", min=0.0)
    ] = None,
) -> None:
    """End a session for good, and return once it is closed; a step that runs ends first."""
    _control(ctx, session, lambda handle: handle.close(pending=pending, timeout=timeout), "closed")


def approve(ctx: typer.Context, session: SessionId, approval: ApprovalId, by: By = None, reason: Reason = None) -> None:
    """Allow a tool call that asks for it."""
    _control(ctx, session, lambda handle: handle.approve(approval, by=by, via="cli", reason=reason), "approved")


def deny(ctx: typer.Context, session: SessionId, approval: ApprovalId, by: By = None, reason: Reason = None) -> None:
    """Refuse a tool call that asks for it."""
    _control(ctx, session, lambda handle: handle.deny(approval, by=by, via="cli", reason=reason), "denied")


def _control(
    ctx: typer.Context, session: str, call: Callable[[Session], Awaitable[Any]], done: str, nothing: str = ""
) -> None:
    async def work(client: Client) -> int:
        answer = await call(client.session(session))
        ok = answer is not False
        if options_of(ctx).json:
            document({"ok": ok})
        else:
            say(f"{session}: {done if ok else nothing}")
        return 0 if ok else FAILED

    run(ctx, work)
