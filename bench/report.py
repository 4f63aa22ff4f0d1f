"""Rows of the report: what was measured, against its budget.

Invariant: a row shows what was measured, whatever the budget says; what was not measured is never "held".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Judged = Literal["median", "p99", "exact", "last"]
DECIMALS: Final = {"×": 2, "s": 2, "ms": 1, "%": 1, "bytes": 0, "events": 0, "requests": 1, "turns": 0, "a s": 1}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a row may measure.

    `by` says what is compared: the median of the rounds, the 99th percentile of all samples, every value exactly, or
    the last value, where each one includes those before it.
    """

    name: str
    limit: float
    unit: str
    by: Judged = "median"
    at_least: bool = False


@dataclass(slots=True)
class Row:
    """One budget with its values: one per round, or one per sample where it is judged by `p99`."""

    budget: Budget
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def measured(self) -> bool:
        """There is something to judge."""
        return bool(self.values)

    @property
    def judged(self) -> float:
        """The number that is compared with the budget."""
        if self.budget.by == "p99":
            return percentile(self.values, 99)
        if self.budget.by == "exact":
            return max(self.values, key=lambda value: abs(value - self.budget.limit))
        if self.budget.by == "last":
            return self.values[-1]
        return statistics.median(self.values)

    @property
    def held(self) -> bool:
        """The budget holds."""
        if not self.measured:
            return False
        if self.budget.by == "exact":
            return self.judged == self.budget.limit
        return self.judged >= self.budget.limit if self.budget.at_least else self.judged <= self.budget.limit

    @property
    def verdict(self) -> str:
        """Whether it holds, and by how much it does or does not."""
        if not self.measured:
            return "not measured"
        if self.budget.by == "exact":
            return "held" if self.held else f"missed by {shown(self.judged - self.budget.limit, self.budget.unit)}"
        apart = abs(self.judged / self.budget.limit - 1)
        return f"held, {apart:.0%} to spare" if self.held else f"missed by {apart:.1%}"

    def as_json(self) -> dict[str, Any]:
        """The row as it is written with `--json`."""
        known: dict[str, Any] = {
            "name": self.budget.name,
            "budget": self.budget.limit,
            "at_least": self.budget.at_least,
            "unit": self.budget.unit,
            "judged_by": self.budget.by,
            "values": self.values,
            "held": self.held if self.measured else None,
            "verdict": self.verdict,
            "note": self.note,
        }
        if self.measured:
            known |= {"min": min(self.values), "median": statistics.median(self.values), "max": max(self.values)}
            known["judged"] = self.judged
        return known


class Book:
    """All rows of a run, in the order of the budgets."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self.rows = {budget.name: Row(budget) for budget in budgets}

    def add(self, name: str, *values: float) -> None:
        """Add what was measured: a round's value, or samples."""
        self.rows[name].values.extend(values)

    def note(self, name: str, text: str) -> None:
        """Say what belongs to a row's numbers; the latest counts."""
        self.rows[name].note = text

    def without(self, names: Sequence[str], why: str) -> None:
        """Note why rows have no values, or fewer than they should."""
        for name in names:
            row = self.rows[name]
            row.note = f"{why} (after {len(row.values)} values)" if row.measured else why

    @property
    def unmeasured(self) -> list[str]:
        """The rows without a value."""
        return [name for name, row in self.rows.items() if not row.measured]

    @property
    def missed(self) -> list[str]:
        """The measured rows whose budget does not hold."""
        return [name for name, row in self.rows.items() if row.measured and not row.held]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def shown(value: float, unit: str) -> str:
    """A number with its unit, for people."""
    number = f"{value:,.{DECIMALS.get(unit, 2)}f}"
    return f"{number}{unit}" if unit in ("×", "%") else f"{number} {unit}"
