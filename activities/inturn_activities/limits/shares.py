"""Keeps a tenant from taking all of a busy worker's time.

Permits bound what of a tenant's runs at once, over all workers; its cost is in what it begins. So while a worker's loop
is late, there is a rate of model steps that no tenant exceeds in it: what asks for less does not notice, and what asks
for more has as much as any other that does.

Invariant: who waits here has no claim, lock or permit yet. A worker of one tenant, or one whose loop was not found late
since it last had nothing to begin, holds nobody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from inturn import names
from inturn_activities import failures
from inturn_activities.limits.loop_lag import LoopLag

MOST: Final = 100.0
"""Steps in a second that no process begins: a rate of so many is none. It is the rate at first, and after each rest."""
CUT: Final = 2.0
"""By which the rate falls when the loop is late twice within `TWICE` looks: once is chance. It falls only while it
matters: a pause of the loop's costs nobody anything who asks for little."""
TWICE: Final = 10
GROWTH: Final = 1.0025
"""By which it grows with each other look, doubling in fourteen seconds. The others notice peaks, not the mean, so it
stays near what was found to be too much for as long as the loop has work: where one look in fifty is late."""
LATELY: Final = 0.5
"""Seconds for which it matters that a tenant asked for much."""
AT_WORK: Final = 10.0
"""Seconds for which a tenant that began a step counts as at work: one that asks once a minute slows nobody down, and
finds the loop late for some looks at most."""
BURST: Final = 1.0
"""Seconds of the least rate whose steps may come at once."""
IN_PLACE: Final = 2.0
"""Seconds that a step waits here, at most. One that has to wait for longer leaves, and comes back."""
LONGEST: Final = 30.0
"""Seconds after which it does, whatever is expected. Those who come back all at once are spread anew."""
REMEMBERED: Final = 1_000
"""Tenants; a forgotten one begins its next step at once."""


@dataclass(slots=True)
class _Line:
    """A tenant's steps.

    Attributes:
        even: When the last one would begin if they began at the least rate.
        free: When the last one of those that wait begins.
        back: When the last one of those that left comes back.
    """

    even: float = 0.0
    free: float = 0.0
    back: float = 0.0


class Shares:
    """How much of a worker each tenant may have."""

    def __init__(
        self,
        spacing: float,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a tenant's steps at most `spacing` seconds apart, however busy the worker is; 0: hold nobody."""
        self._least = min(1 / spacing, MOST) if spacing else MOST
        self._rate = MOST
        self._wait = wait
        self._clock = clock
        self._lag = LoopLag(self.judge)
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._late = TWICE
        """Looks since the one that last found the loop late."""
        self._heavy = -math.inf
        """When a tenant last began more than the least rate."""
        self._latest: tuple[str, float] = ("", -math.inf)
        self._other: tuple[str, float] = ("", -math.inf)
        """The tenant that began the latest step, and the latest other one, with when they did."""

    def judge(self, late: bool) -> None:
        """Lower the rate where the loop was late again, else raise it."""
        self._late += 1
        if not late:
            self._rate = min(self._rate * GROWTH, MOST)
            return
        again, self._late = self._late < TWICE, 0
        if again and self._heavy > self._clock() - LATELY:
            self._rate = max(self._rate / CUT, self._least)

    async def begin(self, tenant: str) -> None:
        """Wait until a tenant may begin a step.

        Raises:
            ApplicationError: It has to come back later.
        """
        now = self._clock()
        if not self._others_at_work(tenant, now):
            return
        if self._lag.watch():
            self._rate = MOST  # nobody looked: what was found before is old
        line, every = self._line(tenant), 1 / self._rate
        line.even = min(max(line.even, now - BURST), now) + 1 / self._least
        if line.even > now:
            self._heavy = now
        if self._rate >= MOST:
            return
        free = max(line.free, now - BURST * self._least * every) + every
        if free > now + IN_PLACE:
            line.back = min(max(line.back, now + IN_PLACE) + every, now + LONGEST)  # else it runs away from the clock
            delay = line.back - now
            raise failures.again(names.NOT_YET, "leaving room for other tenants", after=delay, benign=True)
        line.free = free
        if free > now:
            await self._wait(free - now)

    def _others_at_work(self, tenant: str, now: float) -> bool:
        if tenant != self._latest[0]:
            self._other = self._latest
        self._latest = (tenant, now)
        return now - self._other[1] < AT_WORK

    def _line(self, tenant: str) -> _Line:
        line = self._lines.setdefault(tenant, _Line())
        self._lines.move_to_end(tenant)
        if len(self._lines) > REMEMBERED:
            self._lines.popitem(last=False)
        return line
