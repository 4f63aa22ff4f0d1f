"""How turns end: in the inbox, for those who wait, and where the workflow alone decided it, in the journal.

Invariant: what the journal holds of a turn's end wins over what the workflow decided.
"""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from inturn import names, sizes
from inturn_activities.messages import Ended, ModelResult
from inturn_workflows.display import metrics
from inturn_workflows.faults import Faults
from inturn_workflows.inbox.endings import parked_as
from inturn_workflows.inbox.events import ParkedEvent, Queued
from inturn_workflows.inbox.known import INTERRUPTED, UNANSWERED
from inturn_workflows.inbox.recovered import put_back
from inturn_workflows.inbox.repair import lost
from inturn_workflows.state import SessionState
from inturn_workflows.steps import ActivitySteps
from inturn_workflows.turn import CLOSED, RECOVERED, StepFailed
from inturn_workflows.turn_state import TurnState
from inturn_workflows.waiters import Waiters


class TurnEnds:
    """Ends a session's turns. Each way returns the turn that is to be delivered, if any."""

    def __init__(self, state: SessionState, steps: ActivitySteps, waiters: Waiters, faults: Faults) -> None:
        self._state = state
        self._endings = state.inbox.endings
        self._steps = steps
        self._waiters = waiters
        self._faults = faults

    def ended(self, turn: TurnState, result: ModelResult) -> str | None:
        """End a turn as its last model step says."""
        if result.stop == "closed":
            self._state.closing = "rejected"
            running = Queued(turn=turn.turn, n=turn.n, event=turn.event or {})
            self._endings.reject_running(running, workflow.time())
            self._announce(turn, "rejected", reason=CLOSED)
            return None
        if result.stop == RECOVERED:
            put_back(self._state.inbox, _queued(turn), self._state.inbox_policy())
            self._state.resets += 1  # from here on the order of acceptance is another than the journal has begun
            return None
        if result.stop == "ended" and result.ended is not None:
            return self._ended_before(turn, result.ended, result.turn)
        self._endings.finish(turn.event_id, "applied")
        self._announce(turn, "applied", stop=result.stop, answer=result.turn)
        return turn.turn

    def _ended_before(self, turn: TurnState, end: Ended, answer: dict[str, Any] | None) -> str | None:
        """Take the end that the journal holds: of a duplicate beyond the window, or of a turn re-run after a reset."""
        parked = parked_as(end, turn.turn, turn.n, workflow.time(), turn.preview)
        if parked.event_id != turn.event_id and not self._state.resets:  # it is that one, which was counted
            self._endings.repeat(turn.event_id, end.disposition)
        else:
            self._endings.take_over(end, parked)
            self._endings.dedup.note(turn.event_id, end.disposition)
        if end.stop == "interrupted":
            self._endings.dedup.note(turn.event_id, INTERRUPTED)
        self._announce(turn, end.disposition, stop=end.stop, reason=end.reason, answer=answer)
        answered = end.disposition == "applied" or end.stop == "interrupted"
        return (end.turn or turn.turn) if answered and not end.delivered else None

    async def interrupted(self, turn: TurnState, reason: str) -> str | None:
        """End a turn that was stopped."""
        self._steps.withdraw_approvals(CLOSED if self._state.closing else "the turn was stopped")
        body = {"reason": reason, "turn": turn.turn, "n": turn.n}
        recorded = await self._steps.record_end(turn, "turn.interrupted", "cancelled", body)
        if recorded is not None:
            return self._ended_before(turn, recorded, None)
        self._endings.finish(turn.event_id, "cancelled")
        self._endings.dedup.note(turn.event_id, INTERRUPTED)
        self._announce(turn, "cancelled", stop="interrupted", reason=reason)
        return turn.turn

    async def failed(self, turn: TurnState, failure: StepFailed) -> str | None:
        """Set aside the event of a turn that failed for good."""
        error = str(failure)
        body = {"error": error, "type": failure.type, "turn": turn.turn, "preview": turn.preview, "event": turn.event}
        known = {"n": turn.n} | {name: value for name, value in body.items() if value is not None}
        recorded = await self._steps.record_end(turn, "turn.failed", "parked", known)
        if recorded is not None:
            return self._ended_before(turn, recorded, None)  # such as an answer that another attempt had recorded
        self._endings.park(_parked(turn, error, effects=turn.effects, lost=failure.type == names.CONTENT_LOST))
        self._announce(turn, "parked", reason=error)
        return None

    async def broken(self, turn: TurnState, fault: str, running: int) -> str | None:
        """Set aside the event of a turn in which our own code failed; if need be, with no help from what failed."""
        books = self._endings.books
        unwritten = list(books.decisions)
        try:
            return await self.failed(turn, StepFailed(fault, type=names.UNKNOWN_FAILURE))
        except Exception as error:
            self._faults.note(f"setting event {turn.event_id} aside", error)
        books.decisions[:0] = [decision for decision in unwritten if decision not in books.decisions]
        if lost(self._state.inbox, running=running - 1) > 0:  # it was not booked yet
            self._endings.park(_parked(turn, fault, effects=turn.effects))
            body = {"error": fault, "turn": turn.turn, "preview": turn.preview, "event": turn.event}
            known = {name: value for name, value in body.items() if value is not None}
            key, now = f"{turn.turn}/parked", workflow.time()
            books.decide("event.parked", turn.turn, key, now, known, "parked")
        self._waiters.turn_ended(turn, "parked", stop=None, reason=fault, answer=None)
        return None

    def book_merged(self, turn: TurnState) -> None:
        """Book the events that joined a turn, however that ended."""
        unanswered = self._endings.dedup.disposition_of(turn.event_id) == "parked"
        for event_id, known in turn.merged.items():
            self._endings.merge(event_id, turn.event_id, workflow.time(), known)
            if unanswered:
                self._endings.dedup.note(event_id, UNANSWERED)

    def _announce(
        self,
        turn: TurnState,
        disposition: str,
        *,
        stop: str | None = None,
        reason: str | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        lasted = workflow.time() - turn.started_at
        self._state.inbox.record_turn_duration(lasted)
        metrics.turn_ended(disposition, lasted=lasted)
        self._waiters.turn_ended(turn, disposition, stop=stop, reason=reason, answer=answer)


def _queued(turn: TurnState) -> Queued:
    """Return the event of a turn that has not begun, as it waited."""
    event = turn.event or {}
    return Queued(
        turn=turn.turn, n=turn.n, at=turn.accepted_at, event=event, size=sizes.written(event), inline=turn.inline
    )


def _parked(turn: TurnState, error: str, *, effects: bool, lost: bool = False) -> ParkedEvent:
    now = workflow.time()
    return ParkedEvent(turn=turn.turn, n=turn.n, error=error, at=now, preview=turn.preview, effects=effects, lost=lost)
