"""When an answer to an approval was given in time: unit level, without a server."""

from __future__ import annotations

import contextlib
from typing import cast

import pytest
from temporalio.exceptions import ApplicationError

from inturn_workflows.approvals import Approvals
from inturn_workflows.display.display import Display
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import CallState, Decided, TurnState
from inturn_workflows.waiters import Waiters

ASKED, TIMEOUT = 1_000.0, 60.0
EXPIRES = ASKED + TIMEOUT


def waiting() -> tuple[Approvals, CallState]:
    """Return a session's approvals, and a call that waits for one."""
    call = CallState(id="toolu_1", tool="refund", hash="cafe", approval=True, approval_timeout=TIMEOUT, asked_at=ASKED)
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")), turn=TurnState(turn="e1", step=1, calls=[call]))
    return Approvals(state, Waiters(state), cast("Display", None)), call


def answered(at: float, now: float) -> CallState:
    """Return the call after a yes by this clock, which the session sees now."""
    approvals, call = waiting()
    with contextlib.suppress(ApplicationError):
        approvals.answer(call.approval_id, Decided(answer="approved", by="ann", at=at), now)
    return call


@pytest.mark.promise("EFF-7")
@pytest.mark.parametrize("at", [0.001, ASKED - 86_400, ASKED - 0.001])
def test_a_clock_from_before_the_question_does_not_beat_the_expiry(at: float) -> None:
    assert answered(at, now=EXPIRES + 3_600).answer == "expired"


@pytest.mark.parametrize("at", [ASKED, ASKED + 30, EXPIRES - 0.001])
def test_an_answer_given_in_time_counts_though_no_worker_ran_until_later(at: float) -> None:
    assert answered(at, now=EXPIRES + 3_600).answer == "approved"


@pytest.mark.parametrize("at", [0.001, ASKED - 86_400, ASKED + 1, ASKED + 10, EXPIRES + 86_400])
def test_an_answer_that_is_there_in_time_counts_whatever_its_clock_says(at: float) -> None:
    call = answered(at, now=ASKED + 10)
    assert call.answer == "approved"
    assert ASKED <= call.answered_at <= ASKED + 10


def test_who_answered_too_late_by_a_wrong_clock_is_told_so() -> None:
    approvals, call = waiting()
    with pytest.raises(ApplicationError, match="expired already"):
        approvals.answer(call.approval_id, Decided(answer="approved", at=ASKED - 1), EXPIRES)
