"""The claims that the running steps of a worker hold.

Invariant: they are renewed on a clock of their own, all by one transaction, whatever the heartbeats do; an attempt
whose claim went to somebody else is cancelled, and ends as `Superseded`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, Superseded
from inturn.keys import StepKey

RENEWAL: Final = 1.5
"""Seconds between two renewals: of a lease's 7 three may be lost, and a call whose worker died waits for no longer."""
PATIENCE: Final = 2 / 3
"""Of that time a renewal may take; then the next one follows."""


@dataclass(eq=False, slots=True)
class _Held:
    """A claim, and the task that works under it."""

    step: StepKey
    token: str
    owner: asyncio.Task[Any]
    until: float
    lost: bool = False


class Leases:
    """Keeps claims. Costs a timer while there are any, and no task until a renewal is due."""

    def __init__(self, journal: Journal, *, lease: float) -> None:
        """Hold claims for `lease` seconds each time."""
        self._journal = journal
        self._lease = lease
        self._every = min(RENEWAL, lease / 4)
        self._held: set[_Held] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def held(self, step: StepKey, token: str, *, during: float = math.inf) -> AsyncGenerator[None]:
        """Hold a claim while the block runs, but not beyond so many seconds.

        Raises:
            Superseded: The claim went to somebody else while the block ran.
        """
        owner = asyncio.current_task()
        assert owner is not None
        held = _Held(step, token, owner, time.monotonic() + during)
        self._held.add(held)
        if self._timer is None:
            self._wind()
        try:
            yield
        except asyncio.CancelledError as error:
            if held.lost and owner.uncancel() == 0:  # else somebody cancelled the step as well, and that wins
                raise Superseded from error
            raise
        finally:
            self._held.discard(held)

    def _wind(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._held:
            self._wind()
            self._renewing = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        now = time.monotonic()
        due = {(held.step, held.token): held for held in self._held if now <= held.until}
        if not due:
            return
        try:
            async with asyncio.timeout(self._every * PATIENCE):
                lost = await self._journal.renew_all(list(due), lease=self._lease)
        except (JournalUnavailable, TimeoutError):
            return  # the next one follows; whoever wants to take over needs the journal as well
        for claim in lost:
            held = due[claim]
            if held in self._held and not held.lost:
                held.lost = True
                held.owner.cancel()
