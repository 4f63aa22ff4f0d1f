"""The report for people: the budgets in one table, and a table for each curve."""

from __future__ import annotations

from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.curves.series import Curve, number
from bench.report import Book, Row, shown

SIGNS: Final = {"exact": "=", "p99": "p99 ≤", "last": "last ≤"}


def budget_table(book: Book, rounds: int) -> Table:
    """Every row against its budget."""
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
    sign = SIGNS.get(budget.by, "≥" if budget.at_least else "≤")
    found = [shown(known[name], budget.unit) if row.measured else "-" for name in ("min", "median", "max")]
    return [budget.name, f"{sign} {shown(budget.limit, budget.unit)}", *found, row.verdict, row.note]


def curve_table(curve: Curve) -> Group:
    """A line for each size, a column for each series."""
    made = Table()
    for name in (curve.x, *(line.name for line in curve.series)):
        made.add_column(name, justify="right", no_wrap=True)
    for cells in cells_of(curve):
        made.add_row(*cells)
    return Group(Text(f"{curve.title} ({curve.y})", "italic"), made, Text(curve.note, "dim"))


def cells_of(curve: Curve) -> list[list[str]]:
    """Return the lines of a curve's table: the size, and what each series has there."""
    found = [(x, [line.at(x) for line in curve.series]) for x in curve.sizes]
    return [[number(x), *("-" if y is None else number(y) for y in values)] for x, values in found]
