"""approvals: the tool calls that wait for a person, over all sessions.

Invariant: what is listed is what would run: the tool and all of its arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from inturn.cli.options import options_of
from inturn.cli.output import ago, compact, console, document, note, table, until
from inturn.cli.running import run
from inturn.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from inturn.client.client import Client
    from inturn.values import Approval, PendingApproval


def approvals(ctx: typer.Context) -> None:
    """List the tool calls that wait for somebody's yes or no."""

    async def work(client: Client) -> None:
        found = [approval async for approval in client.approvals()]
        if options_of(ctx).json:
            document(found)
        elif found:
            console().print(_listing(found))
        else:
            note(f"tenant {options_of(ctx).tenant}: nothing waits for approval")

    run(ctx, work)


def approvals_table(found: Sequence[Approval]) -> Table:
    """Return the table of one session's approvals."""
    return table("approvals", _COLUMNS, [_row(approval) for approval in found])


_COLUMNS = ("approval", "tool", "arguments", "asked", "expires in")


def _listing(found: Sequence[PendingApproval]) -> Table:
    return table("", ("session", *_COLUMNS), [(a.session_id, *_row(a)) for a in found])


def _row(approval: Approval) -> tuple[str, ...]:
    shown = compact(approval.args) if approval.args is not None else getattr(approval, "preview", "")
    return (
        approval.approval_id,
        approval.tool,
        one_line(shown),
        ago(approval.asked_at),
        until(approval.expires_at),
    )
