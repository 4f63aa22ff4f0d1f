"""What comes in: admission, and what callers and sources learn of events that end without a turn.

Invariant: nothing that arrives as a signal is lost or raises; what cannot be read is parked with its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import names, sizes
from inturn.decoding import Undecodable, decode, invalid_id, named_id, only_waits, read_event
from inturn.encryption.payload_codec import ENCODING
from inturn.events import Event, derived_id
from inturn.keys import is_id
from inturn.signals import Signal, run_name
from inturn_activities.messages import Decision
from inturn_workflows import policies
from inturn_workflows.faults import Faults
from inturn_workflows.gap_timer import GapTimer
from inturn_workflows.inbox import recovered, repair
from inturn_workflows.inbox.events import Arrival, Receipt, Refusal
from inturn_workflows.mailbox import Mailbox
from inturn_workflows.notices import notices_of
from inturn_workflows.run_limits import RunLimits
from inturn_workflows.sealed import TurnedAway
from inturn_workflows.state import SessionState
from inturn_workflows.waiters import Waiter, Waiters

_ENDING: Final = Refusal(
    names.BACKPRESSURE, "the session is flooded and moves on to its next run", policies.FLOOD_RETRY
)
_FULL: Final = Refusal(
    names.BACKPRESSURE, "the run's history has no room: it ends once its turn lets it", policies.FLOOD_RETRY
)
_SHOWN: Final = 80
"""Of what was sent, in an error or beside it: characters of a name, bytes of a message."""
_CLEARED: Final[dict[str, Literal["parked", "cancelled", "rejected"]]] = {
    "park": "parked",
    "cancel": "cancelled",
    "rejected": "rejected",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What an update asks: to take an event, or only to wait for one that was sent before."""

    arrival: Arrival | None
    event_id: str
    wait: bool
    """Its answer is the turn."""
    inline: bool
    """With the text: the caller cannot read the journal."""

    @property
    def size(self) -> int:
        """Bytes of its event."""
        return 0 if self.arrival is None else self.arrival.size


