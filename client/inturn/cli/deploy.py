"""deploy: what a team does when a new build takes over.

Invariant: old workers are said to be free to stop only once no session is left that needs them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from inturn.cli.options import Options, options_of
from inturn.cli.output import line, note, say
from inturn.cli.running import reported

if TYPE_CHECKING:
    from inturn.client.drain import Drained

commands: Final = typer.Typer(
    help="Move sessions to a new build.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@commands.callback()
def _deploy() -> None:
    """Move sessions to a new build."""


@commands.command()
def drain(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="DEPLOYMENT:BUILD", help="The old build.", show_default=False)],
) -> None:
    """Have sessions that are pinned to an old build go on with the current one; say when its workers may stop.

    Each continues as new at its next boundary. It needs workers of both builds, and ends once no session is left.
    """
    options = options_of(ctx)
    with reported(options):
        asyncio.run(_drain(options, version))


async def _drain(options: Options, version: str) -> None:
    from dataclasses import asdict

    from inturn.client.drain import Drain
    from inturn.client.temporal.connection import Connection

    connection = Connection(options.address, namespace=options.namespace)
    shown: Drained | None = None
    try:
        async for drained in Drain(connection, version).run():
            if drained == shown:
                continue
            shown = drained
            if options.json:
                line(asdict(drained))
            else:
                _show(drained)
    finally:
        await connection.close()


def _show(drained: Drained) -> None:
    if drained.done:
        say(f"{drained.version}: no session is left on it; its workers may stop")
    elif drained.left:
        more = ", …" if drained.left > len(drained.sessions) else ""
        note(f"{drained.version}: {drained.left} left ({', '.join(drained.sessions)}{more})")
