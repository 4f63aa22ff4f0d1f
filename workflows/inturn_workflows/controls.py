"""Controls: what people and operators ask of a session, out of band.

Invariant: a control acts once, by its `control_id`, whether it came as an update or a signal; it is never refused for
a full queue, and it touches only the event or turn that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inturn import names, sizes
from inturn.decoding import Undecodable, decode
from inturn.events import explain
from inturn.keys import VISIBLE
from inturn_workflows.admission import AdmissionController
from inturn_workflows.approvals import Approvals
from inturn_workflows.display.display import Display
from inturn_workflows.faults import Faults
from inturn_workflows.inbox import recovered
from inturn_workflows.inbox.events import ParkedEvent, Refusal
from inturn_workflows.run_limits import RunLimits
from inturn_workflows.state import MAX_REDELIVERED, SessionState
from inturn_workflows.turn_state import Decided
from inturn_workflows.waiters import Waiters


def _printed(name: str) -> str:
    """Return the pattern of an id."""
    return f"^{VISIBLE}{{1,{sizes.IN_CONTROL[name]}}}$"


Op = Literal[
    "interrupt",
    "cancel",
    "compact",
    "pause",
    "resume",
    "close",
    "redrive",
    "discard",
    "approve",
    "deny",
    "continue",
    "restore",
]


def _bounded(most: int) -> AfterValidator:
    def check(value: str) -> str:
        if (size := sizes.written(value) - 2) > most:
            raise ValueError(f"{size:,} bytes as JSON, the limit is {most:,}")
        return value

    return AfterValidator(check)


_Who = Annotated[str, Field(max_length=sizes.WHO), _bounded(sizes.WHO)]
_Through = Annotated[str, Field(max_length=sizes.VIA), _bounded(sizes.VIA)]
_Reason = Annotated[str, Field(max_length=sizes.REASON), _bounded(sizes.REASON)]


class Control(BaseModel):
    """The JSON object of `control`; fields that this version does not know say nothing to it."""

    # What is remembered of a control travels with the session: nothing in it may be long.
    control_id: str = Field(pattern=_printed("control_id"))
    op: Op
    event_id: str | None = Field(default=None, pattern=_printed("event_id"))
    """Also the name of a parked notice, which is no event's id."""
    reason: _Reason | None = None
    instructions: _Reason | None = None
    """What a summary is to be like."""
    clear_queue: bool = False
    approval_id: str | None = Field(default=None, pattern=_printed("approval_id"))
    by: _Who | None = None
    via: _Through | None = None
    at: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """When it was sent, by the sender's clock, in seconds since 1970: no worker may have run then."""
    pending: Literal["park", "cancel"] = "park"
    force: bool = False
    parked: dict[str, Any] = Field(default_factory=dict[str, Any])
    """What is noted of an event that was parked before the session began anew."""


Result = dict[str, Any]
NO: Final[Result] = {"ok": False}
YES: Final[Result] = {"ok": True}


