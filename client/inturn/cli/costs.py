"""costs: what turns cost, by whose they were.

Invariant: the sums are the journal's own, exact; a turn is in them once it has ended. Sums are kept in clear, whatever
is encrypted beside them.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from inturn.amounts import NANOS, dollars
from inturn.cli.options import journal_url, options_of, time_named
from inturn.cli.output import console, document, note, percent, table
from inturn.cli.running import reported

if TYPE_CHECKING:
    from rich.table import Table

    from inturn.journal.money.costs import Cost

By = Literal["tenant", "agent", "model", "session"]


def costs(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(help="Turns that ended since then: an age (30d, 12h) or a date.")] = "30d",
    by: Annotated[By, typer.Option(help="Whose they were; by tenant, those of all tenants.")] = "agent",
) -> None:
    """Show what turns cost: tokens, dollars, and how much of the prompts came from the cache."""
    options = options_of(ctx)
    now = time.time()
    begin = time_named(since, now)
    with reported(options):
        found = asyncio.run(_read(journal_url(ctx, None), by, None if by == "tenant" else options.tenant, begin))
    if options.json:
        document([_plain(by, cost) for cost in found])
    elif found:
        console().print(_table(by, found))
    else:
        note("no turn ended in that time")


async def _read(url: str, by: By, tenant: str | None, since: float) -> list[Cost]:
    from inturn.cli.doctor.machine import is_missing
    from inturn.errors import JournalUnavailable
    from inturn.journal import open_journal

    if is_missing(url):  # looking makes none
        raise JournalUnavailable(f"there is no journal at {url}. To do: name the workers' with --journal")
    journal = open_journal(url)
    try:
        return await journal.costs(by, tenant=tenant, since=since)
    finally:
        await journal.close()


def _plain(by: By, cost: Cost) -> dict[str, Any]:
    """Return a row as JSON; `null`: nobody knows whose they are."""
    fields = {name: value for name, value in asdict(cost).items() if name != "name"}
    return {by: cost.name or None} | fields | {"usd": cost.usd_nanos / NANOS, "cache_hit": cost.cache_hit}


def _table(by: By, found: list[Cost]) -> Table:
    columns = (by, "turns", "input", "cached", "written", "output", "hit", "cost", "of it failed")
    return table("", columns, [_row(cost) for cost in (*found, *_total(found))])


def _total(found: list[Cost]) -> list[Cost]:
    from inturn.journal.money.costs import total

    return [total(found)] if len(found) > 1 else []


def _row(cost: Cost) -> tuple[str, ...]:
    counts = (cost.turns, cost.input, cost.cache_read, cost.cache_write, cost.output)
    failed = dollars(cost.failed_usd_nanos) if cost.failed_usd_nanos else ""
    name = cost.name or "(not known)"
    return (name, *(f"{count:,}" for count in counts), percent(cost.cache_hit), dollars(cost.usd_nanos), failed)
