"""memory ls, show, put, rm: what a tenant's agents remember.

Invariant: `put` and `rm` overwrite nothing that was changed since it was read, where its version is given.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from inturn.cli.failures import FAILED
from inturn.cli.options import options_of
from inturn.cli.output import ago, console, document, note, say, table
from inturn.cli.running import run

if TYPE_CHECKING:
    from inturn.client.client import Client

commands = typer.Typer(help="What agents remember: documents at versions.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The document's name.", show_default=False)]
Version = Annotated[
    int | None, typer.Option(help="Only where it is at this version; 0: only where there is none.", min=0)
]


@commands.command()
def ls(ctx: typer.Context, prefix: Annotated[str, typer.Argument(help="Only names that begin so.")] = "") -> None:
    """List the documents."""

    async def work(client: Client) -> None:
        found = [each async for each in client.documents.list(prefix)]
        if options_of(ctx).json:
            document(found)
        elif found:
            rows = [(each.name, each.version, each.size, ago(each.at)) for each in found]
            console().print(table("", ("document", "version", "bytes", "age"), rows))
        else:
            note(f"tenant {options_of(ctx).tenant}: no such document")

    run(ctx, work)


@commands.command()
def show(ctx: typer.Context, name: Name) -> None:
    """Print a document."""

    async def work(client: Client) -> int:
        found = await client.documents.get(name)
        if options_of(ctx).json:
            document(found)
        elif found is None:
            note(f"there is no document {name}")
        else:
            note(f"{name}, version {found.version}")
            say(found.text)
        return 0 if found else FAILED

    run(ctx, work)


@commands.command()
def put(
    ctx: typer.Context,
    name: Name,
    text: Annotated[str, typer.Argument(help="Its whole text; - reads it from stdin.", show_default=False)],
    version: Version = None,
) -> None:
    """Write a document."""

    async def work(client: Client) -> None:
        said = sys.stdin.read() if text == "-" else text
        made = await client.documents.put(name, said, version=version)
        if options_of(ctx).json:
            document(made)
        else:
            say(f"{name}: version {made.version}")

    run(ctx, work)


@commands.command()
def rm(ctx: typer.Context, name: Name, version: Version = None) -> None:
    """Remove a document."""

    async def work(client: Client) -> int:
        done = await client.documents.delete(name, version=version)
        if options_of(ctx).json:
            document({"ok": done})
        else:
            say(f"{name}: {'removed' if done else 'there was none'}")
        return 0 if done else FAILED

    run(ctx, work)
