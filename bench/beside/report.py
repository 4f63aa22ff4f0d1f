"""What was found, for programs, for terminals and for the documentation.

Invariant: what is said about who wins is read off the numbers, in whichever direction they point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from bench.beside import rows
from bench.beside.sizes import Sizes
from bench.beside.ways import INTURN, NAMES
from bench.curves.series import Curve, number

ABSENT: Final = "-"
ABOUT: Final = """\
Each way has a worker process of its own on the same server, with the same model and the same tool. *handler* runs the
turn inside its async signal handler; tuned, it has a lock, a guard against repeated ids, and no continue-as-new before
its handlers have finished. *conversation* queues its signals for a main loop; tuned, it has the same guard, and
continues as new with its messages and its queue. Tuned ways do not repeat what the model refuses, and give their tools
keys. All four keep the conversation in workflow state and pass it whole to every model call. Their code:
[bench/beside](../bench/beside)."""


@dataclass(slots=True)
class Beside:
    """The numbers of every way, by row, and the curves."""

    sizes: Sizes
    numbers: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    curves: list[Curve] = field(default_factory=list[Curve])

    def add(self, way: str, numbers: dict[str, float]) -> None:
        """Add numbers of one way, by the row that they belong to."""
        for row, value in numbers.items():
            self.numbers.setdefault(row, {})[way] = value

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as they are written with `--json`."""
        return [{"what": row, "unit": rows.UNITS.get(row, ""), **_rounded(self.numbers[row])} for row in self._rows()]

    def _rows(self) -> list[str]:
        return [row for row in rows.ALL if row in self.numbers]


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {way: round(value, 3) for way, value in numbers.items()}


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The report for people, out of what `as_json` gave."""
    made = Table(title="inturn beside the ways people do this today", title_justify="left")
    made.add_column("what")
    for name in NAMES:
        made.add_column(name, justify="right", no_wrap=True)
    for row in found:
        made.add_row(*cells(row))
    return made


def cells(row: dict[str, Any]) -> list[str]:
    """One row's cells: what was counted, then every way's number."""
    unit = f" ({row['unit']})" if row["unit"] else ""
    return [row["what"] + unit, *(number(row[name]) if name in row else ABSENT for name in NAMES)]


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The section of the generated page, out of what `as_json` gave."""
    head = ["what", *NAMES]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in found]
    return "\n".join([ABOUT, "", *lines, "", *(f"- {sentence}" for sentence in sentences(found))])


def sentences(found: Sequence[dict[str, Any]]) -> list[str]:
    """Say where the others win, where nobody does, and what the numbers do not show."""
    known = {row["what"]: row for row in found}
    lines = [
        _faster(known[row]) for row in (rows.EARLY_P50, rows.EARLY_CPU, rows.LATE_P50, rows.LATE_CPU) if row in known
    ]
    if rows.LINES in known:
        lines.append(_shorter(known[rows.LINES]))
    lines.append(_equal([known[row] for row in rows.COUNTED if row in known]))
    if rows.LARGE in known:
        lines.append(_full(known[rows.LARGE]))
    return lines + list(rows.NOTES)


def _faster(row: dict[str, Any]) -> str:
    ours, what = row[INTURN], row["what"][0].upper() + row["what"][1:]
    quicker = [f"{name} {number(row[name])}" for name in NAMES if name in row and row[name] < ours]
    if not quicker:
        return f"{what}: nobody is below inturn's {number(ours)} {row['unit']}."
    return f"{what}: inturn takes {number(ours)} {row['unit']}, and these take less: {', '.join(quicker)}."


def _shorter(row: dict[str, Any]) -> str:
    least = min(row[name] for name in NAMES if name != INTURN and name in row)
    most = max(row[name] for name in NAMES if name != INTURN and name in row)
    return (
        f"The others are {number(least)} to {number(most)} lines that one reads in a minute and changes at will. "
        f"inturn brings {number(row[INTURN])} lines of workflows and activities, and a journal that somebody operates."
    )


def _full(row: dict[str, Any]) -> str:
    most = max(row[name] for name in NAMES if name in row)
    ended = [f"{name} after {number(row[name])}" for name in NAMES if name in row and row[name] < most]
    if not ended:
        return f"All answer {number(most)} messages of 50,000 characters."
    return (
        "A conversation beyond 2 MiB, the server's limit for one input, is the end of a session that passes it whole: "
        f"{', '.join(ended)} of {number(most)} messages of 50,000 characters (attachments get there first)."
    )


def _equal(counted: Sequence[dict[str, Any]]) -> str:
    """Say which ways do as well as inturn in everything that can go wrong, or in how much of it."""
    parts = []
    for name in NAMES:
        if name != INTURN:
            equal = sum(row[name] <= row[INTURN] for row in counted if name in row)
            parts.append(f"{name} in {equal}")
    return f"Of the {len(counted)} rows that count mishaps, these do as well as inturn: {', '.join(parts)}."
