"""The sign of life of a running step.

Invariant: while a step's body runs, Temporal hears of it every half second and the ledger's lease is renewed in time;
an attempt whose claim went to somebody else is cancelled, and ends as `Superseded`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from temporalio import activity

from inturn.errors import JournalUnavailable
from inturn.journal import Superseded
from inturn.journal.log import codec
from inturn_activities.limits.stuck import Watch

RENEWALS_PER_LEASE: Final = 3
"""Two may be lost before a lease runs out."""

T = TypeVar("T")
Renew = Callable[[], Awaitable[bool]]


class Heartbeat:
    """`async with Heartbeat(…)`: beats until the block ends. Costs a timer, and no task until a renewal is due."""

    def __init__(self, renew: Renew, *, every: float, lease: float, watch: Watch | None = None) -> None:
        """Beat `every` so many seconds, renew a lease of so many, and look whether the step is stuck."""
        self._renew = renew
        self._watch = watch
        self._every = every
        self._beats_per_renewal = max(1, round(lease / RENEWALS_PER_LEASE / every))
        self._beats = 0
        self._lost = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stood_still(self) -> bool:
        """Whether this process ever stood still for so long that Temporal took it for dead."""
        longest = max(self._gap, self._loop.time() - self._last)
        timeout = activity.info().heartbeat_timeout
        return timeout is not None and longest >= timeout.total_seconds()

    async def __aenter__(self) -> Self:
        """Start beating."""
        self._owner = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._last, self._gap = self._loop.time(), 0.0
        self._timer = self._loop.call_later(self._every, self._beat)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop beating.

        Raises:
            Superseded: The claim went to somebody else while the block ran.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._lost and self._owner is not None and isinstance(error, asyncio.CancelledError):
            if self._owner.uncancel() == 0:  # else somebody cancelled the step as well, and that wins
                raise Superseded from error

    def _beat(self) -> None:
        now = self._loop.time()
        self._last, self._gap = now, max(self._gap, now - self._last)
        if self._watch is not None and self._watch.waiting:
            activity.heartbeat(codec.whole(self._watch.waiting))
        else:
            activity.heartbeat()
        self._beats += 1
        if self._watch is not None:
            self._watch.look()
        self._timer = self._loop.call_later(self._every, self._beat)
        if self._beats % self._beats_per_renewal == 0 and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._keep())

    async def _keep(self) -> None:
        try:
            held = await self._renew()
        except JournalUnavailable:
            return  # the next beat tries again; whoever wants to take over needs the journal as well
        if not held and not self._lost:
            self._lost = True
            if self._owner is not None:
                self._owner.cancel()


async def beating(work: Coroutine[Any, Any, T], *, every: float) -> T:
    """Run work that may take a while with heartbeats, and return its result."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=every))[0]:
            activity.heartbeat()
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()


async def beat_for(seconds: float, *, every: float) -> None:
    """Wait, with heartbeats."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        activity.heartbeat()
        await asyncio.sleep(min(left, every))
