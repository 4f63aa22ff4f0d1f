"""`python -m bench [--rounds 5] [--json FILE] [--only PART…] [--strict]`: the budgets, measured beside a bare workflow.

Exit code 0 when everything was measured, whatever the numbers say; with `--strict` 1 where a budget is missed.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from bench import admit, budgets, history, importing, interrupt, kills, latency, load, memory, model
from bench.report import Book, Row, shown
from bench.rig import Rig

Part = Callable[[Rig, Book, int], Awaitable[None]]
PARTS: Final[dict[str, Part]] = {
    "history": history.measure,
    "latency": latency.measure,
    "load": load.measure,
    "model": model.measure,
    "interrupt": interrupt.measure,
    "kills": kills.measure,
    "memory": memory.measure,
    "import": importing.measure,
    "inbox": admit.measure,
}

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else 190)


async def run(names: list[str], rounds: int) -> Book:
    """Measure these parts, each within its bound."""
    book = Book([budget for name in names for budget in budgets.PARTS[name]])
    with console.status("starting a Temporal dev server"):
        rig = await Rig().__aenter__()
    try:
        for name in names:
            began = time.monotonic()
            with console.status(f"{name} (at most {budgets.BOUNDS[name]} s)"):
                await _measure(name, rig, book, rounds)
            console.print(f"{name:10} {time.monotonic() - began:6.1f} s")
    finally:
        await rig.__aexit__()
    return book


async def _measure(name: str, rig: Rig, book: Book, rounds: int) -> None:
    rows = [budget.name for budget in budgets.PARTS[name]]
    try:
        async with asyncio.timeout(budgets.BOUNDS[name]):
            await PARTS[name](rig, book, rounds)
    except TimeoutError:
        book.without(rows, f"cut off after {budgets.BOUNDS[name]} s")
    except Exception as error:  # one part's failure leaves the others their turn, and shows in the table
        book.without(rows, f"{type(error).__name__}: {error}"[:200])


def table(book: Book, rounds: int) -> Table:
    """The report for people."""
    made = Table(title=f"inturn beside a bare workflow, {rounds} rounds", title_justify="left")
    made.add_column("what", no_wrap=True)
    for name in ("budget", "min", "median", "max"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    made.add_column("note", style="dim")
    for row in book.rows.values():
        made.add_row(*_cells(row), style=None if row.held else "bold red")
    return made


def _cells(row: Row) -> list[str]:
    budget, known = row.budget, row.as_json()
    sign = {"exact": "=", "p99": "p99 ≤", "last": "last ≤"}.get(budget.by, "≥" if budget.at_least else "≤")
    found = [shown(known[name], budget.unit) if row.measured else "-" for name in ("min", "median", "max")]
    return [budget.name, f"{sign} {shown(budget.limit, budget.unit)}", *found, row.verdict, row.note]


def as_json(book: Book, rounds: int, seconds: float) -> dict[str, Any]:
    """The report for programs."""
    versions = {name: importlib.metadata.version(name) for name in ("temporalio", "pydantic", "anthropic")}
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "cpus": os.cpu_count(),
            "load": list(os.getloadavg()),
            **versions,
        },
        "rounds": rounds,
        "seconds": round(seconds, 1),
        "rows": [row.as_json() for row in book.rows.values()],
    }


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every comparison.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help=f"Of {', '.join(PARTS)}.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where a budget is missed.")] = False,
) -> None:
    """Measure the budgets beside a bare workflow, in one run on one server."""
    names = list(dict.fromkeys(only or PARTS))
    if unknown := [name for name in names if name not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(PARTS)}", param_hint="--only")
    began = time.monotonic()
    book = asyncio.run(run(names, rounds))
    seconds = time.monotonic() - began
    console.print(table(book, rounds))
    console.print(
        f"{len(book.rows)} rows in {seconds:.0f} s on {os.cpu_count()} CPUs (load {os.getloadavg()[0]:.1f}): "
        f"{len(book.missed)} missed, {len(book.unmeasured)} not measured. "
        "Where the time goes: docs/performance.md"
    )
    if json_file:
        json_file.write_text(json.dumps(as_json(book, rounds, seconds), indent=2) + "\n")
    failed = bool(book.unmeasured) or (strict and bool(book.missed))
    sys.stdout.flush()
    os._exit(int(failed))  # not through the interpreter's end: Temporal's Core may crash in it


if __name__ == "__main__":
    typer.run(main)
