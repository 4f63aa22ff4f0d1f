"""The one place that says whose fault a failure is, and whether and when to try again.

Invariant: four classes and no more. `own` failures are final at once, `unknown` ones after a few attempts, outages
after an hour's patience; trouble of the account is no event's fault, and is waited out for a day. Nothing else in the
project decides about retries. A model says whose fault a failure is by `ModelError`; no provider is known here.
"""

from __future__ import annotations

import math
import random
import traceback
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, get_args

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names, sizes
from inturn.errors import Fault, JournalUnavailable, ModelError
from inturn.journal import Attempts, FailureClass, JournalBehind
from inturn.journal.log import codec
from inturn.tools.secrets import redact
from inturn.turns import call_results
from inturn.turns.budget import UNKNOWN_ATTEMPTS
from inturn.turns.call_results import MAX_MESSAGE, text_of
from inturn.turns.room.summaries import NoSummary

LONGEST_DELAY: Final = 60.0
"""Seconds between two attempts in an outage, at most: it is noticed within a minute when it ends."""
ACCOUNT_PROBE = 60.0
"""Seconds between two attempts while the account is in trouble: a person mends it, and then it goes on by itself."""
ACCOUNT_PATIENCE: Final = 24 * 3600.0
"""Seconds that such trouble may last until it costs the event its turn."""
BROKEN_ATTEMPTS: Final = 5
"""So many answers in a row that break off at one place: it is that place, and not the way there."""
REFUSALS: Final = 5
"""So often a request may be refused as for the account's sake while others are answered: then it is to blame."""
LONGEST_ASKED: Final = 3600.0
"""Seconds between two attempts, whoever asks: who means longer than an hour may well mean another unit."""
_KINDS: Final[tuple[Fault, ...]] = get_args(Fault)
"""What a model may say; one that is users' code may say anything."""
AWAY: Final[tuple[FailureClass, ...]] = ("outage", "summary")
"""What says that the model is away."""
MOST_CAUSES: Final = 100
"""Lines of an error's causes that are looked at."""


class OwnFailure(Exception):
    """The event's, the tool's or the configuration's fault: repeating cannot help."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, judged.

    Attributes:
        retry_after: Seconds the other side asked to wait, where it did.
        place: Bytes of an answer after which it broke off, where it had begun.
    """

    kind: FailureClass
    message: str
    retry_after: float | None = None
    place: int | None = None


def classify(error: BaseException) -> Failure:
    """Judge a failure."""
    if isinstance(error, NoSummary):
        return Failure("summary", describe(error), error.retry_after)
    if isinstance(error, ModelError):
        return Failure(
            error.kind if error.kind in _KINDS else "unknown", describe(error), error.retry_after, error.place
        )
    if isinstance(error, OwnFailure):
        return Failure("own", str(error)[:MAX_MESSAGE])
    return Failure("outage" if isinstance(error, JournalUnavailable) else "unknown", describe(error))


def verdict(failure: Failure, attempts: Attempts, *, patience: float) -> ApplicationError:
    """Return the error that makes Temporal do what the failure's class asks for.

    Args:
        failure: What went wrong now.
        attempts: All failed attempts of the step, this one included.
        patience: Seconds an outage may last.
    """
    count = attempts.counts.get(failure.kind, 1)
    if failure.kind == "own":
        return final(names.OWN_FAILURE, failure.message)
    if failure.kind == "unknown":
        if count >= UNKNOWN_ATTEMPTS:
            return final(names.UNKNOWN_FAILURE, f"{failure.message} ({count} attempts)")
        return again(names.UNKNOWN_FAILURE, failure.message, after=backoff(count))
    if failure.place is not None and (broken := attempts.counts.get("broken", 0)) >= BROKEN_ATTEMPTS:
        return final(names.UNKNOWN_FAILURE, f"{failure.message} ({broken} times at the same place)")
    lasted = attempts.lasted(failure.kind)
    if failure.kind == "refused" and count >= REFUSALS:
        return final(names.OWN_FAILURE, f"{failure.message} ({count} times, while others were answered)")
    account = failure.kind in ("account", "refused")
    kind = names.ACCOUNT if account else names.OUTAGE
    if lasted >= (ACCOUNT_PATIENCE if account else patience):
        return final(kind, f"{failure.message} ({count} attempts in {lasted:.0f} s)")
    if account:
        return again(kind, failure.message, after=ACCOUNT_PROBE, benign=True)
    # At least once a minute, whatever the other side asks: its advice is about load, and one probe is none.
    advised = failure.retry_after
    told = isinstance(advised, int | float) and -math.inf < advised < math.inf
    after = advised if advised is not None and told else backoff(count)
    return again(kind, failure.message, after=min(after, LONGEST_DELAY))


def final(kind: str, message: str) -> ApplicationError:
    """Return the error that ends the step."""
    return ApplicationError(_bounded(message), type=kind, non_retryable=True)


def again(kind: str, message: str, *, after: float, benign: bool = False) -> ApplicationError:
    """Return the error that brings another attempt after some seconds (the server rounds up to about one)."""
    category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
    delay = timedelta(seconds=asked_wait(after))
    return ApplicationError(_bounded(message), type=kind, next_retry_delay=delay, category=category)


def drop_unsendable_causes(error: ApplicationError) -> bool:
    """Take an error's causes away where it could not be sent with them, or not be kept; return whether that was so.

    They travel as they are, with their tracebacks. What the server keeps of a step that is tried again is small: of a
    larger failure it keeps no type, so nobody could say what the step waits for.
    """
    texts, mute = [error.message], False
    cause = error.__cause__
    while cause is not None and len(texts) <= MOST_CAUSES:
        mute = mute or not _says_what_it_is(cause)
        texts += [text_of(cause), *traceback.format_tb(cause.__traceback__)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    fits = cause is None and not mute and all(redact(codec.whole(text)) == text for text in texts)
    if error.__cause__ is None or (fits and sum(len(text.encode()) for text in texts) <= sizes.STEP_FAILURE):
        return False
    error.__cause__ = None
    return True


def _says_what_it_is(error: BaseException) -> bool:
    try:
        str(error)
    except BaseException:  # the SDK asks it, too, and sends nothing of a failure that raises another one
        return False
    return True


def _bounded(message: str) -> str:
    return sizes.clip(redact(codec.whole(message)), sizes.STEP_FAILURE)


def asked_wait(after: object) -> float:
    """Return seconds to wait as anybody may have asked for them: a number that is none means soon."""
    if isinstance(after, bool) or not isinstance(after, int | float) or after != after:  # NaN is no number
        return 1.0
    return float(min(max(after, 0), LONGEST_ASKED))


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
    if isinstance(error, ModelError):
        return (" ".join(call_results.text_of(error).split()) or "the model gave no answer")[: MAX_MESSAGE + 100]
    return call_results.describe(error)
