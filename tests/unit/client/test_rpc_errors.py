"""What each of Temporal's errors means to a user."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import TemporalError, WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode as Status

from inturn.client.temporal.rpc_errors import cancelled, translate_error
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
from tests.support.transport import refused, reworded_cancel, rpc_error

AGAIN = [
    rpc_error(Status.RESOURCE_EXHAUSTED, "workflow is closing"),
    rpc_error(Status.UNAVAILABLE),
    rpc_error(Status.ABORTED),
    rpc_error(Status.DEADLINE_EXCEEDED),
    rpc_error(Status.FAILED_PRECONDITION, "unexpected workflow task failure"),
    rpc_error(Status.INVALID_ARGUMENT, "exceeded workflow execution limit for number of signals"),
    rpc_error(Status.INVALID_ARGUMENT, "Workflow history size exceeds limit."),
    rpc_error(Status.INVALID_ARGUMENT, "Namespace default has no mapping defined for search attribute InturnAgent"),
    WorkflowUpdateRPCTimeoutOrCancelledError(),
    WorkflowQueryFailedError("not now"),
    refused("AcceptedUpdateCompletedWorkflow"),
]
FINAL: list[tuple[TemporalError, type[InturnError]]] = [
    (rpc_error(Status.NOT_FOUND, "workflow not found for ID: t/s"), SessionNotFound),
    (rpc_error(Status.NOT_FOUND, "workflow execution already completed"), SessionClosed),
    (rpc_error(Status.NOT_FOUND, "Namespace nowhere is not found."), Unavailable),
    (rpc_error(Status.PERMISSION_DENIED), Unavailable),
    (rpc_error(Status.UNAUTHENTICATED), Unavailable),
    (rpc_error(Status.INVALID_ARGUMENT, "Blob data size exceeds limit."), InvalidEvent),
    (WorkflowAlreadyStartedError("t/s", "Session"), SessionClosed),
    (refused("InvalidEvent"), InvalidEvent),
    (refused("UnknownName"), InvalidEvent),
    (refused("SessionClosed"), SessionClosed),
    (refused("SessionBusy", 2.0), SessionBusy),
    (refused("Backpressure", 7.0), Backpressure),
    (refused("ApprovalConflict", "denied", "ann"), ApprovalConflict),
    (refused("SomethingNew"), InturnError),
]


@pytest.mark.parametrize("error", AGAIN, ids=str)
def test_what_passes_is_tried_again_and_ends_as_unavailable(error: TemporalError) -> None:
    translated = translate_error(error, "t/s")
    assert translated.retryable
    assert type(translated.error) is Unavailable


@pytest.mark.parametrize(("error", "meaning"), FINAL, ids=lambda value: str(value)[:60])
def test_what_stays_is_raised_at_once(error: TemporalError, meaning: type[InturnError]) -> None:
    translated = translate_error(error, "t/s")
    assert not translated.retryable
    assert type(translated.error) is meaning


def test_details_of_refusals_arrive() -> None:
    busy = translate_error(refused("Backpressure", 7.0)).error
    assert isinstance(busy, Backpressure)
    assert busy.retry_after == 7.0
    conflict = translate_error(refused("ApprovalConflict", "denied", "ann")).error
    assert isinstance(conflict, ApprovalConflict)
    assert (conflict.answer, conflict.by) == ("denied", "ann")


def test_refusals_without_details_have_defaults() -> None:
    busy = translate_error(refused("Backpressure")).error
    assert isinstance(busy, Backpressure)
    assert busy.retry_after == 1.0
    conflict = translate_error(refused("ApprovalConflict")).error
    assert isinstance(conflict, ApprovalConflict)
    assert conflict.by is None


def test_a_cancel_is_told_from_a_timeout() -> None:
    assert cancelled(reworded_cancel())
    assert cancelled(asyncio.CancelledError())
    assert not cancelled(WorkflowUpdateRPCTimeoutOrCancelledError())
    assert not cancelled(rpc_error(Status.CANCELLED))