class Controls:
    """Carries controls out."""

    def __init__(
        self,
        state: SessionState,
        waiters: Waiters,
        display: Display,
        approvals: Approvals,
        admission: AdmissionController,
        faults: Faults,
        limits: RunLimits,
    ) -> None:
        self._state = state
        self._waiters = waiters
        self._display = display
        self._approvals = approvals
        self._admission = admission
        self._faults = faults
        self._limits = limits

    def updated(self, control: Control) -> Result:
        """Carry out a control that came as an update.

        Raises:
            ApplicationError: It does not fit the session as it stands, or something went wrong.
        """
        try:
            return self._act(control)
        except ApplicationError:
            raise
        except Exception as error:
            fault = self._faults.note("acting on a control", error)
            raise ApplicationError(fault, type=names.UNKNOWN_FAILURE, non_retryable=True) from error

    def signalled(self, args: Sequence[RawValue]) -> None:
        """Carry out a control that came as a signal: its sender asks later what came of it, if at all."""
        try:
            control = read_control(args)
        except ApplicationError as error:
            self._admission.park(args, error.message)
            return
        try:
            self._act(control)
        except ApplicationError as error:
            refused = {"error": error.type, "message": sizes.clip(error.message, sizes.ERROR), "details": error.details}
            self._state.remember_control(control.control_id, {"ok": False} | refused)
        except Exception as error:
            self._admission.park(args, self._faults.note("acting on a control", error))

    def result(self, control_id: str) -> Result:
        """Return what came of a control, empty where that is not remembered."""
        return dict(self._state.controls.get(control_id) or {})

    def close(self, pending: Literal["park", "cancel"]) -> None:
        """Take no more events and begin no more steps; the session ends once the running ones have."""
        self._state.closing = self._state.closing or pending
        self._waiters.release()

    def _act(self, control: Control) -> Result:
        if control.control_id in self._state.controls:
            known: Result = self._state.controls[control.control_id]
            if "error" in known:
                details = known.get("details") or ()
                raise ApplicationError(str(known["message"]), *details, type=str(known["error"]), non_retryable=True)
            return known
        result = self._OPS[control.op](self, control)
        if control.op != "restore":  # it would do nothing twice, and pushes none of people's out
            self._state.remember_control(control.control_id, result)
        return result

    def _interrupt(self, control: Control) -> Result:
        if control.clear_queue:
            reason = control.reason or "the queue was cleared"
            for event_id in self._state.inbox.clear("cancelled", workflow.time(), reason):
                self._waiters.event_ended(event_id, "cancelled", reason)
        turn = self._state.turn
        if turn is None or control.event_id not in (None, *turn.event_ids):
            return NO
        turn.stop = control.reason or "interrupted"
        return YES

    def _cancel(self, control: Control) -> Result:
        event_id = control.event_id or ""
        state = self._state
        if state.inbox.cancel(event_id, workflow.time(), control.reason, state.inbox_policy()):
            self._waiters.event_ended(event_id, "cancelled", control.reason or "cancelled while it waited")
            return YES
        # Only that one: an event that was merged into the turn cannot be taken out of it again.
        return self._interrupt(control) if state.turn and event_id == state.turn.event_id else NO

    def _pause(self, control: Control) -> Result:
        self._state.paused = True
        self._waiters.release()
        self._display.show()
        return YES

    def _resume(self, control: Control) -> Result:
        self._state.paused = False
        self._display.show()
        return YES

    def _compact(self, control: Control) -> Result:
        """The next model step does it, whenever that is."""
        if self._state.closing:
            return NO
        self._state.compact = control.instructions or ""
        return YES

    def _close(self, control: Control) -> Result:
        self.close(control.pending)
        return YES

    def _continue(self, control: Control) -> Result:
        if self._state.closing:
            return NO
        self._limits.end_run()
        return YES

    def _redrive(self, control: Control) -> Result:
        if self._state.closing:
            raise ApplicationError("the session is closed", type=names.SESSION_CLOSED, non_retryable=True)
        if len(self._state.redeliver) >= MAX_REDELIVERED:
            message = f"{MAX_REDELIVERED} deliveries wait to be tried again already"
            raise ApplicationError(message, type=names.BACKPRESSURE, non_retryable=True)
        redriven = self._state.inbox.redrive(control.event_id or "", workflow.time(), force=control.force)
        if isinstance(redriven, Refusal):
            raise ApplicationError(redriven.message, type=redriven.type, non_retryable=True)
        if self._state.recovering:
            recovered.goes_first(self._state.inbox, control.event_id or "")
        if redriven.delivery is not None:
            self._state.redeliver.append(redriven)
        self._display.show()
        return YES

    def _discard(self, control: Control) -> Result:
        refusal = self._state.inbox.discard(control.event_id or "", workflow.time(), control.reason)
        if refusal is not None:
            raise ApplicationError(refusal.message, type=refusal.type, non_retryable=True)
        self._display.show()
        return YES

    def _restore(self, control: Control) -> Result:
        """Take up an event that is parked: the session's own step says so, before the first turn."""
        event_id = control.event_id or ""
        if not self._state.recovering or self._state.inbox.knows(event_id, self._state.answered):
            return NO
        try:
            parked = ParkedEvent.model_validate(control.parked)
        except ValidationError:
            return NO
        if not recovered.park(self._state.inbox, event_id, parked):
            return NO
        self._display.show()
        return YES

    def _answer(self, control: Control) -> Result:
        answer: Literal["approved", "denied"] = "approved" if control.op == "approve" else "denied"
        now = workflow.time()
        decided = Decided(answer=answer, by=control.by, via=control.via, reason=control.reason)
        decided.at = min(control.at or now, now)
        result = self._approvals.answer(control.approval_id or "", decided, now)
        return result | {"approval_id": control.approval_id} if "early" in result else result

    _OPS: ClassVar[dict[str, Callable[[Controls, Control], Result]]] = {
        "interrupt": _interrupt,
        "cancel": _cancel,
        "pause": _pause,
        "resume": _resume,
        "close": _close,
        "redrive": _redrive,
        "discard": _discard,
        "approve": _answer,
        "deny": _answer,
        "compact": _compact,
        "continue": _continue,
        "restore": _restore,
    }


def read_control(args: Sequence[RawValue]) -> Control:
    """Return the control that a message is.

    Raises:
        ApplicationError: It is none.
    """
    try:
        return Control.model_validate(decode(args, sizes.READ_CONTROL))
    except (Undecodable, ValidationError) as error:
        message = sizes.clip(f"invalid control: {explain(error)}", sizes.ERROR)
        raise ApplicationError(message, type=names.UNKNOWN_NAME, non_retryable=True) from error
