"""What Temporal's errors mean to a user.

Invariant: the one place where they are read. Every call goes through `digest`, so no Temporal exception reaches a user,
and each keeps its cause. A cancelled caller stays cancelled: the SDK turns a cancel in the middle of an update into a
timeout of its own, which `cancelled` tells apart.
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

_AGAIN: Final = frozenset(
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
class Digested:
    """An error as users see it.

    Attributes:
        error: The error to raise.
        again: The same call again may succeed, and is safe.
        crowded: The server has no room for it now: a signal may get through where an update does not.
    """

    error: InturnError
    again: bool = False
    crowded: bool = False


def cancelled(error: BaseException) -> bool:
    """Tell whether the caller was cancelled, however the SDK words it."""
    if isinstance(error, asyncio.CancelledError):
        return True
    return isinstance(error, RPCTimeoutOrCancelledError) and isinstance(error.__cause__, asyncio.CancelledError)


def digest(error: TemporalError, session: str = "") -> Digested:
    """Say what an error of Temporal's client means.

    Args:
        error: What it raised.
        session: The session that was called, for the message.
    """
    match error:
        case WorkflowUpdateFailedError():
            return _refused(error.cause, session)
        case WorkflowAlreadyStartedError():
            return Digested(SessionClosed(f"session {session} is closed"))
        case RPCError():
            return _rpc(error, session)
        case WorkflowQueryFailedError() | WorkflowQueryRejectedError():
            return Digested(Unavailable(f"session {session} cannot be asked now: {error}"), again=True)
        case WorkflowFailureError():
            return Digested(SessionClosed(f"session {session} has ended: {error.cause}"))
        case _:  # timeouts of calls, and whatever a later SDK adds
            return Digested(Unavailable(f"no answer from session {session} in time: {error}"), again=True)


def short(error: BaseException) -> str:
    """Give an error's first line, bounded."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _refused(cause: BaseException, session: str) -> Digested:
    if not isinstance(cause, ApplicationError):
        return Digested(Unavailable(f"session {session} did not take the call: {short(cause)}"), again=True)
    message, details = cause.message, tuple(cause.details)
    match cause.type:
        case names.INVALID_EVENT | names.UNKNOWN_NAME:
            return Digested(InvalidEvent(message))
        case names.BACKPRESSURE:
            return Digested(Backpressure(message, retry_after=_seconds(details)))
        case names.SESSION_BUSY:
            return Digested(SessionBusy(message, retry_after=_seconds(details)))
        case names.SESSION_CLOSED:
            return Digested(SessionClosed(message))
        case names.APPROVAL_CONFLICT:
            answer, by, *_ = (*details, None, None)
            return Digested(ApprovalConflict(message, answer=str(answer), by=str(by) if by else None))
        case _ if cause.type == _COMPLETED_WAITING:
            return Digested(Unavailable(f"session {session} went on before the answer came"), again=True)
        case _:
            return Digested(InturnError(f"session {session} refused: {message}"))


def _seconds(details: tuple[Any, ...]) -> float:
    return float(details[0]) if details and isinstance(details[0], int | float) else 1.0


def _rpc(error: RPCError, session: str) -> Digested:
    message = short(error)
    if error.status is RPCStatusCode.NOT_FOUND and "aborted by closing workflow" in message:
        # The run ended while it had the call: the next try finds the new run, or that the session is closed.
        return Digested(Unavailable(f"session {session} ended its run: {message}"), again=True)
    if error.status is RPCStatusCode.NOT_FOUND:
        return Digested(_not_found(message, session))
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        if "number of signals" in message or "signal count" in message.lower():
            return Digested(Unavailable(f"session {session} has taken all signals of its run: {message}"), again=True)
        if "search attribute" in message.lower():  # `Gate` has just registered them; the server needs a moment
            return Digested(Unavailable(f"the server lacks search attributes: {message}"), again=True)
        return Digested(InvalidEvent(f"the server refused the call: {message}"))
    if error.status in _DENIED:
        advice = "Check TEMPORAL_API_KEY or the TLS certificate"
        return Digested(Unavailable(f"the server does not let this client in: {message}. {advice}"))
    again = error.status in _AGAIN
    crowded = error.status in (RPCStatusCode.RESOURCE_EXHAUSTED, RPCStatusCode.FAILED_PRECONDITION)
    return Digested(Unavailable(f"the server cannot take the call now: {message}"), again=again, crowded=crowded)


def _not_found(message: str, session: str) -> InturnError:
    lowered = message.lower()
    if "namespace" in lowered and "execution" not in lowered:
        return Unavailable(f"the server lacks the namespace: {message}")
    if "completed" in lowered:
        return SessionClosed(f"session {session} is closed")
    return SessionNotFound(f"no session {session}")
