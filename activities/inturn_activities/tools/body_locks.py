"""Locks that a running body takes: `ctx.lock`.

Invariant: such a call holds what it has and waits in place, so it may be part of a circle of calls that wait for one
another. Every waiter looks for one, breaks it, and is told when it is the one that has to give way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from typing import Final

from inturn.errors import JournalUnavailable, ToolError
from inturn.journal import Journal, ResourceWait, Want
from inturn.keys import StepKey
from inturn_activities.bounds import Bounds
from inturn_activities.commit import before_cancelled
from inturn_activities.limits.limits import Limits, lock
from inturn_activities.limits.stuck import note_progress, report_waiting
from inturn_activities.limits.waits import SEEN
from inturn_activities.telemetry.meters import count_stuck

LOOK: Final = 1.0
"""Seconds between two looks for a circle; it has to be found within 5."""

logger = logging.getLogger("inturn.worker")


class BodyLocks:
    """The locks of one call's body, under its claim."""

    def __init__(self, journal: Journal, step: StepKey, token: str, bounds: Bounds, limits: Limits) -> None:
        """Take locks for a call, as long as the token is its claim's."""
        self._journal = journal
        self._step = step
        self._token = token
        self._bounds = bounds
        self._limits = limits
        self._parts = itertools.count(1)

    async def acquire(self, name: str, *, read: bool) -> tuple[str, int]:
        """Wait for a lock; see `inturn.tools.locks.Locks`.

        Raises:
            Superseded: The claim went to somebody else.
        """
        part = f"{self._token}.{next(self._parts)}"  # no other attempt can give it back
        want = lock(self._step.session.tenant, name, read=read)
        try:
            return part, await self._wait(part, want)
        except BaseException:
            await self.release(part)
            raise

    async def release(self, part: str) -> None:
        """Release a lock, or the ticket for it."""
        with contextlib.suppress(JournalUnavailable):  # it goes with the call's end, or its lease
            await before_cancelled(self._journal.leave(self._step, part=part))

    async def _wait(self, part: str, want: Want) -> int:
        while True:
            try:
                found = await self._journal.lock(self._step, self._token, want, part=part, lease=self._bounds.lease)
                if isinstance(found, int):
                    note_progress()
                    return found
                self._judge(found)
                report_waiting(self._step, found, every=self._limits.stuck_after)
                await self._wait_in_place(part, want)
            except JournalUnavailable:  # the tool's timeout ends it
                await asyncio.sleep(self._bounds.beat)

    async def _wait_in_place(self, part: str, want: Want) -> None:
        """Wait until it may be free, or it is time to say that this call still waits."""
        seen = looked = time.monotonic()
        while time.monotonic() - seen < SEEN:
            await asyncio.sleep(self._bounds.poll)
            waiting = await self._journal.lacks(self._step, [want], part=part)
            if waiting is None:
                return
            self._judge(waiting)
            if time.monotonic() - looked >= LOOK:
                looked = time.monotonic()
                await self._break_deadlock()

    def _judge(self, waiting: ResourceWait) -> None:
        if waiting.deadlock_victim:
            raise ToolError(f"This call was ended to break a {waiting.deadlock_victim}")
        if waiting.waited >= self._limits.lock_timeout:
            raise ToolError(f"{waiting}: gave up after {waiting.waited:.0f} s")
        note_progress(str(waiting))  # it is reported as a waiter

    async def _break_deadlock(self) -> None:
        found = await self._journal.break_deadlock(self._step, self._limits.victim)
        if found is not None:
            logger.error("%s. Ended to break it: %s", found.text, found.victim or "nobody, it is only reported")
            count_stuck("deadlock")
