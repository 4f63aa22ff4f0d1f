"""What people answer to the calls that need their approval.

Invariant: the first answer counts, and whoever comes later learns of it; an answer may come before its question (after
a reset, all signals come first) and is kept for it. None was given before its question or after it came: a clock that
says so is wrong, and what is certain counts, that the answer is here now.
"""

from __future__ import annotations

from typing import Any, Final

from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.journal.views import approvals
from inturn.keys import TurnKey
from inturn_activities.messages import Decision
from inturn_workflows.display.display import Display
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import CallState, Decided, TurnState
from inturn_workflows.waiters import Waiters

EXPIRED: Final = Decided(answer="expired", reason="nobody answered in time")
Answer = dict[str, Any]


class Approvals:
    """The answers to a session's approvals."""

    def __init__(self, state: SessionState, waiters: Waiters, display: Display) -> None:
        self._state = state
        self._waiters = waiters
        self._display = display

    # The running turn.

    def request(self, call: CallState, now: float) -> None:
        """Begin to wait for an answer, or take the one that came before. No caller waits for that: it may take days."""
        call.asked_at = now
        early = self._state.early.pop(call.approval_id, None)
        if early is not None:
            self.decide(call, early, now)
        self._waiters.release()
        self._display.refresh()

    def decide(self, call: CallState, decided: Decided, now: float) -> None:
        """Take an answer, if it is the call's first."""
        if call.answer is None:
            taken = decided.model_copy(update={"at": decided.at or now})
            call.decide(taken)
            self._state.settle_approval(call.approval_id, taken)

    def withdraw(self, reason: str, now: float) -> None:
        """Deny the calls that wait for a person: whoever answers now comes too late."""
        for call in self._state.waiting_calls:
            self.decide(call, Decided(answer="expired", reason=reason), now)

    # Answers from people.

    def answer(self, approval_id: str, decided: Decided, now: float) -> Answer:
        """Take a person's answer.

        Raises:
            ApplicationError: It contradicts an earlier one, or is about other arguments than the call's.
        """
        call = self._call(approval_id)
        if call is None:
            return self._answer_early(approval_id, decided)
        # The sender's clock counts because no worker may have run since. One that is slow by less cannot be told from a
        # right one: a workflow does not learn when a message came.
        if not (call.asked_at or 0.0) <= decided.at <= now:
            decided = decided.model_copy(update={"at": now})
        self.decide(call, decided if decided.at < call.expires_at else EXPIRED, now)
        return _same(call.answer or decided.answer, call.by, decided)

    def _answer_early(self, approval_id: str, decided: Decided) -> Answer:
        settled = self._state.settled.get(approval_id)
        if settled is not None:
            return _same(settled.answer, settled.by, decided)
        known = self._state.early.get(approval_id, decided)
        result = _same(known.answer, known.by, decided)
        self._state.decide_early(approval_id, known)
        # It may also be far too late: what the session has forgotten, the journal knows.
        return {**result, "early": True}

    def _call(self, approval_id: str) -> CallState | None:
        """Return the call of the running turn that is meant; `None` where that call is not known (yet)."""
        calls = self._state.turn.questions if self._state.turn else []
        call = next((call for call in calls if call.id == approval_id.rpartition(":")[0]), None)
        if call is None or (call.approval and call.approval_id == approval_id):
            return call
        what = "has other arguments than these" if call.approval else "asks for no approval"
        message = f"call {call.id} {what}: its approval is as `status` shows it"
        raise ApplicationError(message, type=names.INVALID_EVENT, non_retryable=True)


def unrecorded_answers(key: TurnKey, turn: TurnState) -> list[Decision]:
    """Return what became of the approvals of calls that did not get to run."""
    decisions: list[Decision] = []
    for index, call in enumerate(turn.calls):
        answered = call.answered()
        if answered is not None and not call.done:
            step = key.step(turn.step - 1, index)
            decided = Decision(type=approvals.ANSWERED, turn=turn.turn, body=answered.body(), at=answered.at)
            decided.step, decided.key = step.within_turn, approvals.answered_key(step)
            decisions.append(decided)
    if (answered := turn.answered) is not None:
        step = key.step(turn.step)
        decided = Decision(type=approvals.ANSWERED, turn=turn.turn, body=answered.body(), at=answered.at)
        decided.step, decided.key = step.step, f"{approvals.budget_key(step, turn.raised)}/answered"
        decisions.append(decided)
    return decisions


def denial(call: CallState) -> str | None:
    """Return why a call may not run; `None` where it may."""
    if call.answer in (None, "approved"):
        return None
    who = f" by {call.by}" if call.by else ""
    why = f": {call.reason}" if call.reason else ""
    return f"{call.answer}{who}{why}"


def _same(answer: str, by: str | None, decided: Decided) -> Answer:
    if answer == decided.answer:
        return {"ok": True, "answer": answer, "by": by}
    message = f"the call is {answer} already" + (f" by {by}" if by else "")
    raise ApplicationError(message, answer, by, type=names.APPROVAL_CONFLICT, non_retryable=True)
