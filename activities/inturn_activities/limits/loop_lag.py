"""Whether the event loop is late: it has more to do than it gets done, or its machine has.

Invariant: it looks only for as long as somebody wants to know, so an idle worker has no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

EVERY: Final = 0.05
"""Seconds between two looks."""
LATE: Final = 0.0025
"""Seconds after which what was due is late. A loop with time to spare is at it in two thirds of a millisecond, and in
two once in a hundred times; one that shares its cores with as much work as they do needs three to five."""
WATCHED: Final = 2.0
"""Seconds for which it goes on looking for whoever asked."""


class LoopLag:
    """Tells with each look whether the running loop was late."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        """Begin without looking."""
        self._tell = tell
        self._until = 0.0
        self._looking = False

    def watch(self) -> bool:
        """Look from now on, for a while; return whether it did not look before."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + WATCHED
        if self._looking:
            return False
        self._looking = True
        self._look_again(loop)
        return True

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + EVERY
        loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._tell(now - due > LATE)
        self._looking = now < self._until
        if self._looking:
            self._look_again(loop)
