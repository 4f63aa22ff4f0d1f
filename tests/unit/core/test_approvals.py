"""When an answer to an approval was given in time: unit level, without a server."""

from __future__ import annotations

import contextlib
import json
from typing import Any, cast

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn.keys import SessionKey
from inturn_workflows.approvals import Approvals, unrecorded_answers
from inturn_workflows.controls import Control, Controls
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


@pytest.fixture
def controls(monkeypatch: pytest.MonkeyPatch) -> Controls:
    """Return the controls of a session whose call waits for an approval."""
    approvals, _ = waiting()
    monkeypatch.setattr(workflow, "time", lambda: ASKED + 1)
    unused = cast("Any", None)
    return Controls(approvals._state, unused, unused, approvals, *[unused] * 3)


def signal(controls: Controls, **fields: Any) -> None:
    data = json.dumps(fields).encode()
    controls.signalled([RawValue(Payload(data=data, metadata={"encoding": b"json/plain"}))])


@pytest.mark.promise("EFF-7")
def test_who_answered_and_through_what_is_on_record_and_the_second_learns_who_was_first(controls: Controls) -> None:
    approval = {"approval_id": "toolu_1:cafe"}
    assert controls.result("c1") == {}
    signal(controls, control_id="c1", op="approve", by="slack:T1:U7", via="slack", **approval)
    signal(controls, control_id="c2", op="deny", by="page:ann", via="page", **approval)
    signal(controls, control_id="c2", op="deny", by="page:ann", via="page", **approval)
    assert controls.result("c1") == {"ok": True, "answer": "approved", "by": "slack:T1:U7"}
    refused = controls.result("c2")
    assert (refused["ok"], refused["error"]) == (False, "ApprovalConflict")
    assert list(refused["details"]) == ["approved", "slack:T1:U7"]
    turn = controls._state.turn
    assert turn is not None
    answered = turn.calls[0].answered()
    assert answered is not None
    said = {"answer": "approved", "by": "slack:T1:U7", "via": "slack", "call_id": "toolu_1", "tool": "refund"}
    assert answered.body() == said | approval
    restored = SessionState.model_validate_json(controls._state.model_dump_json())
    assert json.loads(json.dumps(restored.controls["c2"])) == json.loads(json.dumps(refused)), "it is carried"


def test_the_update_that_follows_a_signal_gets_what_came_of_that(controls: Controls) -> None:
    fields = {"control_id": "c1", "op": "approve", "approval_id": "toolu_1:other"}
    signal(controls, **fields)
    for _ in range(2):
        with pytest.raises(ApplicationError, match="other arguments") as refused:
            controls.updated(Control.model_validate(fields))
        assert refused.value.type == "InvalidEvent"


@pytest.mark.parametrize("via", ["v" * 65, "\x01" * 30, 7, ["slack"]])
def test_through_what_it_came_is_short(via: object) -> None:
    with pytest.raises(ValueError, match="via"):
        Control.model_validate({"control_id": "c", "op": "approve", "via": via})


@pytest.mark.promise("MOD-4")
def test_a_turn_that_asks_for_more_is_answered_like_a_call() -> None:
    question = CallState(id="budget:e1:1", tool="budget", hash="5", kind="budget", approval=True, asked_at=ASKED)
    call = CallState(id="toolu_1", tool="refund", hash="cafe", approval=True, asked_at=ASKED)
    turn = TurnState(turn="e1", step=1, calls=[call], question=question)
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")), turn=turn)
    approvals = Approvals(state, Waiters(state), cast("Display", None))
    assert [waiting.id for waiting in state.waiting_calls] == ["toolu_1", "budget:e1:1"]
    assert state.status == "requires_action"
    assert question.question["kind"] == "budget"
    approvals.answer("budget:e1:1:5", Decided(answer="approved", by="ann"), ASKED + 1)
    assert (turn.raised_now, turn.answered and turn.answered.by) == (1, "ann")
    with pytest.raises(ApplicationError, match="has other arguments"):
        approvals.answer("budget:e1:1:6", Decided(answer="approved"), ASKED + 1)


@pytest.mark.promise("MOD-4")
def test_an_answer_that_no_step_has_written_down_is_written_with_the_end_of_the_turn() -> None:
    question = CallState(id="budget:e1~1:1", tool="budget", hash="5", kind="budget", approval=True, asked_at=ASKED)
    turn = TurnState(turn="e1~1", step=1, question=question, raised=2)
    assert unrecorded_answers(SessionKey("acme", "s1").turn("e1~1"), turn) == []
    question.decide(Decided(answer="expired", reason="the turn was stopped", at=ASKED + 1))
    [decision] = unrecorded_answers(SessionKey("acme", "s1").turn("e1~1"), turn)
    assert (decision.type, decision.key, decision.step) == ("approval.answered", "e1~1/1/budget2/answered", "1")
    assert decision.body["answer"] == "expired"
