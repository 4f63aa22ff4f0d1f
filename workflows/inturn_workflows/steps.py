"""The steps as activities: scheduling, stopping, and the run's own limits.

Invariant: an activity that was scheduled is awaited before the run goes on, also when it was cancelled, and its
result counts if there is one: a stop and a completion may share one task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, is_cancelled_exception

from inturn import names
from inturn.journal.views import approvals
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn_activities.messages import (
    Decision,
    DeliverInput,
    Ended,
    ModelResult,
    RecordInput,
    RecordResult,
    ToolInput,
    ToolResult,
)
from inturn_workflows import patches, policies
from inturn_workflows.display import metrics as meters
from inturn_workflows.inbox.events import ParkedEvent
from inturn_workflows.state import CallState, Decided, SessionState, TurnState
from inturn_workflows.turn import GIVEN_UP, ContinueDue, Interrupted, StepFailed

T = TypeVar("T")
SUMMARY_CHARACTERS: Final = 40
"""Of an event's text, for the Temporal UI's list of steps; it costs every turn its bytes."""
EXPIRED: Final = Decided(answer="expired", reason="nobody answered in time")
FAILED: Final = frozenset({"error", "timeout", "unknown"})
"""How calls end that count as failures of their step."""
CANCELLED: Final = f"cancelled: {GIVEN_UP}. If this call had begun, part of its effect may have happened."
_STATE = SearchAttributeKey.for_keyword(names.STATE_ATTRIBUTE)
_PARKED = SearchAttributeKey.for_int(names.PARKED_ATTRIBUTE)


class ActivitySteps:
    """Runs a session's steps as activities."""

    def __init__(self, key: SessionKey, state: SessionState) -> None:
        self._key = key
        self._state = state
        self._shown: tuple[str | None, int] = (None, len(state.inbox.parked))
        self.stop: str | None = None
        """Why the running turn is to stop."""
        info = workflow.info()
        self._began = info.get_current_history_length(), info.get_current_history_size()
        """Events and bytes that the run's first task found: in a flood they may be many."""
        self.signals = 0
        self._latest: deque[float] = deque(maxlen=policies.FLOOD)
        self.updates = 0
        self.on_boundary: Callable[[], None] = lambda: None
        """Called between two steps of a turn."""
        self.on_approval: Callable[[], None] = lambda: None
        """Called when the turn starts waiting for a person."""
        self.on_decided: Callable[[Sequence[Decision]], None] = lambda decisions: None
        """Called with what is about to be recorded beside the end of a turn."""

    def signalled(self) -> None:
        """Count a signal."""
        now = workflow.time()
        self.signals += 1
        self._latest.append(now)
        if len(self._latest) == policies.FLOOD and now - self._latest[0] < policies.FLOOD_SECONDS:
            self._state.flooded_at = now

    # The steps of a turn.

    async def call_model(self, turn: TurnState) -> ModelResult:
        """Run the turn's next model step; a flood of signals may cut it (the same key is called again)."""
        state = self._state
        if turn.agent and state.agent and turn.agent != state.agent:
            message = f"the session belongs to agent {state.agent!r}, not {turn.agent!r}"
            raise StepFailed(message, type=names.INVALID_EVENT)
        key = self._turn_key(turn.turn).step(turn.step)
        options = policies.model_step()
        said = turn.preview[:SUMMARY_CHARACTERS] if turn.step == 0 else None
        asked = state.model_input(turn)
        result = await self._run(names.CALL_MODEL, asked, key, ModelResult, options, cut=True, summary=said or None)
        state.chain = None
        state.spend(result.usage)
        state.head = result.head
        state.agent = result.agent or state.agent or turn.agent or state.wanted
        if result.policy is not None:
            state.policy = result.policy
        return result

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
        """Run one call, or record that a person said no. Tells whether it did not fail."""
        denied = None if call.answer in (None, "approved") else _denial(call)
        message = ToolInput(
            call=call.id, agent=self._state.agent, denied=denied, answered=call.answered(), trace=turn.trace
        )
        key = self._turn_key(turn.turn).step(turn.step - 1, index)
        options = policies.tool_call(call.timeout)
        result = await self._run(
            names.RUN_TOOL, message, key, ToolResult, options, summary=call.tool, given_up=lambda: call.cancelled
        )
        self._state.head = max(self._state.head, result.head)
        return result.status not in FAILED

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        """Ask a person and wait, without a slot, a lock or the inbox."""
        if call.asked_at is None:
            call.asked_at = workflow.time()
            early = self._state.early.pop(call.approval_id, None)
            if early is not None:
                self.decide(call, early)
            self.on_approval()
        if call.answer is None and not call.delivered:
            call.delivered = True
            await self._ask(turn, call, index)
        left = self.expires_at(call) - workflow.time()
        try:
            await workflow.wait_condition(lambda: self._answered(call), timeout=max(left, 0.001))
        except TimeoutError:
            self.decide(call, EXPIRED)
        if call.answer is None:
            self.boundary()
            raise Interrupted("the session is closing")
        self.show_state()

    def join(self, turn: TurnState) -> None:
        """Let the events join that are to steer the turn; those beyond the bound are turns of their own."""
        if len(turn.merged) >= policies.MAX_JOINED and patches.bounded_joins():
            return
        turn.join(self._state.inbox.steer(turn.turn, workflow.time(), self._state.inbox_policy()))

    def set_apart(self, turn: TurnState, event_ids: Sequence[str]) -> None:
        """Put events that joined, and are no part of the turn, in front of the queue again."""
        self._state.inbox.put_back(turn.part(event_ids))

    def decide(self, call: CallState, decided: Decided) -> None:
        """Take an answer to an approval: the first one stands, and those who come late learn of it."""
        if call.answer is None:
            taken = decided.model_copy(update={"at": decided.at or workflow.time()})
            call.decide(taken)
            self._state.settle_approval(call.approval_id, taken)

    async def settle_cancelled(self, turn: TurnState) -> None:
        """Record for each call that was cancelled that it was; those that came to an end keep it."""
        number, answers = str(turn.step - 1), self._answers(turn)
        await self._record(RecordInput(decisions=answers, settle=[turn.turn], cancelled=CANCELLED, number=number))

    def boundary(self) -> None:
        """Between two steps: stop or continue as new where that is due."""
        self.on_boundary()
        if self.stop is not None:
            raise Interrupted(self.stop)
        if self.continue_due():
            raise ContinueDue

    # Steps outside a turn.

    async def learn_policy(self, agent: str | None) -> None:
        """Ask for the agent's policy before its first turn: it says what a sequence means."""
        self._state.policy_asked = True
        result = await self._record(RecordInput(policy=True, agent=self._state.wanted or agent))
        if result.policy is not None:
            self._state.policy = result.policy

    async def record(self, decisions: Sequence[Decision], *, close: bool = False) -> None:
        """Write decisions into the journal; tried until it takes them."""
        await self._record(RecordInput(decisions=list(decisions), close=close))

    async def _record(self, message: RecordInput) -> RecordResult:
        self._state.records += 1
        key = TurnKey(self._key, "~record").step(self._state.records)
        handle = workflow.start_activity(
            names.RECORD, message, result_type=RecordResult, activity_id=str(key), **policies.record()
        )
        result: RecordResult = await handle
        meters.parked(sum(decision.type == "event.parked" for decision in message.decisions))
        self._state.head = max(self._state.head, result.head)
        return result

    async def record_end(self, turn: TurnState, type_: str, disposition: str, body: dict[str, Any]) -> Ended | None:
        """Write the end of a turn that the workflow alone decided, with what was decided before; settles its steps."""
        end = Decision(
            type=type_, turn=turn.turn, key=f"{turn.turn}/end", disposition=disposition, body=body, at=workflow.time()
        )
        end.trace, end.started, end.agent = turn.trace, turn.started_at, self._state.agent  # for the turn's span
        others = self._state.inbox.drain_decisions(workflow.time())
        self.on_decided(others)
        decisions = [*others, *self._answers(turn), end]
        if disposition == "parked":
            unsaid = {"joined": [queued.event for queued in turn.joined]} if turn.joined else {}
            parked = {"type": "event.parked", "key": f"{turn.turn}/parked", "body": body | unsaid}
            decisions.append(end.model_copy(update=parked))
        result = await self._record(RecordInput(decisions=decisions, settle=[turn.turn], joined=list(turn.merged)))
        for event_id, ended in result.apart.items():
            del turn.merged[event_id]
            self._state.inbox.repeat(event_id, ended)
        return result.ended

    async def deliver(self, turn: str, step: str, message: DeliverInput) -> None:
        """Bring something out."""
        message.agent = self._state.agent
        key = TurnKey(self._key, turn).step(step)
        await self._run(names.DELIVER, message, key, None, policies.delivery(), stoppable=False)

    # The run.

    def continue_due(self) -> bool:
        """Tell whether the run's history is long enough; in a flood it is sooner: what is replayed must be short."""
        if self._reached(1.0) or workflow.info().is_continue_as_new_suggested():
            return True
        return self.flooded and self._grown(1.0) and patches.short_floods()

    @property
    def flooded(self) -> bool:
        """Whether signals flood in."""
        return workflow.time() - self._state.flooded_at < policies.FLOOD_SECONDS

    def ends_soon(self) -> bool:
        """Tell whether a flooded run is about to end."""
        return self.flooded and self._grown(policies.NEARLY)

    def show_state(self, state: str | None = None) -> None:
        """Upsert the search attributes, in the rare states only: a plain turn costs no event."""
        shown = (state or self._rare_state(), len(self._state.inbox.parked))
        if shown == self._shown:
            return
        updates: list[Any] = []
        if shown[0] != self._shown[0]:
            updates.append(_STATE.value_set(shown[0]) if shown[0] else _STATE.value_unset())
        if shown[1] != self._shown[1]:
            updates.append(_PARKED.value_set(shown[1]))
        self._shown = shown
        workflow.upsert_search_attributes(updates)

    def expires_at(self, call: CallState) -> float:
        """Give when a call's approval runs out, in seconds since 1970."""
        return (call.asked_at or workflow.time()) + call.approval_timeout

    def waiting_calls(self) -> list[CallState]:
        """Give the calls that wait for a person."""
        calls = self._state.turn.calls if self._state.turn else []
        return [call for call in calls if call.asked_at and not call.answer and not call.done]

    def withdraw_approvals(self, reason: str = "the turn was stopped") -> None:
        """Who answers now comes too late."""
        for call in self.waiting_calls():
            self.decide(call, Decided(answer="expired", reason=reason))

    def _answers(self, turn: TurnState) -> list[Decision]:
        """Give what became of the approvals of calls that did not get to run."""
        decisions: list[Decision] = []
        for index, call in enumerate(turn.calls):
            answered = call.answered()
            if answered is not None and not call.done:
                key = self._turn_key(turn.turn).step(turn.step - 1, index)
                decided = Decision(type=approvals.ANSWERED, turn=turn.turn, body=answered.body(), at=answered.at)
                decided.step, decided.key = key.within_turn, approvals.answered_key(key)
                decisions.append(decided)
        return decisions

    def _rare_state(self) -> str | None:
        if self._state.closing:
            return None
        if self._state.paused:
            return "paused"
        return "requires_action" if self.waiting_calls() else None

    async def _ask(self, turn: TurnState, call: CallState, index: int) -> None:
        self.show_state()
        if not self._state.policy.deliver:
            return
        approval = {
            "approval_id": call.approval_id,
            "call_id": call.id,
            "tool": call.tool,
            "asked_at": call.asked_at,
            "expires_at": self.expires_at(call),
        }
        step = f"ask-{turn.step - 1}-{index}"
        message = DeliverInput(kind="approval", approval=approval)
        try:
            await self.deliver(turn.turn, step, message)
        except StepFailed as failure:
            self.park_delivery(turn.turn, step, message, str(failure))

    def park_delivery(self, turn: str, step: str, message: DeliverInput, error: str) -> None:
        """Set a delivery aside; `redrive` repeats only it."""
        parked = ParkedEvent(turn=turn, error=error, at=workflow.time(), delivery=step, message=message.model_dump())
        self._state.inbox.park_delivery(parked, workflow.time())
        self.show_state()

    def _answered(self, call: CallState) -> bool:
        return bool(call.answer or self.stop or self._state.closing or self.continue_due())

    def _grown(self, share: float) -> bool:
        """Tell whether a flooded run grew by so much since its first task: each gets something done."""
        return self._reached(share * policies.FLOOD_SHARE, *self._began)

    def _reached(self, share: float, but_events: int = 0, but_bytes: int = 0) -> bool:
        """Tell whether such a share of a limit of the run is used, not counting these."""
        info, limits = workflow.info(), self._state.limits
        return (
            info.get_current_history_length() - but_events > share * limits.events
            or self.signals > share * limits.signals
            or self.updates > share * limits.updates
            or info.get_current_history_size() - but_bytes > share * limits.bytes
        )

    def _cut_due(self) -> bool:
        return self.signals > self._state.limits.cut_signals

    async def _run(
        self,
        activity: str,
        message: Any,
        key: StepKey,
        result_type: type[T] | None,
        options: dict[str, Any],
        *,
        cut: bool = False,
        stoppable: bool = True,
        summary: str | None = None,
        given_up: Callable[[], bool] = bool,
    ) -> T:
        handle = workflow.start_activity(
            activity, message, result_type=result_type, activity_id=str(key), summary=summary, **options
        )
        await workflow.wait_condition(
            lambda: handle.done() or (stoppable and self.stop is not None) or (cut and self._cut_due()) or given_up()
        )
        if not handle.done():
            handle.cancel()
        try:
            result: T = await handle
        except ActivityError as error:
            failure = self._failure(error, stoppable)
            raise StepFailed(str(error)) if given_up() and isinstance(failure, ContinueDue) else failure from error
        return result

    def _failure(self, error: ActivityError, stoppable: bool) -> Exception:
        cause = error.cause
        if stoppable and self.stop is not None:
            return Interrupted(self.stop)
        if is_cancelled_exception(error):
            return ContinueDue()
        # Cut, and its attempt failed or died before it heard so: the server tries no more, the next run does.
        if error.retry_state == RetryState.CANCEL_REQUESTED and patches.cut_again():
            return ContinueDue()
        if isinstance(cause, ApplicationError):
            return StepFailed(cause.message, type=cause.type)
        return StepFailed(str(cause or error))

    def _turn_key(self, turn: str) -> TurnKey:
        return TurnKey(self._key, turn)


def _denial(call: CallState) -> str:
    who = f" by {call.by}" if call.by else ""
    why = f": {call.reason}" if call.reason else ""
    return f"{call.answer}{who}{why}"
