"""The one place that says whose fault a failure is, and whether and when to try again.

Invariant: three classes and no more. `own` failures are final at once, `unknown` ones after a few attempts, outages
after an hour's patience; nothing else in the project decides about retries, and the SDK's own are off.
"""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import anthropic
import httpx2
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names
from inturn.errors import JournalUnavailable
from inturn.journal import Attempts, FailureClass, JournalBehind
from inturn.turns import call_results
from inturn.turns.call_results import MAX_MESSAGE, text_of

UNKNOWN_ATTEMPTS: Final = 3
LONGEST_DELAY: Final = 60.0
"""Seconds between two attempts in an outage, at most: it is noticed within a minute when it ends."""
LONGEST_MESSAGE: Final = 2_000
"""Characters of any failure that leaves a step: one that is too large never arrives, and the step is tried for ever."""

_OUTAGE_TYPES: Final = frozenset({"rate_limit_error", "overloaded_error", "api_error", "timeout_error"})
_OUTAGE_STATUS: Final = frozenset({408, 409, 429})


class OwnFailure(Exception):
    """The event's, the tool's or the configuration's fault: repeating cannot help."""


class BrokenStream(Exception):
    """The model's stream ended without its terminal event: nothing of it counts."""


class Stalled(Exception):
    """The model's stream gave no sign of life for too long."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, judged.

    Attributes:
        retry_after: Seconds the other side asked to wait, where it did.
    """

    kind: FailureClass
    message: str
    retry_after: float | None = None


def classify(error: BaseException) -> Failure:
    """Judge a failure."""
    message = describe(error)
    if isinstance(error, anthropic.APIStatusError):
        return Failure(_status_class(error), message, _retry_after(error.response.headers))
    if isinstance(error, OwnFailure):
        return Failure("own", str(error)[:MAX_MESSAGE])
    outages = (anthropic.APIConnectionError, httpx2.TransportError, BrokenStream, Stalled, JournalUnavailable)
    return Failure("outage" if isinstance(error, outages) else "unknown", message)


def verdict(failure: Failure, attempts: Attempts, *, patience: float, now: float | None = None) -> ApplicationError:
    """Return the error that makes Temporal do what the failure's class asks for.

    Args:
        failure: What went wrong now.
        attempts: All failed attempts of the step, this one included.
        patience: Seconds an outage may last.
        now: Seconds since 1970.
    """
    count = attempts.counts.get(failure.kind, 1)
    if failure.kind == "own":
        return final(names.OWN_FAILURE, failure.message)
    if failure.kind == "unknown":
        if count >= UNKNOWN_ATTEMPTS:
            return final(names.UNKNOWN_FAILURE, f"{failure.message} ({count} attempts)")
        return again(names.UNKNOWN_FAILURE, failure.message, after=backoff(count))
    now = time.time() if now is None else now
    lasted = now - attempts.since.get("outage", now)
    if lasted >= patience:
        return final(names.OUTAGE, f"{failure.message} ({count} attempts in {lasted:.0f} s)")
    # At least once a minute, whatever the other side asks: its advice is about load, and one probe is none.
    after = backoff(count) if failure.retry_after is None else failure.retry_after
    return again(names.OUTAGE, failure.message, after=min(after, LONGEST_DELAY))


def final(kind: str, message: str) -> ApplicationError:
    """Return the error that ends the step."""
    return ApplicationError(message[:LONGEST_MESSAGE], type=kind, non_retryable=True)


def again(kind: str, message: str, *, after: float, benign: bool = False) -> ApplicationError:
    """Return the error that brings another attempt after some seconds (the server rounds up to about one)."""
    category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
    delay = timedelta(seconds=max(after, 0.0))
    return ApplicationError(message[:LONGEST_MESSAGE], type=kind, next_retry_delay=delay, category=category)


def journal_away(error: JournalUnavailable, attempt: int) -> ApplicationError:
    """Return the error of a journal that does not answer: tried again for ever."""
    return again(names.OUTAGE, describe(error), after=min(backoff(attempt), 15.0))


def journal_behind(error: JournalBehind, attempt: int) -> ApplicationError:
    """Return the error of a journal that is not the session's: tried again for ever, and nobody's fault."""
    return again(names.JOURNAL_BEHIND, str(error), after=min(backoff(attempt), 15.0), benign=True)


def backoff(count: int) -> float:
    """Return the seconds before attempt `count` + 1 where nobody advises: 1, 2, 4 … 60, spread by a quarter."""
    return min(2.0 ** min(count - 1, 10), LONGEST_DELAY) * random.uniform(0.75, 1.0)


def describe(error: BaseException) -> str:
    """Return what happened in one bounded line."""
    if not isinstance(error, anthropic.APIStatusError):
        return call_results.describe(error)
    text = " ".join(text_of(error).split()) or "no message"
    text = f"{error.status_code} {error.type or ''}: {error.api_message or text}"
    if error.request_id:
        text = f"{text[:MAX_MESSAGE]} (request {error.request_id})"
    return text[: MAX_MESSAGE + 100]


def _status_class(error: anthropic.APIStatusError) -> FailureClass:
    advice = error.response.headers.get("x-should-retry")
    if isinstance(error, anthropic.EnforcedSpendLimitReachedError) or advice == "false":
        return "own"  # checked first: a spent limit is a RateLimitError too, and it does not pass by waiting
    passing = error.status_code in _OUTAGE_STATUS or error.status_code >= 500 or error.type in _OUTAGE_TYPES
    return "outage" if passing or advice == "true" else "own"


def _retry_after(headers: httpx2.Headers) -> float | None:
    milliseconds = headers.get("retry-after-ms")
    seconds = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(float(milliseconds) / 1000, 0.0)
        return None if seconds is None else max(float(seconds), 0.0)
    except ValueError:
        date = email.utils.parsedate_tz(seconds or "")
        return None if date is None else max(email.utils.mktime_tz(date) - time.time(), 0.0)
