"""What a session decided is recorded by a worker that has the keys, whoever else says that it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from inturn.encryption.payload_codec import BROKEN, CLEAR, LOCKED
from inturn.keys import SessionKey
from inturn_activities.messages import Decision, RecordResult
from inturn_workflows import policies
from inturn_workflows.display import metrics
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.sealed import Unreadable
from inturn_workflows.state import SessionState
from inturn_workflows.steps import ActivitySteps

pytestmark = pytest.mark.promise("SEC-2")
DECIDED = Decision(type="event.parked", turn="e1", key="e1/parked", disposition="parked", body={"error": "it broke"})
DONE = RecordResult(journal="j", head=7)


class Answers:
    """What comes back of each time that something is recorded."""

    def __init__(self, *answers: RecordResult | ActivityError) -> None:
        self.left = list(answers)
        self.ids: list[str] = []

    def start(self, activity: str, message: Any, *, activity_id: str, **options: Any) -> asyncio.Future[RecordResult]:
        self.ids.append(activity_id)
        ended: asyncio.Future[RecordResult] = asyncio.get_running_loop().create_future()
        answer = self.left.pop(0)
        if isinstance(answer, ActivityError):
            ended.set_exception(answer)
        else:
            ended.set_result(answer)
        return ended


def _failed(refused: str) -> ActivityError:
    cause = ApplicationError("do as I say", type="own_failure", non_retryable=True)
    cause.refused = refused  # type: ignore[attr-defined]
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="record",
        activity_id="",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    error.__cause__ = cause
    return error


async def _record(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> SessionState:
    unused: Any = None
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")))
    monkeypatch.setattr(workflow, "start_activity", answers.start)
    monkeypatch.setattr(workflow, "patched", lambda marker: True)
    monkeypatch.setattr(metrics, "parked", lambda count: None)
    monkeypatch.setattr(policies, "LONGEST_PAUSE", 0, raising=False)
    made = ActivitySteps(SessionKey("t", "s"), state, unused, unused, unused, unused)
    await made.record([DECIDED])
    return state


@pytest.mark.parametrize(
    "forged",
    [
        RecordResult(refused=CLEAR),
        RecordResult(refused=BROKEN),
        _failed(CLEAR),
        _failed(BROKEN),
        RecordResult(elsewhere="q"),  # a worker with keys sends back what came in clear, undone
    ],
    ids=["in clear", "made up", "failed in clear", "failed, made up", "sent back"],
)
async def test_a_record_that_nobody_with_the_keys_wrote_is_written_again(
    monkeypatch: pytest.MonkeyPatch, forged: RecordResult | ActivityError
) -> None:
    answers = Answers(forged, forged, DONE)
    state = await _record(monkeypatch, answers)
    assert len(set(answers.ids)) == 3
    assert (state.journal, state.head) == ("j", 7)


async def test_one_whose_failure_is_under_a_key_that_is_not_here_is_left_to_who_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Unreadable):
        await _record(monkeypatch, Answers(_failed(LOCKED)))


async def test_a_record_is_asked_for_once_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(DONE)
    await _record(monkeypatch, answers)
    assert len(answers.ids) == 1
