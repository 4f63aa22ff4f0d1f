"""journal prune: what was said in sessions that ended long ago is exported, and goes.

Invariant: nothing is deleted without `--yes`, nor what was not exported unless that was asked for in so many words.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inturn.cli.options import journal_url, options_of, time_named
from inturn.cli.output import ago, console, document, note, say, table
from inturn.cli.running import reported

if TYPE_CHECKING:
    from inturn.journal.pruning.due import Due
    from inturn.journal.store.store import Store

_SHOWN: Final = 50
"""Sessions that are listed one by one."""
_SAY_EVERY: Final = 2.0
"""Seconds between two words on how far it is."""

Named = Annotated[str | None, typer.Argument(metavar="URL", help="The journal, if not --journal.", show_default=False)]


def prune(
    ctx: typer.Context,
    closed_before: Annotated[
        str,
        typer.Option(
            "--closed-before",
            "--older-than",
            metavar="WHEN",
            help="Closed and untouched since: an age (90d, 12h) or a date (2026-08-31). No less than the namespace's "
            "retention: until then audits compare a session's journal with its histories.",
            show_default=False,
        ),
    ],
    url: Named = None,
    of: Annotated[str | None, typer.Option("--of", metavar="TENANT", help="Only one tenant's sessions.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="DIRECTORY", help="Export each session to a file there before it goes.")
    ] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Export nothing: what they say is gone then.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else what would go is only shown.")] = False,
    by: Annotated[str | None, typer.Option(help="Who decides.", envvar="USER")] = None,
) -> None:
    """Delete what was said in sessions that were closed long ago; show what that is unless --yes.

    Of each session its row stays, which says that it is closed, and an entry that says what went. What was uploaded as
    long ago goes, too, where no session names it. Workers go on.
    """
    options = options_of(ctx)
    with reported(options):
        if yes and (export is None) != discard:
            raise typer.BadParameter("with --yes: either --export DIRECTORY or --discard", ctx)
        run = _Run(closed_before, of, export, by, delete=yes, quiet=options.json)
        asyncio.run(run.over(journal_url(ctx, url)))
    if options.json:
        document(run.report())
    else:
        run.show()


@dataclass
class _Run:
    """One run of the command: what it found, and what went."""

    when: str
    tenant: str | None
    export: Path | None
    by: str | None
    delete: bool
    quiet: bool
    found: list[Due] = field(default_factory=list["Due"])
    gone: int = 0
    uploads: tuple[int, int] = (0, 0)
    """Uploads that nobody names, and their bytes."""
    changed: list[str] = field(default_factory=list[str])
    """Sessions that were touched between the look and the deletion: they are left for another time."""

    async def over(self, url: str) -> None:
        """Look at a journal, and delete what is due there."""
        from inturn.journal import open_sealed
        from inturn.journal.pruning import prune, uploads

        store = open_sealed(url)
        try:
            await store.open()
            before = time_named(self.when, await prune.now(store))
            async for session in prune.find(store, before, self.tenant):
                self.found.append(session)
                if self.delete and session.kept is None:
                    await self._prune(store, session)
            self.uploads = await uploads.find(store, before, self.tenant)
            if self.delete:
                await uploads.prune(store, before, self.tenant)
        finally:
            await store.close()

    async def _prune(self, store: Store, session: Due) -> None:
        from inturn.journal.pruning import prune

        said = time.monotonic()

        def progress(gone: int) -> None:
            nonlocal said
            if not self.quiet and time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                note(f"{session.session}: {gone:,} of {session.rows:,} rows")

        gone = await prune.prune(store, session, export=self.export, by=self.by, progress=progress)
        if gone is None:
            self.changed.append(str(session.session))
        else:
            self.gone += gone

    def report(self) -> dict[str, Any]:
        """Return what was found and done, for `--json`."""
        sessions = [
            {
                "tenant": one.session.tenant,
                "session": one.session.session_id,
                "last": datetime.fromtimestamp(one.at, UTC).isoformat(),
                "rows": one.rows,
                "bytes": one.size,
                "kept": one.kept,
            }
            for one in self.found
        ]
        uploads = dict(zip(("count", "bytes"), self.uploads, strict=True))
        return {
            "pruned": self.delete,
            "rows": self.gone,
            "sessions": sessions,
            "changed": self.changed,
            "uploads": uploads,
        }

    def show(self) -> None:
        """Print what was found, and what became of it."""
        shown = [
            (
                str(one.session),
                ago(datetime.fromtimestamp(one.at, UTC)),
                f"{one.rows:,}",
                _size(one.size),
                one.kept or "",
            )
            for one in self.found[:_SHOWN]
        ]
        if shown:
            console().print(table("", ("session", "last touched", "rows", "bytes, about", "kept, because"), shown))
        if len(self.found) > _SHOWN:
            note(f"and {len(self.found) - _SHOWN:,} more; --json shows all")
        goes = [one for one in self.found if one.kept is None]
        rows, size = sum(one.rows for one in goes), _size(sum(one.size for one in goes))
        if self.delete:
            say(f"{len(goes) - len(self.changed)} sessions pruned, {self.gone:,} rows")
        else:
            say(f"{len(goes)} sessions would go, {rows:,} rows, {size}; {len(self.found) - len(goes)} are kept")
        if self.uploads[0]:
            went = "went" if self.delete else "would go"
            say(f"{self.uploads[0]:,} uploads that no session names {went}, {_size(self.uploads[1])}")
        for session in self.changed:
            note(f"{session}: was touched meanwhile, and is left for the next time", style="yellow")
        if (goes or self.uploads[0]) and not self.delete:
            note("to do it: --yes with --export DIRECTORY (or --discard)")


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
