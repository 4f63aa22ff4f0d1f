"""Token buckets of one process, by whoever asks.

Invariant: however many ask, so many are remembered at most.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from inturn_gateway import bounds
from inturn_gateway.problems import Problem


class Buckets:
    """A bucket for each key, all of one rate."""

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make them full.

        Args:
            rate: What flows in, a second.
            burst: What one holds.
            clock: Seconds.
        """
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, what: str, amount: int = 1) -> None:
        """Take something out; what is more than a bucket holds empties a full one.

        Raises:
            Problem: 429: there is not enough in it, with the time until there is.
        """
        wanted = min(float(amount), self._burst)
        level, now = self._level(key), self._clock()
        if level < wanted:
            raise Problem(429, f"too many {what}", kind="too_many", retry_after=(wanted - level) / self._rate)
        self._levels[key] = (level - wanted, now)

    def _level(self, key: Hashable) -> float:
        level, at = self._levels.get(key, (self._burst, 0.0))
        now = self._clock()
        level = min(self._burst, level + (now - at) * self._rate)
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        while len(self._levels) > bounds.BUCKETS:
            self._levels.popitem(last=False)
        return level
