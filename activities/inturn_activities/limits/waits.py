"""Waiting for locks, permits and rates before a step is claimed.

Invariant: who waits in place holds one of the worker's slots, so only the next few of a resource do, and not for long;
all others leave at once and come back when it may be their turn, which costs no history. A waiter that is cancelled
leaves no ticket that others would wait behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from temporalio import activity

from inturn import names
from inturn.errors import JournalUnavailable
from inturn.journal import AnswerLost, Claim, Journal, ResourceWait, Want
from inturn.journal.retries import retry_while_unavailable
from inturn.keys import StepKey
from inturn_activities import failures, heartbeat
from inturn_activities.bounds import Bounds
from inturn_activities.commit import uncancelled
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.stuck import report_waiting

SEEN: Final = 5.0
"""Seconds after which a waiter in place says that it is still there; the journal passes over who is silent for 15."""
SOON: Final = 1.0
LATER: Final = 2.0
"""Seconds after which waiters come back: those near the front soon. The server's timers are no finer than about one."""
NEAR: Final = 2
LONGEST: Final = 60.0
LONGEST_LOCKED: Final = 10.0
"""Seconds after which they come back whatever is expected; who is to keep its place for a lock is seen before that is
over. A thousand that came back every two seconds would do nothing else to a machine, and to all who share it."""


class WaitedTooLong(Exception):
    """A call waited for a lock for longer than the limits allow; the message is for the model."""


class Waits:
    """Claims steps as soon as what they want is free."""

    def __init__(self, journal: Journal, bounds: Bounds, limits: Limits) -> None:
        """Wait by these bounds and limits."""
        self._journal = journal
        self._bounds = bounds
        self.limits = limits

    async def claim(
        self, step: StepKey, wants: Sequence[Want], claim: Callable[[], Awaitable[Claim]], *, within: float
    ) -> Claim:
        """Claim a step with what it wants, waiting in place for at most `within` seconds where it is among the next.

        `claim` uses one token: it is tried again where its answer was lost, and only its own attempt can do that.

        Raises:
            ApplicationError: It has to come back later.
            WaitedTooLong: It waited for a lock until the limits' timeout.
        """
        try:
            return await self._claim(step, wants, claim, time.monotonic() + within)
        except asyncio.CancelledError:
            if wants:
                await self._leave(step)
            raise

    async def _claim(
        self, step: StepKey, wants: Sequence[Want], claim: Callable[[], Awaitable[Claim]], end: float
    ) -> Claim:
        while True:
            claimed = await self._answered(claim, end)
            waiting = claimed.waiting
            if waiting is None:
                heartbeat.waits_for("")
                return claimed
            await self._judge(step, waiting)
            left = end - time.monotonic()
            if left <= 0 or not waiting.in_place:
                raise failures.again(names.NOT_YET, str(waiting), after=_delay(waiting), benign=True)
            await self._wait_in_place(step, wants, min(left, SEEN), waiting)

    async def _answered(self, claim: Callable[[], Awaitable[Claim]], end: float) -> Claim:
        """Return the answer to a claim, which is tried again for as long as it may take once it may be committed."""
        lost = False

        async def tried() -> Claim:
            nonlocal lost
            try:
                return await claim()
            except AnswerLost:
                lost = True
                raise

        try:
            return await retry_while_unavailable(tried, patience=self._bounds.claim_patience)
        except JournalUnavailable:
            if not lost:
                raise
            return await retry_while_unavailable(claim, patience=end - time.monotonic())

    async def _judge(self, step: StepKey, waiting: ResourceWait) -> None:
        report_waiting(step, waiting, every=self.limits.stuck_after)
        if waiting.is_lock and waiting.waited >= self.limits.lock_timeout:
            await self._journal.leave(step)
            raise WaitedTooLong(f"The call did not run: {waiting}. It gave up after {waiting.waited:.0f} s.")

    async def _wait_in_place(self, step: StepKey, wants: Sequence[Want], seconds: float, waiting: ResourceWait) -> None:
        """Wait until it may be free, for at most so many seconds."""
        heartbeat.waits_for(str(waiting))
        end, lacking = time.monotonic() + seconds, waiting
        while time.monotonic() < end:
            await asyncio.sleep(self._bounds.poll * (1 + lacking.ahead))  # those in front look more often
            try:
                found = await self._journal.lacks(step, wants)
            except JournalUnavailable:
                return  # the claim says so
            if found is None:
                return
            lacking = found

    async def _leave(self, step: StepKey) -> None:
        details = activity.cancellation_details()
        if details is None or not details.cancel_requested:
            return  # another attempt follows, or waits already, under the same number: the ticket is that one's
        with contextlib.suppress(Exception):  # else the ticket counts for some seconds more
            await uncancelled(self._journal.leave(step))


def _delay(waiting: ResourceWait) -> float:
    if waiting.in_place or (waiting.is_lock and waiting.ahead <= NEAR):
        return SOON
    longest = LONGEST_LOCKED if waiting.is_lock else LONGEST
    return random.uniform(SOON, LATER) * max(min(waiting.expected, longest) / LATER, 1.0)