class AdmissionController:
    """Takes events into the session's inbox."""

    def __init__(
        self,
        state: SessionState,
        limits: RunLimits,
        waiters: Waiters,
        gap_timer: GapTimer,
        mailbox: Mailbox,
        faults: Faults,
    ) -> None:
        self._state = state
        self._limits = limits
        self._waiters = waiters
        self._gap_timer = gap_timer
        self._faults = faults
        self.mailbox = mailbox
        """What has come and is not admitted yet: it is taken before anything is decided."""
        self._checked: tuple[RawValue, Request] | None = None
        """The update that was checked last: its handler comes next, with the same payload."""

    # Signals.

    def signalled(self, name: str, args: Sequence[RawValue], number: int) -> None:
        """Take a signal, which of the run's: accepted whatever it holds, and whatever goes wrong."""
        try:
            self._signalled(name, args, number)
        except Exception as error:
            self._set_aside(args, self._faults.note("admitting a signal", error))

    def _signalled(self, name: str, args: Sequence[RawValue], number: int) -> None:
        if name != names.SUBMIT:
            error = f"unknown signal {name[:_SHOWN]!r}: events are signalled as {names.SUBMIT!r}"
            self.park(args, sizes.clip(error, sizes.ERROR), named_id(args))
            return
        try:
            fields = decode(args, sizes.READ_EVENT)
            event = read_event(fields)
        except Undecodable as invalid:
            self.park(args, str(invalid), invalid.event_id)
            return
        arrival = Arrival.of(self._state.inbox.identify(event, workflow.info().first_execution_run_id))
        inbox, refusal, now = self._state.inbox, self._refusal(arrival), workflow.time()
        again = recovered.accepted_at(fields.get(names.AGAIN), now) if self._state.recovering else None
        if again is not None and inbox.ids.of(arrival, self._state.answered) is None:
            if recovered.admits(inbox, arrival, refusal):
                recovered.admit(inbox, arrival, again)
                return
        if refusal is None:
            self._admit(arrival, inline=False)
        else:
            inbox.reject(arrival.event, refusal, now, Signal(self._run, number))

    def turned_away(self, name: str, args: Sequence[RawValue], why: TurnedAway) -> None:
        """Book a signal that came in clear to a worker with keys, or under a key that it does not have."""
        run, chain = workflow.info().run_id, workflow.info().first_execution_run_id
        made = "invalid:" if why.readable else names.SEALED
        number = f"{made}{self._run}-{why.number}"
        try:
            event = read_event(decode(args, sizes.READ_EVENT)) if why.readable and name == names.SUBMIT else None
        except Undecodable:
            event = None
        try:
            if event is None:
                sealed = None if why.readable else {"run": run, "signal": why.number}
                self._state.inbox.park_invalid(number, why.reason, workflow.time(), sealed=sealed)
            else:
                named = self._state.inbox.identify(event, chain)
                refusal, signal = Refusal(names.INVALID_EVENT, why.reason), Signal(self._run, why.number)
                self._state.inbox.reject(named, refusal, workflow.time(), signal)
        except Exception as error:
            self._faults.note("turning a signal away", error)

    def park(self, args: Sequence[RawValue], error: str, event_id: str | None = None) -> None:
        """Set aside what is no event, under the id that it names, if any; its start is kept for people."""
        shown = [raw.payload for raw in args[:2] if raw.payload.metadata.get("encoding") != ENCODING]
        start = b"".join(payload.data[:_SHOWN] for payload in shown)[:_SHOWN].decode("utf-8", "replace")
        preview = sizes.clip(start, sizes.PREVIEW)
        named = event_id or invalid_id(args)
        self._state.inbox.park_invalid(named, error, workflow.time(), preview, self._state.answered)

    # Updates.

    def check(self, name: str, args: Sequence[RawValue]) -> None:
        """Refuse an update that cannot be accepted, or that would keep a flooded run from ending.

        Raises:
            ApplicationError: The refusal, with seconds to wait as its detail.
        """
        if name != names.SUBMIT:
            message = f"unknown update {name[:_SHOWN]!r}: use {names.SUBMIT!r} or {names.CONTROL!r}"
            raise ApplicationError(message, type=names.UNKNOWN_NAME, non_retryable=True)
        request, size = self._read(args), sum(len(raw.payload.data) for raw in args)
        waits = request.arrival is None and size <= sizes.INLINE
        if not (waits or self._limits.has_room(size)):
            raise _refused(_FULL)  # also one that is known: the server would end the run
        refusal = self._refusal_in_flood(request.arrival) if request.arrival is not None else None
        # One that is missed in its source's order is refused by the handler: that the gap's clock stops is kept.
        if refusal is not None and (not _numbered(request) or refusal.retry_after is None):
            raise _refused(refusal)
        self._checked = args[0], request

    def request(self, args: Sequence[RawValue]) -> Request:
        """Return what an update asks; its check has just read it, but in a replay.

        Raises:
            ApplicationError: It cannot be read.
        """
        checked, self._checked = self._checked, None
        if checked is not None and len(args) == 1 and args[0].payload is checked[0].payload:
            return checked[1]
        return self._read(args)

    def updated(self, request: Request) -> Waiter:
        """Take a checked update.

        Raises:
            ApplicationError: The refusal of an event that has a sequence.
        """
        try:
            return self._updated(request)
        except ApplicationError:
            raise
        except Exception as error:
            fault = self._faults.note("admitting an update", error)
            if request.arrival is None:
                raise ApplicationError(fault, type=names.UNKNOWN_FAILURE, non_retryable=True) from error
            self._set_arrival_aside(request.arrival, fault)
            return self._taken_all_the_same(request.event_id, fault)

    def _updated(self, request: Request) -> Waiter:
        arrival, inbox = request.arrival, self._state.inbox
        if arrival is None:
            receipt = self._named(inbox.duplicate(request.event_id, self._state.answered))
        else:
            if _numbered(request) and (refusal := self._refusal(arrival)) is not None:
                inbox.note_refusal(arrival.event, refusal, self._state.inbox_policy(), workflow.time())
                raise _refused(refusal)
            receipt = self._admit(arrival, inline=request.wait and request.inline)
        if request.wait:
            return self._waiters.wait(receipt, inline=request.inline)
        waiter = Waiter(receipt)
        waiter.release()
        return waiter

    # Ends without a turn.

    def clear(self, reason: str) -> None:
        """End all that waits in the queue, as the close asked."""
        disposition = _CLEARED[self._state.closing or "rejected"]
        for event_id in self._state.inbox.clear(disposition, workflow.time(), reason):
            self._waiters.event_ended(event_id, disposition, reason)

    def announce(self, decisions: Sequence[Decision]) -> None:
        """Answer those who wait for events that ended without a turn, and make notices for their sources."""
        for decision in decisions:
            event_id = (decision.turn or "").partition("~")[0]
            end = decision.disposition
            if end in ("expired", "parked") and self._waiters.awaited(event_id, end):
                self._waiters.event_ended(event_id, end, decision.body.get("reason", decision.body.get("error")))
        if self._state.policy.deliver:
            self._state.keep_notices(notices_of(decisions, overflow=self._state.inbox_policy().overflow))

    # Inside.

    @property
    def _run(self) -> str:
        """The run, as its signals are named with."""
        return run_name(workflow.info().first_execution_run_id, self._state.runs)

    def _set_aside(self, args: Sequence[RawValue], fault: str) -> None:
        """Park what a signal brought, as an event where it is one."""
        try:
            event = read_event(decode(args, sizes.READ_EVENT))
            named = event if event.event_id is not None else event.model_copy(update={"event_id": invalid_id(args)})
        except Exception:  # also what went wrong before may do so again
            self._park(args, fault, named_id(args))
        else:
            self._set_arrival_aside(Arrival.of(named), fault)

    def _taken_all_the_same(self, event_id: str, fault: str) -> Waiter:
        """Return what to answer for an update that something went wrong with after it was accepted."""
        if self._state.inbox.waits(event_id):
            waiter = Waiter(Receipt(event_id, "accepted"))
            waiter.release(pending=True)
        else:
            waiter = Waiter(Receipt(event_id, "accepted", disposition="parked"))
            waiter.release(ended={"disposition": "parked", "reason": fault})
        return waiter

    def _set_arrival_aside(self, arrival: Arrival, fault: str) -> None:
        state = self._state
        try:
            repair.set_arrival_aside(state.inbox, arrival, fault, workflow.time(), running=state.running)
        except Exception as error:
            self._faults.note(f"parking event {arrival.event_id} ({fault})", error)

    def _park(self, args: Sequence[RawValue], error: str, event_id: str | None) -> None:
        try:
            self.park(args, error, event_id)
        except Exception as again:
            self._faults.note(f"parking a message ({error})", again)

    def _read(self, args: Sequence[RawValue]) -> Request:
        try:
            fields = decode(args, sizes.READ_EVENT)
            wait, inline = bool(fields.get("wait")), bool(fields.get("inline"))
            event_id = fields.get("event_id")
            if only_waits(fields) and is_id(event_id):
                return Request(None, str(event_id), wait, inline)
            event = read_event(fields)
        except Undecodable as error:
            raise ApplicationError(str(error), type=names.INVALID_EVENT, non_retryable=True) from error
        if isinstance(event, Event) and event.event_id is None:
            event = event.model_copy(update={"event_id": derived_id(event, 0, _update_id())})
        return Request(Arrival.of(event), str(event.event_id), wait, inline)

    def _refusal(self, arrival: Arrival) -> Refusal | None:
        state, event = self._state, arrival.event
        if state.closing and state.inbox.ids.of(arrival, state.answered) is None:
            return Refusal(names.SESSION_CLOSED, "the session is closed")
        if event.agent and state.agent and event.agent != state.agent:
            return Refusal(names.INVALID_EVENT, f"the session belongs to agent {state.agent!r}, not {event.agent!r}")
        # In a check more may have come that is not admitted yet; where it is, there is nothing beside it.
        now, policy, busy, beside = workflow.time(), state.inbox_policy(), state.turn is not None, self.mailbox.events
        return state.inbox.check(arrival, now, policy, busy=busy, beside=beside, running=state.answered)

    def _refusal_in_flood(self, arrival: Arrival) -> Refusal | None:
        refusal = self._refusal(arrival)
        if not self._limits.flooded:
            return refusal
        full = refusal is not None and refusal.type == names.BACKPRESSURE
        known = self._state.inbox.ids.of(arrival, self._state.answered) is not None
        # Only what is new, has no sequence, and could be kept out by nothing but room may come later.
        if self._limits.nearly_reached and not known and arrival.event.sequence is None and (full or refusal is None):
            return _ENDING
        return replace(refusal, retry_after=policies.FLOOD_RETRY) if refusal is not None and full else refusal

    def _admit(self, arrival: Arrival, *, inline: bool) -> Receipt:
        state = self._state
        turn = state.turn.turn if state.turn else None
        now, policy, running = workflow.time(), state.inbox_policy(), state.answered
        admission = state.inbox.admit(arrival, now, policy, inline=inline, turn=turn, running=running)
        if admission.held:
            self._gap_timer.start()
        state.interrupt_for(admission.interrupts)
        return self._named(admission.receipt)

    def _named(self, receipt: Receipt) -> Receipt:
        """Return a receipt under the id of the running event, where it is under another of that."""
        turn = self._state.turn
        known = turn is not None and receipt.status == "duplicate" and receipt.event_id in turn.aliases
        return replace(receipt, event_id=turn.event_id) if turn is not None and known else receipt


def _update_id() -> str:
    """Return the update's id, which is its own: in this chain of runs, and through a reset."""
    update = workflow.current_update_info()
    return "" if update is None else update.id


def _numbered(request: Request) -> bool:
    return request.arrival is not None and request.arrival.event.sequence is not None


def _refused(refusal: Refusal) -> ApplicationError:
    return ApplicationError(refusal.message, refusal.retry_after, type=refusal.type, non_retryable=True)
