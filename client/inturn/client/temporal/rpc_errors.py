"""What Temporal's errors mean to a user.

Invariant: the one place where they are read. Every call goes through `translate_error`, so no Temporal exception
reaches a user, and each keeps its cause. A cancelled caller stays cancelled: the SDK turns a cancel in the middle of an
update into a timeout of its own, which `cancelled` tells apart.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, TemporalError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.errors import (
    ApprovalConflict,
    Backpressure,
    InturnError,
    InvalidEvent,
    SessionBusy,
    SessionClosed,
    SessionNotFound,
    Unavailable,
)

_RETRYABLE: Final = frozenset(
    {
        RPCStatusCode.RESOURCE_EXHAUSTED,  # busy, update slots full, "workflow is closing" before a continue-as-new
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.ABORTED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.FAILED_PRECONDITION,  # WorkflowNotReady; the run's total of updates, until it continues as new
    }
)
_DENIED: Final = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})
_COMPLETED_WAITING: Final = "AcceptedUpdateCompletedWorkflow"


@dataclass(frozen=True, slots=True)
class TranslatedError:
    """An error as users see it.

    Attributes:
        error: The error to raise.
        retryable: Whether the same call again may succeed; it is safe then.
    """

    error: InturnError
    retryable: bool = False


def cancelled(error: BaseException) -> bool:
    """Return whether the caller was cancelled, however the SDK words it."""
    if isinstance(error, asyncio.CancelledError):
        return True
    return isinstance(error, RPCTimeoutOrCancelledError) and isinstance(error.__cause__, asyncio.CancelledError)


def translate_error(error: TemporalError, session: str = "") -> TranslatedError:
    """Return what an error of Temporal's client means to a user.

    Args:
        error: What it raised.
        session: The session that was called, for the message.
    """
    match error:
        case WorkflowUpdateFailedError():
            return _refused(error.cause, session)
        case WorkflowAlreadyStartedError():
            return TranslatedError(SessionClosed(f"session {session} is closed"))
        case RPCError():
            return _rpc(error, session)
        case WorkflowQueryFailedError() | WorkflowQueryRejectedError():
            return _for_now(f"session {session} cannot be asked now: {error}")
        case WorkflowFailureError():
            return TranslatedError(SessionClosed(f"session {session} has ended: {error.cause}"))
        case _:  # timeouts of calls, and whatever a later SDK adds
            return _for_now(f"no answer from session {session} in time: {error}")


def short(error: BaseException) -> str:
    """Return an error's first line, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _for_now(message: str) -> TranslatedError:
    return TranslatedError(Unavailable(message), retryable=True)


def _refused(cause: BaseException, session: str) -> TranslatedError:
    if not isinstance(cause, ApplicationError):
        return _for_now(f"session {session} did not take the call: {short(cause)}")
    message, details = cause.message, tuple(cause.details)
    match cause.type:
        case names.INVALID_EVENT | names.UNKNOWN_NAME:
            return TranslatedError(InvalidEvent(message))
        case names.BACKPRESSURE:
            return TranslatedError(Backpressure(message, retry_after=_seconds(details)))
        case names.SESSION_BUSY:
            return TranslatedError(SessionBusy(message, retry_after=_seconds(details)))
        case names.SESSION_CLOSED:
            return TranslatedError(SessionClosed(message))
        case names.APPROVAL_CONFLICT:
            answer, by, *_ = (*details, None, None)
            return TranslatedError(ApprovalConflict(message, answer=str(answer), by=str(by) if by else None))
        case _ if cause.type == _COMPLETED_WAITING:
            return _for_now(f"session {session} went on before the answer came")
        case _:
            return TranslatedError(InturnError(f"session {session} refused: {message}"))


def _seconds(details: tuple[Any, ...]) -> float:
    return float(details[0]) if details and isinstance(details[0], int | float) else 1.0


def _rpc(error: RPCError, session: str) -> TranslatedError:
    message = short(error)
    if error.status is RPCStatusCode.NOT_FOUND:
        if "aborted by closing workflow" in message:  # the next try finds the new run, or that the session is closed
            return _for_now(f"session {session} ended its run: {message}")
        return TranslatedError(_not_found(message, session))
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return _invalid_argument(message, session)
    if error.status in _DENIED:
        advice = "Check TEMPORAL_API_KEY or the TLS certificate"
        return TranslatedError(Unavailable(f"the server does not let this client in: {message}. {advice}"))
    unavailable = Unavailable(f"the server cannot take the call now: {message}")
    return TranslatedError(unavailable, retryable=error.status in _RETRYABLE)


def _invalid_argument(message: str, session: str) -> TranslatedError:
    lowered = message.lower()
    if "number of signals" in lowered or "signal count" in lowered:
        return _for_now(f"session {session} has taken all signals of its run: {message}")
    if "history" in lowered and "exceeds limit" in lowered:  # the run was ended for it; the next try starts another
        return _for_now(f"the run of session {session} was full: {message}")
    if "search attribute" in lowered:  # just registered; the server needs a moment
        return _for_now(f"the server lacks search attributes: {message}")
    return TranslatedError(InvalidEvent(f"the server refused the call: {message}"))


def _not_found(message: str, session: str) -> InturnError:
    lowered = message.lower()
    if "namespace" in lowered and "execution" not in lowered:
        return Unavailable(f"the server lacks the namespace: {message}")
    if "completed" in lowered:
        return SessionClosed(f"session {session} is closed")
    return SessionNotFound(f"no session {session}")
