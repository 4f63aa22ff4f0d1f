"""What comes in: admission, and what is told of events that end without a turn.

Invariant: nothing that arrives as a signal is lost or raises; what cannot be read is parked with its error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.events import Event, explain
from inturn_activities.messages import Decision
from inturn_workflows import patches, policies
from inturn_workflows.decoding import Undecodable, claimed_id, decode
from inturn_workflows.inbox.events import Receipt, Refusal
from inturn_workflows.notices import notices_of
from inturn_workflows.state import SessionState
from inturn_workflows.waiters import Waiter, Waiters

_ENDING: Final = Refusal(
    names.BACKPRESSURE, "the session is flooded and moves on to its next run", policies.FLOOD_RETRY
)
_CLEARED: Final[dict[str, Literal["parked", "cancelled", "rejected"]]] = {
    "park": "parked",
    "cancel": "cancelled",
    "rejected": "rejected",
}


class Intake:
    """Takes events into the session's inbox."""

    def __init__(self, state: SessionState, waiters: Waiters) -> None:
        self._state = state
        self._waiters = waiters
        self.on_interrupt: Callable[[str], None] = lambda event_id: None
        """Called when an event that interrupts was accepted, or let go."""
        self.on_held: Callable[[], None] = lambda: None
        """Called when an event is held that was accepted."""

    # Signals.

    def signalled(self, name: str, args: Sequence[RawValue]) -> None:
        """Take a signal: accepted whatever it holds."""
        if name != names.SUBMIT:
            self.park(args, f"unknown signal {name!r}: events are signalled as {names.SUBMIT!r}")
            return
        try:
            request = decode(args)
            event = self._event(request)
        except Undecodable as error:
            self.park(args, str(error))
            return
        refusal = _unserved(event) or self._refusal(event)
        if refusal is not None and event.event_id is not None:
            self._state.inbox.reject(event, refusal, workflow.time())
            return
        self._admit(event, inline=False)

    def park(self, args: Sequence[RawValue], error: str, *, claims: bool = True) -> None:
        """Set aside what is no event; under the id that it claims, unless the id it names is another's."""
        data = b"".join(raw.payload.data for raw in args)
        claimed = claimed_id(args) if claims else None
        event_id = claimed or f"invalid:{hashlib.blake2b(data, digest_size=12).hexdigest()}"
        preview = data[:80].decode("utf-8", "replace")
        self._state.inbox.park_invalid(event_id, error, workflow.time(), preview)

    # Updates.

    def check(self, name: str, args: Sequence[RawValue], *, flooded: bool = False, ending: bool = False) -> None:
        """Refuse an update that cannot be accepted, or that would keep a flooded run from ending.

        Args:
            name: The update's.
            args: What came with it.
            flooded: Signals flood in: they take every place that gets free.
            ending: And the run is about to end.

        Raises:
            ApplicationError: The refusal, with seconds to wait as its detail.
        """
        if name != names.SUBMIT:
            message = f"unknown update {name!r}: use {names.SUBMIT!r} or {names.CONTROL!r}"
            raise ApplicationError(message, type=names.UNKNOWN_NAME, non_retryable=True)
        request = _request(args)
        if _is_wait(request):
            return
        event = self._checked_event(request)
        refusal = self._refusal(event)
        if ending and self._may_come_later(event, refusal):
            refusal = _ENDING
        elif flooded and refusal is not None and refusal.type == names.BACKPRESSURE:
            refusal = replace(refusal, retry_after=policies.FLOOD_RETRY)
        # One that is missed in its source's order is refused by the handler: that the gap's clock stops is kept.
        if refusal is not None and (event.sequence is None or refusal.retry_after is None):
            raise _refused(refusal)

    def updated(self, args: Sequence[RawValue]) -> Waiter:
        """Take a checked update.

        Raises:
            ApplicationError: The refusal of an event that has a sequence.
        """
        request = _request(args)
        if _is_wait(request):
            receipt = self._state.inbox.duplicate(str(request["event_id"]))
            return self._waiters.wait(receipt, inline=bool(request.get("inline")))
        wait, inline = bool(request.get("wait")), bool(request.get("inline"))
        event = self._checked_event(request)
        if event.sequence is not None and (refusal := self._refusal(event)) is not None:
            self._state.inbox.refused(event, refusal, self._state.inbox_policy(), workflow.time())
            raise _refused(refusal)
        receipt = self._admit(event, inline=wait and inline)
        if wait:
            return self._waiters.wait(receipt, inline=inline)
        waiter = Waiter(receipt)
        waiter.release()
        return waiter

    def release_held(self) -> None:
        """Let go of what was held for its time, while a turn runs."""
        state = self._state
        state.inbox.release(workflow.time(), state.inbox_policy(), state.turn.turn if state.turn else None)
        if state.inbox.interrupter is not None:
            self.on_interrupt(state.inbox.interrupter)

    # Ends without a turn.

    def clear(self, reason: str) -> None:
        """End all that waits in the queue, as the close asked."""
        disposition = _CLEARED[self._state.closing or "rejected"]
        for event_id in self._state.inbox.clear(disposition, workflow.time(), reason):
            self._waiters.event_ended(event_id, disposition, reason)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Tell of events that ended without a turn: those who wait for them, and the source where that is wished."""
        for decision in decisions:
            event_id = (decision.turn or "").partition("~")[0]
            end = decision.disposition
            if end in ("expired", "parked") and self._waiters.awaited(event_id, end) and patches.ordering():
                self._waiters.event_ended(event_id, end, decision.body.get("reason", decision.body.get("error")))
        if self._state.policy.deliver:
            self._state.notices += notices_of(decisions, overflow=self._state.inbox_policy().overflow)

    def decided_aside(self, decisions: Sequence[Decision]) -> None:
        """The same for what is written along with a turn's end."""
        if any(decision.type in ("event.expired", "event.rejected") for decision in decisions) and patches.ordering():
            self.decided(decisions)

    # Inside.

    def _event(self, request: dict[str, Any]) -> Event:
        fields = {name: value for name, value in request.items() if name not in ("wait", "inline")}
        try:
            event = Event.model_validate(fields)
        except (ValidationError, ValueError) as error:
            raise Undecodable(f"invalid event: {explain(error)}") from error
        return self._state.inbox.identify(event, workflow.info().first_execution_run_id)

    def _checked_event(self, request: dict[str, Any]) -> Event:
        try:
            return self._event(request)
        except Undecodable as error:
            raise ApplicationError(str(error), type=names.INVALID_EVENT, non_retryable=True) from error

    def _refusal(self, event: Event) -> Refusal | None:
        state = self._state
        if state.closing and not (event.event_id and event.event_id in state.inbox.window):
            return Refusal(names.SESSION_CLOSED, "the session is closed")
        if event.agent and state.agent and event.agent != state.agent:
            return Refusal(names.INVALID_EVENT, f"the session belongs to agent {state.agent!r}, not {event.agent!r}")
        busy = state.turn is not None
        return state.inbox.check(event, _size(event), workflow.time(), state.inbox_policy(), busy=busy)

    def _may_come_later(self, event: Event, refusal: Refusal | None) -> bool:
        """Tell whether it is new, has no sequence, and nothing but room could keep it out."""
        known = event.event_id is not None and event.event_id in self._state.inbox.window
        return not known and event.sequence is None and (refusal is None or refusal.type == names.BACKPRESSURE)

    def _admit(self, event: Event, *, inline: bool) -> Receipt:
        inbox, policy = self._state.inbox, self._state.inbox_policy()
        turn = self._state.turn.turn if self._state.turn else None
        receipt = inbox.admit(event, _size(event), workflow.time(), policy, inline=inline, turn=turn)
        first = inbox.queue[0] if inbox.queue else None
        if receipt.status == "held":
            self.on_held()
        if inbox.interrupter is not None:
            self.on_interrupt(inbox.interrupter)
        elif receipt.status != "duplicate" and turn is not None and first is not None and first.mode == "interrupt":
            if not patches.one_stop():  # one that waits has stopped already what it came to stop
                self.on_interrupt(first.event_id)
        return receipt


def _request(args: Sequence[RawValue]) -> dict[str, Any]:
    try:
        return decode(args)
    except Undecodable as error:
        raise ApplicationError(str(error), type=names.INVALID_EVENT, non_retryable=True) from error


def _is_wait(request: dict[str, Any]) -> bool:
    """Tell whether an update brings nothing, and waits for an event sent before."""
    return bool(request.get("wait")) and "content" not in request and isinstance(request.get("event_id"), str)


def _unserved(event: Event) -> Refusal | None:
    """Refuse what version 0.1.0 refused, in histories that it wrote: it neither ordered, merged nor steered."""
    what = "sequence" if event.sequence is not None else f"when_busy={event.when_busy!r}"
    if what == "sequence" or event.when_busy in ("merge", "steer"):
        if not patches.ordering():
            message = f"{what} is not served by this version's inbox; use when_busy='queue'"
            return Refusal(names.INVALID_EVENT, message)
    return None


def _refused(refusal: Refusal) -> ApplicationError:
    return ApplicationError(refusal.message, refusal.retry_after, type=refusal.type, non_retryable=True)


def _size(event: Event) -> int:
    # As continue-as-new writes it: what arrived may be shorter (1e15 becomes 1000000000000000.0).
    return len(to_json(event.wire()))
