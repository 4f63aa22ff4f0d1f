"""settle: what became of a call whose outcome was unknown.

Invariant: the operator says what happened; nothing is assumed, and the first answer is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inturn.cli.options import Reason, options_of
from inturn.cli.output import ago, compact, document, say, table
from inturn.cli.running import run
from inturn.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from inturn.client.client import Client
    from inturn.values import UnknownOutcome

CallKey = Annotated[
    str,
    typer.Argument(metavar="CALL", help="The call's key, as `inturn show` and `audit` give it.", show_default=False),
]


def settle(
    ctx: typer.Context,
    call: CallKey,
    done: Annotated[str | None, typer.Option(metavar="RESULT", help="It was done; this came of it.")] = None,
    not_done: Annotated[bool, typer.Option("--not-done", help="It had no effect.")] = False,
    by: Annotated[str | None, typer.Option(help="Who found out.", envvar="USER")] = None,
    reason: Reason = None,
) -> None:
    """Record what became of a tool call whose outcome is unknown; the model learns of it."""
    if (done is None) is not not_done:
        raise typer.BadParameter("say either --done RESULT or --not-done")

    async def work(client: Client) -> None:
        from inturn.errors import InvalidEvent
        from inturn.keys import StepKey

        try:
            session = StepKey.parse(call).session
        except ValueError as error:
            raise InvalidEvent(f"{call!r:.200} is no call's key: `inturn show` and `audit` give them") from error
        handle = client.session(session.session_id)
        await handle.settle(call, done=not not_done, result=done, by=by, reason=reason)
        if options_of(ctx).json:
            document({"ok": True, "call": call})
        else:
            say(f"{call}: settled as {'not done' if not_done else 'done'}")

    run(ctx, work)


def unknown_table(calls: Sequence[UnknownOutcome]) -> Table:
    """Return the table of calls whose outcome is unknown."""
    rows = [(c.key, c.tool, one_line(compact(c.args)), c.status, ago(c.at), one_line(_late(c))) for c in calls]
    return table("outcome unknown", ("call", "tool", "arguments", "status", "since", "came too late"), rows)


def _late(call: UnknownOutcome) -> str:
    return f"{call.late_status}: {call.late_result}" if call.late_status else ""
