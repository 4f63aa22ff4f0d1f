"""How large the measurements are.

Invariant: a size stands here once; a quick run differs from a full one in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured at which size."""

    turns: int = 200
    """Of a session that grows old."""
    points: tuple[int, ...] = (1, 10, 25, 50, 75, 100, 125, 150, 175, 200)
    """Its turns at which the history is measured."""
    early: tuple[int, int] = (5, 24)
    """First and last of the turns around the tenth, which are timed."""
    window: int = 20
    """The last turns, which are timed too."""
    sessions: int = 2
    """That grow old beside each other."""
    flood: int = 200
    """Events sent at once while the session continues as new again and again."""
    limit: int = 60
    """Events of a run then."""
    patience: float = 10.0
    """Seconds after which an event that has no answer is stuck."""


FULL: Final = Sizes()
QUICK: Final = Sizes(turns=24, points=(1, 10, 24), early=(5, 14), window=10, sessions=1, flood=30, patience=6.0)

BOUND: Final = 300
"""Seconds that all of it may take: less than four minutes on two cores that have nothing else to do."""
