"""The callers that wait for their turn.

Invariant: at most `policies.MAX_WAITERS` updates wait, so controls always find a free update slot; none begins to wait
for a person, for a paused session or for an event that has ended. Who is released early follows the journal or asks
again.
"""

from __future__ import annotations

from typing import Any

from inturn_workflows import policies
from inturn_workflows.inbox.events import Receipt
from inturn_workflows.inbox.known import INTERRUPTED, UNANSWERED
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState


class Waiter:
    """A caller that waits for its turn; `answer` is set when it is released."""

    def __init__(self, receipt: Receipt) -> None:
        self.event_id = receipt.event_id
        self.answer: dict[str, Any] = {"receipt": receipt.wire()}
        self.released = False

    def release(self, **answer: Any) -> None:
        """Answer it with what is known."""
        self.answer |= {name: value for name, value in answer.items() if value}
        self.released = True


class Waiters:
    """The callers that wait for the turns of a session."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._waiters: list[Waiter] = []

    def wait(self, receipt: Receipt, *, inline: bool) -> Waiter:
        """Return a waiter for an event, released at once where it has ended. `inline`: it cannot read the journal."""
        waiter = Waiter(receipt)
        state, event_id = self._state, receipt.event_id
        waits = receipt.disposition in ("pending", "held") or receipt.status == "held"
        if state.turn is not None and event_id in state.turn.event_ids:
            state.turn.inline = state.turn.inline or inline
            self._join(waiter)
        elif waits or (receipt.status == "accepted" and receipt.disposition is None):
            state.inbox.want_inline(event_id, inline=inline)
            self._join(waiter)
        else:
            waiter.release(**self._end_of(receipt))
        return waiter

    # Ends.

    def turn_ended(
        self, turn: TurnState, disposition: str, *, stop: str | None, reason: str | None, answer: dict[str, Any] | None
    ) -> None:
        """Answer all that wait for this turn, for its own event or one merged into it."""
        ran = disposition in ("applied", "merged") or stop == "interrupted"
        known = {"event_id": turn.event_id, "disposition": disposition, "stop_reason": stop or "end_turn"}
        full = known | (answer or {"truncated": True})
        for event_id in turn.event_ids:
            if ran:
                own = full if event_id == turn.event_id else full | {"disposition": "merged"}
                if turn.inline:
                    self._state.keep_answer(event_id, own)
                self._release_for(event_id, turn=own)
            else:
                self.event_ended(event_id, disposition, reason)

    def event_ended(self, event_id: str, disposition: str, reason: str | None) -> None:
        """Answer for an event that ended without a turn."""
        self._release_for(event_id, ended={"disposition": disposition, "reason": reason or disposition})

    def awaited(self, event_id: str, disposition: str) -> bool:
        """Return whether a caller waits for an event that ended so, and was not redriven since."""
        ended = self._state.inbox.dedup.disposition_of(event_id) == disposition
        return ended and any(waiter.event_id == event_id for waiter in self._waiters)

    # Releases before the end.

    def release(self) -> None:
        """Release all: they follow the journal or ask again."""
        for waiter in self._waiters:
            waiter.release(pending=True)
        self._waiters = []

    def release_orphaned(self) -> None:
        """Release those whose event ended unseen: its id was not recent, or its end was only counted."""
        state = self._state
        running = state.turn.event_ids if state.turn else ()
        kept: list[Waiter] = []
        for waiter in self._waiters:
            if waiter.event_id in running or state.inbox.waits(waiter.event_id):
                kept.append(waiter)
            else:
                waiter.release(pending=True)
        self._waiters = kept

    # Inside.

    def _end_of(self, receipt: Receipt) -> dict[str, Any]:
        """Return what is known of an event that no longer waits."""
        state, event_id, end = self._state, receipt.event_id, receipt.disposition
        remembered = state.inbox.dedup.disposition_of(event_id)
        if (answer := state.answer_of(event_id)) is not None:
            return {"turn": answer}
        if remembered == UNANSWERED:
            reason = "the turn that it was merged into was parked"
            return {"ended": {"disposition": "parked", "reason": reason, "merged": True}}
        if end in ("applied", "merged"):
            return {"turn": {"event_id": event_id, "disposition": end, "truncated": True}}
        if remembered == INTERRUPTED:
            stopped = {"disposition": "cancelled", "stop_reason": "interrupted", "truncated": True}
            return {"turn": {"event_id": event_id, **stopped}}
        return {"unknown": True} if end is None else {"ended": {"disposition": end, "reason": self._reason(event_id)}}

    def _join(self, waiter: Waiter) -> None:
        if self._state.waiting_calls or self._state.paused:  # where a person is asked first, that may take days
            waiter.release(pending=True)
            return
        self._waiters.append(waiter)
        while len(self._waiters) > policies.MAX_WAITERS:
            self._waiters.pop(0).release(pending=True)

    def _release_for(self, event_id: str, **answer: Any) -> None:
        for waiter in [w for w in self._waiters if w.event_id == event_id]:
            waiter.release(**answer)
            self._waiters.remove(waiter)

    def _reason(self, event_id: str) -> str:
        parked = next((p for p in self._state.inbox.parked.events if p.event_id == event_id), None)
        return parked.error if parked else "see the journal"
