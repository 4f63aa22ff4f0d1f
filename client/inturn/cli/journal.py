"""journal: what operators do to a journal itself.

Invariant: what is lost is never passed over in silence; the operator says that a session is to go on without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from inturn.cli.options import Reason, SessionId, options_of
from inturn.cli.output import document, say
from inturn.cli.running import run

if TYPE_CHECKING:
    from inturn.client.client import Client

commands: Final = typer.Typer(
    help="Look after the journal.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@commands.callback()
def _journal() -> None:
    """Look after the journal."""


@commands.command()
def accept(
    ctx: typer.Context,
    session: SessionId,
    by: Annotated[str | None, typer.Option(help="Who decides.", envvar="USER")] = None,
    reason: Reason = None,
) -> None:
    """Let a session go on with this journal, though it is another than the session knows, or ends before.

    What is missing is named in an entry of the journal, and in every audit.
    """

    async def work(client: Client) -> None:
        await client.session(session).accept_journal(by=by, reason=reason)
        if options_of(ctx).json:
            document({"ok": True, "session": session})
        else:
            say(f"{session}: goes on with this journal; `inturn audit {session}` names what is missing")

    run(ctx, work)
