"""How an attempt of a model step ends that leaves no answer: what it cost is kept, and whose fault it is decided.

Invariant: every attempt is counted or gave its claim back; one that took all the time a step has is counted, too, or a
step that never fits would be paid again for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.journal import FailureClass, Journal
from inturn.keys import StepKey
from inturn_activities import failures, heartbeat
from inturn_activities.bounds import Bounds
from inturn_activities.commit import committed
from inturn_activities.failures import Failure, OwnFailure
from inturn_activities.live.pen import Pen
from inturn_activities.model.usage import Meter
from inturn_activities.telemetry.meters import count_retry

_RELEASE_PATIENCE: Final = 3.0
"""Seconds; whoever cancelled the step waits for its end."""
_MARGIN: Final = 15.0
"""Seconds before Temporal's own timeout at which an attempt ends itself: enough to say so."""
_SHORTEST: Final = 60.0
"""Seconds of a step's timeout below which Temporal alone ends its attempts."""


class Overtime(Exception):
    """The attempt took all the time that a step has."""


@dataclass
class Lease:
    """A claim of a model step that is held."""

    journal: Journal
    step: StepKey
    token: str
    bounds: Bounds
    meter: Meter
    pen: Pen | None = None
    reserved: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Seconds until the attempt has to end; `None` where Temporal ends it."""
        timeout = activity.info().start_to_close_timeout
        if timeout is None or timeout.total_seconds() < _SHORTEST:
            return None
        return max(timeout.total_seconds() - _MARGIN - (time.monotonic() - self.began), 0.0)

    @property
    def _paid(self) -> dict[str, Any]:
        """What it paid, where money was set aside for it."""
        return {"paid": self.meter.paid} if self.reserved else {}

    async def failed(self, failure: Failure) -> ApplicationError:
        """Count a failed attempt; return what Temporal is to do."""
        attempts = await self.journal.fail(
            self.step, self.token, failure.kind, place=failure.place, usage=self.meter.unwritten, **self._paid
        )
        verdict = failures.verdict(failure, attempts, patience=self.bounds.outage_patience)
        if not verdict.non_retryable:
            count_retry("model", failure.kind)
        return verdict

    async def overran(self) -> ApplicationError:
        """Count an attempt that ended itself, out of time."""
        attempts = await self.journal.fail(self.step, self.token, "overtime", usage=self.meter.unwritten, **self._paid)
        count_retry("model", "overtime")
        if attempts.counts["overtime"] >= self.bounds.overtimes:
            return failures.final(names.UNKNOWN_FAILURE, _overtime(attempts.counts["overtime"]))
        return failures.again(names.OUTAGE, "the answer took longer than a step may", after=failures.backoff(1))

    async def superseded(self) -> None:
        """Say what an attempt paid that another one has taken over from, where money was set aside for it."""
        if self.reserved:
            with contextlib.suppress(Exception):  # then all of that is spent
                await self.journal.release(self.step, self.token, **self._paid)

    async def stopped(self) -> None:
        """Give the claim back, or count the attempt where it was Temporal that ended it, out of time."""
        details, beating = activity.cancellation_details(), heartbeat.current()
        stood_still = beating is not None and beating.stood_still
        used: dict[str, Any] = self._paid | ({"usage": usage} if (usage := self.meter.unwritten) else {})
        with contextlib.suppress(Exception):  # it ended here: the next attempt need not count it as lost
            if details is not None and details.timed_out:
                # One that stood still (a machine asleep, a blocked loop) was taken for dead, and did not take long.
                kind: FailureClass = "lost" if stood_still else "overtime"
                fail = self.journal.fail
                await committed(lambda: fail(self.step, self.token, kind, **used), patience=_RELEASE_PATIENCE)
            else:
                release = self.journal.release
                used |= {"said": said} if self.pen and (said := self.pen.said) else {}
                await committed(lambda: release(self.step, self.token, **used), patience=_RELEASE_PATIENCE)


def check_attempts(counts: Mapping[FailureClass, int], bounds: Bounds) -> None:
    """Refuse a step that ended too many attempts so that none of them could say why.

    Raises:
        OwnFailure: It did.
    """
    if (lost := counts.get("lost", 0)) >= bounds.losses:
        raise OwnFailure(f"it crashed its worker {lost} times: this step may end the process that runs it")
    if (overtimes := counts.get("overtime", 0)) >= bounds.overtimes:
        raise OwnFailure(_overtime(overtimes))


@contextlib.asynccontextmanager
async def within(left: float | None) -> AsyncGenerator[None]:
    """Run the block for at most so many seconds.

    Raises:
        Overtime: It took longer.
    """
    bound = asyncio.timeout(left)
    try:
        async with bound:
            yield
    except TimeoutError as error:
        if bound.expired():
            raise Overtime from error
        raise


def _overtime(count: int) -> str:
    return f"the answer took longer than a step may, {count} times"
