"""`python -m bench [--rounds 5] [--json FILE] [--only PART…] [--strict] [--quick]`: budgets, cost curves, other ways.

The budgets are measured beside a bare workflow; the curves (`--quick`: at small sizes) show how costs grow, and
the part `beside` what becomes of the same events in the ways people do this today.
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

from bench import admit, budgets, history, importing, interrupt, journal, kills, latency, load, lost, memory, model
from bench.beside import measure as beside
from bench.beside.report import table as beside_table
from bench.beside.sizes import BOUND
from bench.curves import cold, costs, queue, sessions, turns, workers
from bench.curves.series import Curve, Curves
from bench.curves.sizes import BOUNDS, FULL, QUICK, Sizes
from bench.live import measure as live
from bench.report import Book
from bench.rig import Rig
from bench.streaming import measure as streaming
from bench.tables import budget_table, curve_table

Part = Callable[[Rig, Book, int], Awaitable[None]]
PARTS: Final[dict[str, Part]] = {
    "history": history.measure,
    "latency": latency.measure,
    "load": load.measure,
    "model": model.measure,
    "interrupt": interrupt.measure,
    "kills": kills.measure,
    "lost": lost.measure,
    "streaming": streaming.measure,
    "journal": journal.measure,
    "live": live.measure,
    "memory": memory.measure,
    "import": importing.measure,
    "inbox": admit.measure,
}
CurvePart = Callable[[Rig, Sizes], Awaitable[list[Curve]]]
CURVES: Final[dict[str, CurvePart]] = {
    "turns": turns.measure,
    "sessions": sessions.measure,
    "queue": queue.measure,
    "workers": workers.measure,
    "cold": cold.measure,
    "costs": costs.measure,
}
BESIDE: Final = "beside"
ALL: Final = (*PARTS, *CURVES, BESIDE)

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else 190)


async def run(names: list[str], rounds: int, sizes: Sizes) -> tuple[Book, Curves]:
    """Measure these parts, each within its bound."""
    book = Book([budget for name in names for budget in budgets.PARTS.get(name, ())])
    curves = Curves([], {})
    with console.status("starting a Temporal dev server"):
        rig = await Rig().__aenter__()
    try:
        for name in names:
            began, bound = time.monotonic(), {**budgets.BOUNDS, **BOUNDS, BESIDE: BOUND}[name]
            with console.status(f"{name} (at most {bound} s)"):
                failed = await _within(bound, _measure(name, rig, book, rounds, curves, sizes))
            if failed is not None:
                _without(name, failed, book, curves)
            console.print(f"{name:10} {time.monotonic() - began:6.1f} s")
    finally:
        await rig.__aexit__()
    return book, curves


async def _measure(name: str, rig: Rig, book: Book, rounds: int, curves: Curves, sizes: Sizes) -> None:
    if name in PARTS:
        await PARTS[name](rig, book, rounds)
    elif name == BESIDE:
        found = await beside.measure(rig, quick=sizes is QUICK)
        curves.beside = found.as_json()
        curves.drawn += found.curves
    else:
        curves.drawn += await CURVES[name](rig, sizes)


async def _within(bound: int, measuring: Awaitable[None]) -> str | None:
    """Say why it was not measured: one part's failure leaves the others their turn, and shows in the report."""
    try:
        async with asyncio.timeout(bound):
            await measuring
    except TimeoutError:
        return f"cut off after {bound} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _without(name: str, why: str, book: Book, curves: Curves) -> None:
    if name in PARTS:
        book.without([budget.name for budget in budgets.PARTS[name]], why)
    else:
        curves.without[name] = why


def as_json(book: Book, curves: Curves, rounds: int, seconds: float, *, quick: bool = False) -> dict[str, Any]:
    """The report for programs."""
    versions = {name: importlib.metadata.version(name) for name in ("inturn", "temporalio", "pydantic", "anthropic")}
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
        "quick": quick,
        "seconds": round(seconds, 1),
        "rows": [row.as_json() for row in book.rows.values()],
        "beside": curves.beside,
        "curves": [curve.as_json() for curve in curves.drawn],
        "without": curves.without,
    }


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every comparison.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help=f"Of {', '.join(ALL)}.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where a budget is missed.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes of curves and other ways: a trial.")] = False,
) -> None:
    """Measure the budgets beside a bare workflow, the cost curves and other ways, in one run on one server."""
    names = list(dict.fromkeys(only or ALL))
    if unknown := [name for name in names if name not in ALL]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(ALL)}", param_hint="--only")
    began = time.monotonic()
    book, curves = asyncio.run(run(names, rounds, QUICK if quick else FULL))
    seconds = time.monotonic() - began
    _show(book, curves, rounds, seconds)
    if json_file:
        json_file.write_text(json.dumps(as_json(book, curves, rounds, seconds, quick=quick), indent=2) + "\n")
    failed = bool(book.unmeasured) or bool(curves.without) or (strict and bool(book.missed))
    sys.stdout.flush()
    os._exit(int(failed))  # not through the interpreter's end: Temporal's Core may crash in it


def _show(book: Book, curves: Curves, rounds: int, seconds: float) -> None:
    if book.rows:
        console.print(budget_table(book, rounds))
    for curve in curves.drawn:
        console.print(curve_table(curve))
    if curves.beside:
        console.print(beside_table(curves.beside))
    for name, why in curves.without.items():
        console.print(f"{name}: not measured: {why}", style="bold red")
    console.print(
        f"{len(book.rows)} rows and {len(curves.drawn)} curves in {seconds:.0f} s on {os.cpu_count()} CPUs "
        f"(load {os.getloadavg()[0]:.1f}): {len(book.missed)} missed, {len(book.unmeasured)} not measured. "
        "Where the time goes: docs/performance.md"
    )


if __name__ == "__main__":
    typer.run(main)
