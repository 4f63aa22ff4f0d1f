"""Spaces the turns of backlogged sessions, to leave room for others.

Invariant: who waits here has no claim, lock or permit yet, and waits only while sessions without a long queue are at
work in the same process. A turn that took longer than the wait, as with most models, is followed at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from inturn.keys import SessionKey

LATELY: Final = 1.0
"""Seconds for which a session that began a turn counts as at work."""
REMEMBERED: Final = 1_000
"""Backlogged sessions; a forgotten one begins its next turn at once."""


class TurnPacing:
    """Spaces the turns of backlogged sessions."""

    def __init__(
        self,
        every: float,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a backlogged session's turns `every` so many seconds while others are at work, and `wait` till then."""
        self._every = every
        self._wait = wait
        self._clock = clock
        self._latest: tuple[SessionKey | None, float] = (None, 0.0)
        """The latest session that is not backlogged, and when its turn began."""
        self._began: OrderedDict[SessionKey, float] = OrderedDict()

    async def begin(self, session: SessionKey, *, backlogged: bool) -> None:
        """Wait until a session may begin a turn; one that is not backlogged may at once."""
        now = self._clock()
        if not backlogged:
            self._latest = (session, now)
            return
        left = self._began.get(session, now - self._every) + self._every - now
        if left > 0 and self._others_at_work(session, now):
            await self._wait(left)
        self._began[session] = self._clock()
        self._began.move_to_end(session)
        if len(self._began) > REMEMBERED:
            self._began.popitem(last=False)

    def _others_at_work(self, session: SessionKey, now: float) -> bool:
        latest, began = self._latest
        return latest not in (None, session) and now - began < LATELY
