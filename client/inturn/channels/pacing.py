"""How fast a platform is asked, by place.

Invariant: between two requests for one place, of this process, are as many seconds as the platform wants; places do not
wait for each other. Whatever other processes send is the platform's to refuse: its `Retry-After` is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from inturn.channels.failures import Refusal
from inturn.errors import Retry

TOO_MANY: Final = 429
LONGEST: Final = 10.0
"""Seconds that are waited in place; for longer ones another attempt comes."""
PLACES: Final = 10_000
"""Places that are known; then those that may be asked again are forgotten."""


class Pace:
    """One request per `every` seconds for each place, `burst` at once after a quiet time."""

    def __init__(
        self,
        every: float,
        burst: int = 1,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Let one through every so many seconds, by a clock."""
        self._clock = clock
        self._sleep = sleep
        self._every = every
        self._burst = burst
        self._next: dict[str, float] = {}

    async def wait(self, place: str) -> None:
        """Wait for the place's turn.

        Raises:
            Retry: It is too long to wait here for it.
        """
        now = self._clock()
        if (left := self._next.get(place, 0.0) - now) > LONGEST:
            raise Retry("the platform asked to wait, or others wait before", after=left)
        if len(self._next) >= PLACES:
            self._next = {place: at for place, at in self._next.items() if at > now}
        ideal = max(self._next.get(place, 0.0), now - self._every * (self._burst - 1))
        self._next[place] = ideal + self._every
        if ideal > now:
            await self._sleep(ideal - now)

    @contextmanager
    def heeded(self, place: str) -> Iterator[None]:
        """Let nothing through for as long as the platform asks for, where it refuses what is done within."""
        try:
            yield
        except Refusal as refusal:
            if refusal.status_code == TOO_MANY:
                self._next[place] = max(self._next.get(place, 0.0), self._clock() + (refusal.after or 1.0))
            raise
