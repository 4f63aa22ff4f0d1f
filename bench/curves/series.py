"""A curve: what was measured at some sizes, as it stands in tables, in JSON and in plots.

Invariant: a point is what was measured at exactly that size; nothing is interpolated, and `from_json(as_json())` is the
same curve.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a curve; its points are (size, value)."""

    name: str
    points: list[tuple[float, float]]

    def at(self, x: float) -> float | None:
        """The value at a size, `None` where it was not measured."""
        return dict(self.points).get(x)


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines over the same sizes, with one unit.

    `x` and `y` read after a number: "1,000 sessions open", "12.5 ms".
    """

    key: str
    title: str
    x: str
    y: str
    series: list[Series]
    log_x: bool = True
    note: str = ""

    @property
    def sizes(self) -> list[float]:
        """Every size that some line has, in order."""
        return sorted({x for line in self.series for x, _ in line.points})

    def as_json(self) -> dict[str, Any]:
        """The curve as it is written with `--json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Curve:
        """Read what `as_json` gave."""
        lines = [Series(line["name"], [(x, y) for x, y in line["points"]]) for line in found["series"]]
        return cls(**{**found, "series": lines})


@dataclass(slots=True)
class Curves:
    """The curves of a run, why some parts have none, and the rows of the ways beside inturn."""

    drawn: list[Curve]
    without: dict[str, str]
    beside: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def number(value: float) -> str:
    """A value for people: three digits at least, none that mean nothing."""
    size = abs(value)
    decimals = 0 if size >= 99.95 or size == int(size) else 1 if size >= 9.995 else 2
    return f"{value:,.{decimals}f}"
