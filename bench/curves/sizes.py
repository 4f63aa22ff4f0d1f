"""How large the curves' parts are, and how long each may take.

Invariant: a size stands here once; a small run differs from a full one in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """What every part measures at."""

    turns: tuple[int, ...] = (1, 10, 100, 1_000)
    """Turns of one session, before or at what is measured."""
    window: int = 20
    """Turns that are measured from each of them on, by each way to send."""
    sessions: tuple[int, ...] = (1, 10, 100, 1_000)
    """Open at once."""
    warm_up: int = 60
    """Sessions before the first look at the memory: the allocator's first arenas are nobody's."""
    asks: int = 320
    """Spread over the open sessions, or one for each where there are more."""
    depths: tuple[int, ...] = (1, 10, 100, 1_000, 2_000)
    """Events that wait in a session: 2,000 are the most that a policy may allow."""
    worked_off: int = 200
    """Of them, at most: enough to see what a turn costs at that depth."""
    pure_depths: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    """Events that wait in an inbox without a session around it."""
    workers: tuple[int, ...] = (1, 2, 4)
    """Processes."""
    busy: int = 50
    """Sessions that keep them busy."""
    each: int = 6
    """Turns of each of these."""
    starts: int = 3
    """Fresh workers for every age of a session."""
    paid: tuple[int, ...] = (1, 10, 30, 100, 300)
    """Turns of a session that is paid for."""


FULL: Final = Sizes()
QUICK: Final = Sizes(
    turns=(1, 10),
    window=2,
    sessions=(1, 10),
    warm_up=2,
    asks=10,
    depths=(1, 10),
    pure_depths=(1, 10),
    workers=(1, 2),
    busy=4,
    each=2,
    starts=1,
    paid=(1, 10),
)

BOUNDS: Final = {"turns": 90, "sessions": 130, "queue": 100, "workers": 60, "cold": 100, "costs": 60}
"""Seconds that each part may take: nine minutes together."""
