"""Trouble of the account: seen once, whoever runs into it.

Invariant: a worker raises one alarm when a model's answers stop for want of a key, a bill or the model itself, and says
when they come again. What is refused while others are answered is no trouble of the account's: an event that is refused
so again and again is to blame itself, and must not hold its session for a day.
"""

from __future__ import annotations

import dataclasses
import logging
import time

from inturn_activities import failures
from inturn_activities.failures import Failure
from inturn_activities.telemetry.meters import count_account_trouble

logger = logging.getLogger("inturn.worker")


class AccountWatch:
    """What one worker knows of its models' answers."""

    def __init__(self) -> None:
        """Begin without trouble."""
        self._answered: dict[str, float] = {}
        self._troubled: set[str] = set()

    def answered(self, model: str) -> None:
        """Note an answer."""
        self._answered[model] = time.monotonic()
        if model in self._troubled:
            self._troubled.discard(model)
            logger.warning("model %s answers again", model)

    def judged(self, model: str, failure: Failure) -> Failure:
        """Return the failure as it is to be counted, and raise the alarm where it is the first of its kind."""
        if failure.kind != "account":
            return failure
        count_account_trouble(model)
        if model not in self._troubled:
            self._troubled.add(model)
            logger.error(
                "model %s gives no answers until somebody mends the account or the configuration: %s. "
                "No event is lost: it is tried again every %g s",
                model,
                failure.message,
                failures.ACCOUNT_PROBE,
                extra={"quotes": True},  # the provider, and it perhaps the request: no worker with keys shows that
            )
        since = time.monotonic() - self._answered.get(model, float("-inf"))
        return dataclasses.replace(failure, kind="refused") if since <= failures.ACCOUNT_PROBE else failure
