"""How fast a platform is asked, by place.

Invariant: between two requests for one place, of this process, are as many seconds as the platform wants; places do not
wait for each other. Whatever other processes send is the platform's to refuse: its `Retry-After` is kept.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

PLACES: Final = 10_000
"""Places that are known; then those that may be asked again are forgotten."""


class Pace:
    """One request per `every` seconds for each place, `burst` at once after a quiet time."""

    def __init__(self, every: float, burst: int = 1) -> None:
        """Let one through every so many seconds."""
        self._every = every
        self._burst = burst
        self._next: dict[str, float] = {}

    async def wait(self, place: str) -> None:
        """Wait for the place's turn."""
        now = time.monotonic()
        if len(self._next) >= PLACES:
            self._next = {place: at for place, at in self._next.items() if at > now}
        ideal = max(self._next.get(place, 0.0), now - self._every * (self._burst - 1))
        self._next[place] = ideal + self._every
        if ideal > now:
            await asyncio.sleep(ideal - now)

    def hold(self, place: str, after: float) -> None:
        """Let nothing through for so many seconds: the platform asked for that."""
        self._next[place] = max(self._next.get(place, 0.0), time.monotonic() + after + self._every * (self._burst - 1))
