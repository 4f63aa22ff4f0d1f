"""What comes in: decoding, admission and the callers that wait for their turn.

Invariant: nothing that arrives as a signal is lost or raises; what cannot be read is parked with its error. At most
`policies.MAX_WAITERS` updates wait, so controls always find a free update slot.
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

from activities.messages import Decision
from inturn import names
from inturn.events import Event, explain
from inturn.keys import is_id
from workflows import meters, patches, policies
from workflows.inbox import INTERRUPTED, UNANSWERED
from workflows.queued import Receipt, Refusal
from workflows.state import SessionState, TurnState

_ENDING: Final = Refusal(
    names.BACKPRESSURE, "the session is flooded and moves on to its next run", policies.FLOOD_RETRY
)
_CLEARED: Final[dict[str, Literal["parked", "cancelled", "rejected"]]] = {
    "park": "parked",
    "cancel": "cancelled",
    "rejected": "rejected",
}


class Undecodable(ValueError):
    """What arrived is no event."""


class Waiter:
    """A caller that waits for its turn; `answer` is set when it is released."""

    def __init__(self, receipt: Receipt) -> None:
        self.event_id = receipt.event_id
        self.answer: dict[str, Any] = {"receipt": receipt.wire()}
        self.released = False

    def release(self, **answer: Any) -> None:
        """Let it go with what is known."""
        self.answer |= {name: value for name, value in answer.items() if value}
        self.released = True


class Intake:
    """Takes events into the session's inbox."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._waiters: list[Waiter] = []
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
        claimed = _claimed_id(args) if claims else None
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
            return self._wait(receipt, inline=bool(request.get("inline")))
        wait, inline = bool(request.get("wait")), bool(request.get("inline"))
        event = self._checked_event(request)
        if event.sequence is not None and (refusal := self._refusal(event)) is not None:
            self._state.inbox.refused(event, refusal, self._state.inbox_policy(), workflow.time())
            raise _refused(refusal)
        receipt = self._admit(event, inline=wait and inline)
        if wait:
            return self._wait(receipt, inline=inline)
        waiter = Waiter(receipt)
        waiter.release()
        return waiter

    def release_held(self) -> None:
        """Let go of what was held for its time, while a turn runs."""
        state = self._state
        state.inbox.release(workflow.time(), state.inbox_policy(), state.turn.turn if state.turn else None)
        if state.inbox.interrupter is not None:
            self.on_interrupt(state.inbox.interrupter)

    # Answers.

    def ended(
        self,
        turn: TurnState,
        disposition: str,
        *,
        stop: str | None = None,
        reason: str | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        """Answer everybody who waits for this turn, for its own event or one merged into it."""
        lasted = workflow.time() - turn.started_at
        self._state.inbox.paced(lasted)
        meters.turn_ended(disposition, lasted=lasted)
        ran = disposition in ("applied", "merged") or stop == "interrupted"
        known = {"event_id": turn.event_id, "disposition": disposition, "stop_reason": stop or "end_turn"}
        full = known | (answer or {"truncated": True})
        for event_id in turn.event_ids:
            if ran:
                told = full if event_id == turn.event_id else full | {"disposition": "merged"}
                if turn.inline:
                    self._state.keep_answer(event_id, told)
                self._release_for(event_id, turn=told)
            else:
                self.answer_ended(event_id, disposition, reason)

    def answer_ended(self, event_id: str, disposition: str, reason: str | None) -> None:
        """Answer for an event that ended without a turn."""
        self._release_for(event_id, ended={"disposition": disposition, "reason": reason or disposition})

    def release_strays(self) -> None:
        """Let those go whose event ended and nobody could tell: its id was not recent, or it was only counted."""
        state = self._state
        running = state.turn.event_ids if state.turn else ()
        strays = [w for w in self._waiters if w.event_id not in running and not state.inbox.waits(w.event_id)]
        if strays and patches.strays():
            for waiter in strays:
                waiter.release(pending=True)
            self._waiters = [w for w in self._waiters if w not in strays]

    def release(self) -> None:
        """Let everybody go: they follow the journal or ask again."""
        for waiter in self._waiters:
            waiter.release(pending=True)
        self._waiters = []

    def clear(self, reason: str) -> None:
        """End all that waits in the queue, as the close asked."""
        disposition = _CLEARED[self._state.closing or "rejected"]
        for event_id in self._state.inbox.clear(disposition, workflow.time(), reason):
            self.answer_ended(event_id, disposition, reason)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Tell of events that ended without a turn: those who wait for them, and the source where that is wished."""
        for decision in decisions:
            event_id = (decision.turn or "").partition("~")[0]
            end = decision.disposition
            if end in ("expired", "parked") and self._awaited(event_id, end) and patches.ordering():
                self.answer_ended(event_id, end, decision.body.get("reason", decision.body.get("error")))
        if self._state.policy.deliver:
            self._notify(decisions)

    def decided_aside(self, decisions: Sequence[Decision]) -> None:
        """The same for what is written along with a turn's end."""
        if any(decision.type in ("event.expired", "event.rejected") for decision in decisions) and patches.ordering():
            self.decided(decisions)

    def _notify(self, decisions: Sequence[Decision]) -> None:
        """Make the notices that go out for expired and rejected events, one per source and kind."""
        groups: dict[tuple[str, str], list[Decision]] = {}
        quiet = self._state.inbox_policy().overflow == "reject"
        for decision in decisions:
            kind, body = decision.type.removeprefix("event."), decision.body
            if quiet and names.BACKPRESSURE in (body.get("error"), body.get("reason")):
                continue
            if kind in ("expired", "rejected"):
                groups.setdefault((kind, _source_of(body)), []).append(decision)
        for (kind, source), group in groups.items():
            count = sum(int(decision.body.get("count", 1)) for decision in group)
            ids = [decision.turn for decision in group if decision.turn][:20]
            reason = str(group[0].body.get("reason", ""))
            notice = {"kind": kind, "source": source, "count": count, "event_ids": ids, "reason": reason}
            notice |= {"metadata": address} if (address := _address_of(group)) else {}
            self._state.notices.append(notice)

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

    def _wait(self, receipt: Receipt, *, inline: bool) -> Waiter:
        waiter = Waiter(receipt)
        state, event_id = self._state, receipt.event_id
        waits = receipt.disposition in ("pending", "held") or receipt.status == "held"
        if state.turn is not None and event_id in state.turn.event_ids:
            state.turn.inline = state.turn.inline or inline
            self._join(waiter)
        elif waits or (receipt.status == "accepted" and receipt.disposition is None):
            state.inbox.want_inline(event_id, inline=inline)
            self._join(waiter)
        elif event_id in state.answers:
            waiter.release(turn=state.answers[event_id])
        elif state.inbox.window.standing(event_id) == UNANSWERED:
            reason = "the turn that it was merged into was parked"
            waiter.release(ended={"disposition": "parked", "reason": reason, "merged": True})
        elif receipt.disposition in ("applied", "merged"):
            waiter.release(turn={"event_id": event_id, "disposition": receipt.disposition, "truncated": True})
        elif state.inbox.window.standing(event_id) == INTERRUPTED:
            stopped = {"disposition": "cancelled", "stop_reason": "interrupted", "truncated": True}
            waiter.release(turn={"event_id": event_id, **stopped})
        elif receipt.disposition is not None:
            waiter.release(ended={"disposition": receipt.disposition, "reason": self._reason(event_id)})
        else:
            waiter.release(unknown=True)
        return waiter

    def _join(self, waiter: Waiter) -> None:
        turn = self._state.turn
        if turn is not None and any(call.asked_at and not call.answer for call in turn.calls):
            waiter.release(pending=True)  # a person is asked first: that may take days
            return
        if self._state.paused:
            waiter.release(pending=True)
            return
        self._waiters.append(waiter)
        while len(self._waiters) > policies.MAX_WAITERS:
            self._waiters.pop(0).release(pending=True)

    def _release_for(self, event_id: str, **answer: Any) -> None:
        for waiter in [w for w in self._waiters if w.event_id == event_id]:
            waiter.release(**answer)
            self._waiters.remove(waiter)

    def _awaited(self, event_id: str, disposition: str) -> bool:
        # It may have been redriven since.
        stands = self._state.inbox.window.standing(event_id) == disposition
        return stands and any(waiter.event_id == event_id for waiter in self._waiters)

    def _reason(self, event_id: str) -> str:
        parked = next((p for p in self._state.inbox.parked if p.event_id == event_id), None)
        return parked.error if parked else "see the journal"


def decode(args: Sequence[RawValue]) -> dict[str, Any]:
    """Read the one JSON object of a message.

    Raises:
        Undecodable: It is something else.
    """
    if len(args) != 1:
        raise Undecodable(f"expected one JSON object, got {len(args)} arguments")
    try:
        value = workflow.payload_converter().from_payload(args[0].payload)
    except Exception as error:  # any bytes may come in, and none may fail the session
        raise Undecodable(f"not readable as JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise Undecodable(f"expected a JSON object, got {type(value).__name__}")
    return value


def _request(args: Sequence[RawValue]) -> dict[str, Any]:
    try:
        return decode(args)
    except Undecodable as error:
        raise ApplicationError(str(error), type=names.INVALID_EVENT, non_retryable=True) from error


def _is_wait(request: dict[str, Any]) -> bool:
    return bool(request.get("wait")) and "content" not in request and isinstance(request.get("event_id"), str)


def _claimed_id(args: Sequence[RawValue]) -> str | None:
    try:
        event_id = decode(args).get("event_id")
    except Undecodable:
        return None
    return event_id if isinstance(event_id, str) and is_id(event_id) else None


def _unserved(event: Event) -> Refusal | None:
    """Refuse what version 0.1.0 refused, in histories that it wrote: it neither ordered, merged nor steered."""
    what = "sequence" if event.sequence is not None else f"when_busy={event.when_busy!r}"
    if what == "sequence" or event.when_busy in ("merge", "steer"):
        if not patches.ordering():
            message = f"{what} is not served by this version's inbox; use when_busy='queue'"
            return Refusal(names.INVALID_EVENT, message)
    return None


def _source_of(body: dict[str, Any]) -> str:
    if "count" in body and "source" in body and not patches.addressed():
        return "client"
    return str(body.get("source", "client"))


def _address_of(group: Sequence[Decision]) -> Any:
    """Give the latest address of a source: what was only counted has none."""
    known = [decision.body["metadata"] for decision in group if decision.body.get("metadata")]
    last = group[-1].body.get("metadata")
    return known[-1] if known and (last or patches.addressed()) else last


def _refused(refusal: Refusal) -> ApplicationError:
    return ApplicationError(refusal.message, refusal.retry_after, type=refusal.type, non_retryable=True)


def _size(event: Event) -> int:
    # As continue-as-new writes it: what arrived may be shorter (1e15 becomes 1000000000000000.0).
    return len(to_json(event.wire()))
