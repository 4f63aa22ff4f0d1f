"""A delivery as Temporal drives it: attempt after attempt, until it succeeds or fails for good."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

from tests.support.steps import StepRunner

MOST = 30


async def delivered(r: StepRunner, event_id: str = "e1", step: str = "deliver") -> int:
    """Deliver; return how many attempts that took."""
    for attempts in range(1, MOST):
        try:
            await r.deliver(event_id, step)
            return attempts
        except ApplicationError as error:
            if error.non_retryable:
                raise
    raise AssertionError("it never came through")
