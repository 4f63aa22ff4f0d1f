"""audit: does every accepted event have exactly one end?

Invariant: exit code 0 means that the audit found no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import SessionId, options_of
from inturn.cli.output import console, document, note, say, table
from inturn.cli.running import run
from inturn.cli.settle import unknown_table

if TYPE_CHECKING:
    from inturn.client.client import Client
    from inturn.values import Audit


def audit(
    ctx: typer.Context,
    session: SessionId,
    deep: Annotated[bool, typer.Option("--deep", help="Read the retained histories, too.")] = False,
) -> None:
    """Check that what was accepted and how it ended agree."""

    async def work(client: Client) -> int:
        found = await client.session(session).audit(deep=deep)
        if options_of(ctx).json:
            document(found)
        else:
            _print(session, found)
        return 0 if found.ok else FAILED

    run(ctx, work)


def _print(session: str, found: Audit) -> None:
    say(f"{session}: {'ok' if found.ok else 'NOT ok'}, {found.accepted} accepted")
    if found.counts:
        console().print(table("", ("disposition", "events"), found.counts.items()))
    for difference in found.differences:
        note(difference, style="yellow" if found.ok else "red")
    if found.unknown:
        console().print(unknown_table(found.unknown))
        note("find out what they did, then `inturn settle CALL --done RESULT` or `--not-done`", style="yellow")
    if found.pruned:
        note(f"pruned: entries up to {found.pruned} are in the journal no more, and were not compared")
    if found.gone:
        note(f"past the server's retention, so not looked at: runs {', '.join(found.gone)}")
