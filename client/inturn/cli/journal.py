"""journal: what operators do to a journal itself.

Invariant: what is lost is never passed over in silence; the operator says that a session is to go on without it. No
command here needs Temporal's server but `accept`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inturn.cli.options import Reason, SessionId, journal_url, options_of
from inturn.cli.output import document, note, say
from inturn.cli.prune import prune
from inturn.cli.running import reported, run

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


Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The journal's URL.", show_default=False)]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="The URL of an empty one.", show_default=False)]
Named = Annotated[str | None, typer.Argument(metavar="URL", help="The journal, if not --journal.", show_default=False)]


@commands.command()
def copy(
    ctx: typer.Context,
    source: Source,
    target: Target,
    of: Annotated[str | None, typer.Option("--of", metavar="TENANT", help="Only one tenant's part.")] = None,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Only compare two journals.")] = False,
) -> None:
    """Copy a journal into another database, read the copy back, and have it take the first one's place.

    Stop the workers first: who writes meanwhile waits, and is refused at the end.
    """

    async def work() -> dict[str, Any]:
        from inturn.journal import open_store, shown
        from inturn.journal.moving import copying

        here, there = open_store(source), open_store(target)
        try:
            await here.open()
            await there.open()
            if verify_only:
                done = await copying.compare(here, there, tenant=of)
            else:
                done = await copying.copy(here, there, name=shown(target), tenant=of)
        finally:
            await here.close()
            await there.close()
        return {"sessions": done.sessions, "rows": done.rows}

    found = _done(ctx, work())
    if found:
        what = "the same" if verify_only else "copied and the same"
        say(f"{found['sessions']} sessions, {sum(found['rows'].values())} rows: {what}, every chain of hashes holds")


@commands.command()
def reencrypt(ctx: typer.Context, source: Source, target: Target) -> None:
    """Copy a journal under the first key of INTURN_ENCRYPTION_KEYS, and have the copy take its place.

    Stop the workers first. The keys of the source come behind; a journal in clear needs none.
    """

    async def work() -> dict[str, Any]:
        from inturn.encryption.columns import Sealing
        from inturn.encryption.keys import VARIABLE, read_keys
        from inturn.errors import Misconfigured
        from inturn.journal import open_store, shown
        from inturn.journal.moving.reencrypting import reencrypt

        if (ring := read_keys()) is None:
            raise Misconfigured(f"there is no key to encrypt with: set {VARIABLE}")
        here, there = open_store(source), open_store(target)
        try:
            await here.open()
            await there.open()
            done = await reencrypt(here, there, Sealing(ring), name=shown(target))
        finally:
            await here.close()
            await there.close()
        return {"sessions": done.sessions, "rows": done.rows}

    if found := _done(ctx, work()):
        say(f"{found['sessions']} sessions, {sum(found['rows'].values())} rows: copied under the first key")


@commands.command()
def migrate(ctx: typer.Context, url: Named = None) -> None:
    """Make a journal's tables, or bring them to this version. On PostgreSQL: as their owner."""

    async def work() -> dict[str, Any]:
        from inturn.journal import open_store, shown
        from inturn.journal.store.schema import VERSION

        named = journal_url(ctx, url)
        migrating = f"{named}{'&' if '?' in named else '?'}migrate=1" if named.startswith("postgres") else named
        store = open_store(migrating)
        await store.open()
        await store.close()
        return {"journal": shown(named), "version": VERSION}

    if found := _done(ctx, work()):
        say(f"{found['journal']}: schema version {found['version']}")


@commands.command()
def verify(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="The journal, if not --journal; or an export of `prune`.")
    ] = None,
) -> None:
    """Check the chain of hashes of every session, of all tenants, and what references name; or an export of `prune`."""
    if url is not None and url.endswith(".jsonl") and "://" not in url:
        return _verify_export(ctx, url)

    async def work() -> dict[str, Any]:
        from inturn.journal import Journal, open_store
        from inturn.journal.log import blobs
        from inturn.journal.moving.copying import sessions

        store = open_store(journal_url(ctx, url))
        try:
            keys = await store.read(lambda tx: sessions(tx, None))
            faults = {str(key): found for key in keys if (found := await Journal(store).verify(key))}
            if changed := await store.read(lambda tx: list(blobs.faults(tx))):
                faults["references"] = changed
        finally:
            await store.close()
        return {"sessions": len(keys), "faults": faults}

    found = _done(ctx, work())
    if found:
        for session, faults in found["faults"].items():
            note(f"{session}: {'; '.join(faults)}", style="red")
        say(f"{found['sessions']} sessions, {len(found['faults'])} with faults")
        if found["faults"]:
            raise typer.Exit(1)


def _verify_export(ctx: typer.Context, path: str) -> None:
    async def work() -> dict[str, Any]:
        from inturn.journal.pruning.exports import check

        found = check(Path(path))
        return {"session": str(found.session), "rows": found.rows, "head": found.head, "hash": found.hash}

    if found := _done(ctx, work()):
        say(f"{found['session']}, {found['rows']} rows up to entry {found['head']}: the chain of hashes holds")


commands.command()(prune)


def _done(ctx: typer.Context, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any] | None:
    """Do a command's work; print it as JSON where that was asked for, else return it."""
    options = options_of(ctx)
    with reported(options):
        found = asyncio.run(work)
    if options.json:
        document(found)
        return None
    return found
