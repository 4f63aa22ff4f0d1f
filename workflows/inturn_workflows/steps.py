"""The steps of a session as activities: scheduled, stopped, awaited.

Invariant: an activity that was scheduled is awaited before the run goes on, also when it was cancelled, and its
result counts if there is one: a stop and a completion may share one task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout

from inturn import names, sizes
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.turns.budget import add
from inturn.turns.call_results import CANCELLED, FAILED, GIVEN_UP
from inturn.values import Usage
from inturn_activities.messages import (
    Decision,
    DeliverInput,
    Ended,
    ModelResult,
    RecordInput,
    RecordResult,
    StepInput,
    StepResult,
    ToolInput,
    ToolResult,
)
from inturn_workflows import policies, stops
from inturn_workflows.admission import AdmissionController
from inturn_workflows.approvals import EXPIRED, Approvals, denial, unrecorded_answers
from inturn_workflows.display import metrics
from inturn_workflows.display.display import Display
from inturn_workflows.inbox.endings import parked_as
from inturn_workflows.inbox.events import ParkedEvent
from inturn_workflows.run_limits import RunLimits
from inturn_workflows.sealed import NotTaken, Results, Unreadable
from inturn_workflows.state import SessionState
from inturn_workflows.turn import CLOSED, RECOVERED, ContinueDue, Interrupted, StepFailed
from inturn_workflows.turn_state import CallState, TurnState

T = TypeVar("T", bound=StepResult)
SUMMARY_CHARACTERS: Final = 40
"""Of an event's text, for the Temporal UI's list of steps; it costs every turn its bytes."""


class NobodyThere(Exception):
    """No worker took a step from where it was sent: whoever serves the session's own task queue knows more."""


@dataclass(frozen=True, slots=True)
class Asks:
    """A call that waits for a person, and the turn that made it."""

    turn: TurnState
    call: CallState


class ActivitySteps:
    """Runs a session's steps as activities."""

    def __init__(
        self,
        key: SessionKey,
        state: SessionState,
        limits: RunLimits,
        display: Display,
        approvals: Approvals,
        admission: AdmissionController,
    ) -> None:
        self._key = key
        self._state = state
        self._limits = limits
        self._display = display
        self._approvals = approvals
        self._admission = admission
        self._results = Results()

    # The steps of a turn.

    async def call_model(self, turn: TurnState) -> ModelResult:
        """Run the turn's next model step; a flood of signals may cut it (the same key is called again)."""
        state = self._state
        if turn.agent and state.agent and turn.agent != state.agent:
            message = f"the session belongs to agent {state.agent!r}, not {turn.agent!r}"
            raise StepFailed(message, type=names.INVALID_EVENT)
        key = self._turn_key(turn.turn).step(turn.step)
        options = policies.model_step()
        options["summary"] = (turn.preview[:SUMMARY_CHARACTERS] or None) if turn.step == 0 else None
        asked = state.model_input(turn)
        result = await self._run(
            names.CALL_MODEL, asked, key, ModelResult, options, turn=turn, cancel_if=lambda: self._limits.cut_due
        )
        if result.stop == RECOVERED:
            state.recovered = True
            state.locate(result)
        else:
            state.learn(turn, result)
        return result

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
        """Run one call, or record that a person denied it. Returns whether it did not fail.

        The step may find that a person has to be asked first; the call waits for that then, and is run again.
        """
        agent, refused, answer = self._state.agent, denial(call), call.answered()
        message = ToolInput(
            call=call.id, result=call.result, agent=agent, denied=refused, answered=answer, trace=turn.trace
        )
        key = self._turn_key(turn.turn).step(turn.step - 1, index)
        options = policies.tool_call(call.timeout) | {"summary": call.tool}
        try:
            result = await self._run(
                names.RUN_TOOL, message, key, ToolResult, options, turn=turn, cancel_if=lambda: call.cancelled
            )
        except ContinueDue:
            if call.cancelled:
                raise StepFailed(GIVEN_UP) from None
            raise
        self._state.locate(result)
        if result.plan is not None:
            call.ask(result.plan)
        return result.status not in FAILED

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        """Ask a person and wait, without a slot, a lock or the inbox."""
        if call.asked_at is None:
            self._approvals.request(call, workflow.time())
        if call.answer is None and not call.delivered:
            call.delivered = True
            await self._ask(turn, call, index)
        left = call.expires_at - workflow.time()
        try:
            async with asyncio.timeout(max(left, 0.001)):
                await workflow.wait_condition(
                    lambda: bool(call.answer or turn.stop or self._state.closing or self._limits.reached)
                )
        except TimeoutError:
            self._approvals.decide(call, EXPIRED, workflow.time())
        if call.answer is None:
            self.boundary(turn)
            raise ContinueDue  # it was due, and is no longer: the next turn of the main loop waits on
        self._display.show()

    async def await_calls(self, turn: TurnState, calls: Mapping[int, asyncio.Task[None]]) -> None:
        """Wait for the turn's calls; once the session is to close, end those that wait for a lock, a permit or a rate.

        Only the journal knows which wait: it settles them, and they find that when they look again. Bodies run on.
        """
        await workflow.wait_condition(lambda: bool(self._state.closing) or all(call.done() for call in calls.values()))
        at_work = any(not (call.done() or turn.calls[index].waits) for index, call in calls.items())
        if self._state.closing and at_work and turn.stop is None:
            number = str(turn.step - 1)
            await self._record(RecordInput(settle=[turn.turn], cancelled=CLOSED, number=number, unclaimed=True))

    def withdraw_approvals(self, reason: str) -> None:
        """Deny the calls that wait for a person."""
        self._approvals.withdraw(reason, workflow.time())

    async def settle_cancelled(self, turn: TurnState) -> None:
        """Record for each call that was cancelled that it was; those that came to an end keep it."""
        answers = unrecorded_answers(self._turn_key(turn.turn), turn)
        number = str(turn.step - 1)
        await self._record(RecordInput(decisions=answers, settle=[turn.turn], cancelled=CANCELLED, number=number))

    def join(self, turn: TurnState) -> None:
        """Take in the events that are to steer the turn; those beyond the bound get turns of their own."""
        self._admission.mailbox.take()
        turn.join(self._state.inbox.steer(turn.turn, workflow.time(), self._state.inbox_policy(), turn.room))

    def set_apart(self, turn: TurnState, event_ids: Sequence[str]) -> None:
        """Put events that joined, and are no part of the turn, in front of the queue again."""
        self._state.inbox.requeue(turn.part(event_ids))

    def boundary(self, turn: TurnState) -> None:
        """Between two steps: stop or continue as new where that is due."""
        self._admission.mailbox.take()
        self._display.refresh()
        if turn.stop is not None:
            raise Interrupted(turn.stop)
        if self._state.closing:
            raise Interrupted(CLOSED)
        if self._limits.reached:
            raise ContinueDue

    # Steps outside a turn.

    async def learn_policy(self, agent: str | None) -> None:
        """Ask for the agent's policy before its first turn: it says what a sequence means."""
        self._state.policy_asked = True
        asked = RecordInput(policy=True, agent=self._state.wanted or agent)
        for _ in range(policies.MAX_QUEUES):
            try:
                result = await self._record(asked)
            except ActivityError as error:
                if not _unserved(error):
                    raise
                self._state.queue = None
                continue
            if result.elsewhere is None:
                self._state.policy = result.policy or self._state.policy
                return
            self._state.queue = result.elsewhere

    async def record(self, decisions: Sequence[Decision], *, close: bool = False) -> None:
        """Write decisions into the journal, in order; tried until it takes them."""
        *firsts, last = sizes.portions(decisions, sizes.RECORD)
        for portion in firsts:
            await self._record(RecordInput(decisions=portion))
        await self._record(RecordInput(decisions=last, close=close))

    async def record_end(self, turn: TurnState, type_: str, disposition: str, body: dict[str, Any]) -> Ended | None:
        """Write the end of a turn that the workflow alone decided, with what was decided before; settles its steps.

        Returns how the turn had ended in the journal before, where that is not what was decided.
        """
        now = workflow.time()
        said = {name: value for name, value in body.items() if name != "event"}  # the parked one's entry holds it
        end = Decision(type=type_, turn=turn.turn, key=f"{turn.turn}/end", disposition=disposition, body=said, at=now)
        end.trace, end.started, end.agent = turn.trace, turn.started_at, self._state.agent  # for the turn's span
        others = self._state.inbox.books.drain_decisions(now)
        self._admission.announce(others)
        # The turn's own end is whole, and in one transaction with its settling.
        if sizes.written(others) > sizes.OTHERS:
            await self.record(others)
            others = []
        decisions = [*others, *unrecorded_answers(self._turn_key(turn.turn), turn), end]
        if disposition == "parked":
            joined = {"joined": [queued.event for queued in turn.joined]} if turn.joined else {}
            parked = {"type": "event.parked", "key": f"{turn.turn}/parked", "body": body | joined}
            decisions.append(end.model_copy(update=parked))
        closed = CLOSED if self._state.closing else None
        result = await self._record(
            RecordInput(decisions=decisions, settle=[turn.turn], joined=list(turn.merged), cancelled=closed)
        )
        if result.usage:
            self._state.usage = add(self._state.usage, Usage.model_validate(result.usage))
        for event_id, ended in result.apart.items():
            noted = turn.merged.pop(event_id, {})
            waiting = parked_as(ended, event_id, int(noted.get("n", 0)), now, noted.get("preview", ""))
            self._state.inbox.endings.take_over(ended, waiting)
        if disposition != "parked" or result.ended is not None:
            self.set_apart(turn, result.unsaid)  # it joined, and the model was never told of it
        return result.ended

    async def deliver(self, turn: str, step: str, message: DeliverInput, *, asks: Asks | None = None) -> None:
        """Bring something out; where that fails for good it is set aside, and `redrive` repeats only it.

        `asks`: whose question it is; nobody waits for that longer than for the turn itself, or for the answer.
        """
        message.agent = self._state.agent
        key = self._turn_key(turn).step(step)
        try:
            await self._run(
                names.DELIVER,
                message,
                key,
                StepResult,
                policies.delivery(),
                turn=asks.turn if asks else None,
                cancel_if=lambda: asks is not None and bool(self._state.closing or asks.call.answer),
            )
        except Unreadable:
            raise
        except (Interrupted, ContinueDue):
            if asks is None or asks.turn.stop or not asks.call.answer:
                raise
        except Exception as failure:
            now, body = workflow.time(), message.model_dump(exclude={"journal", "head"})
            parked = ParkedEvent(turn=turn, error=str(failure), at=now, delivery=step, message=body)
            self._state.inbox.endings.park_delivery(parked, now)
            self._display.show()

    # Inside.

    async def _record(self, message: RecordInput) -> RecordResult:
        result = await self._recorded(message)
        metrics.parked(sum(decision.type == "event.parked" for decision in message.decisions))
        self._state.inbox.parked.note_lost(result.lost)
        self._state.locate(result)
        self._state.inbox.books.note_written(message.decisions)
        for decision in message.decisions:
            if decision.n and (end := result.stood.pop(decision.event_id, None)) is not None:
                self._state.inbox.endings.take_back(decision, end, workflow.time())
        return result

    async def _recorded(self, message: RecordInput) -> RecordResult:
        """Have it recorded until a worker that has the keys says so: what is decided is nowhere else."""
        tries = 0
        while True:
            self._state.records += 1
            self._place(message)
            key = self._turn_key("~record").step(self._state.records)
            options = policies.record() | (policies.queue(self._state.queue) if message.policy else {})
            handle: workflow.ActivityHandle[RecordResult] = workflow.start_activity(
                names.RECORD, message, result_type=RecordResult, activity_id=str(key), **options
            )
            with contextlib.suppress(NotTaken):
                result = await self._results.of(handle)
                if result.elsewhere is None or message.policy:
                    return result
            tries += 1
            await asyncio.sleep(min(tries, policies.LONGEST_PAUSE))

    async def _ask(self, turn: TurnState, call: CallState, index: int) -> None:
        self._display.show()
        if not self._state.policy.deliver:
            return
        message = DeliverInput(kind="approval", approval=call.question)
        asked = f"ask-{turn.step - 1}-{index}" if call.kind == "call" else f"ask-{turn.step}-budget{turn.raised}"
        await self.deliver(turn.turn, asked, message, asks=Asks(turn, call))

    async def _run(
        self,
        activity: str,
        message: StepInput,
        key: StepKey,
        result_type: type[T],
        options: dict[str, Any],
        *,
        turn: TurnState | None = None,
        cancel_if: Callable[[], bool] = bool,
    ) -> T:
        """Run an activity on the session's task queue, or on the one that an answer tells: who can do it is there."""
        for _ in range(policies.MAX_QUEUES):
            routed = options | policies.queue(self._state.queue)
            try:
                result = await self._once(activity, message, key, result_type, routed, turn, cancel_if)
            except NobodyThere:
                self._state.queue = None
                continue
            except NotTaken:
                continue
            if result.elsewhere is None:
                return result
            self._state.queue = result.elsewhere
        raise StepFailed("it was sent from task queue to task queue, and nobody with the keys, if any, could do it")

    async def _once(
        self,
        activity: str,
        message: StepInput,
        key: StepKey,
        result_type: type[T],
        options: dict[str, Any],
        turn: TurnState | None,
        cancel_if: Callable[[], bool],
    ) -> T:
        """Run an activity, and cancel it where that is due, or where its turn is to stop."""
        self._place(message)
        handle: workflow.ActivityHandle[T] = workflow.start_activity(
            activity, message, result_type=result_type, activity_id=str(key), **options
        )
        await workflow.wait_condition(
            lambda: handle.done() or (turn is not None and turn.stop is not None) or cancel_if()
        )
        if not handle.done():
            handle.cancel()
            stops.tell(key)
        try:
            return await self._results.of(handle)
        except ActivityError as error:
            raise _failure(error, turn) from error

    def _place(self, message: StepInput) -> None:
        """Tell a step which journal the session knows, and how far."""
        message.journal, message.head = self._state.journal, self._state.head

    def _turn_key(self, turn: str) -> TurnKey:
        return TurnKey(self._key, turn)


def _unserved(error: ActivityError) -> bool:
    """Return whether nobody took a step from the task queue that it was sent to."""
    return isinstance(error.cause, ActivityTimeout) and error.cause.type is TimeoutType.SCHEDULE_TO_START


def _failure(error: ActivityError, turn: TurnState | None) -> Exception:
    cause = error.cause
    if _unserved(error):
        return NobodyThere()
    if turn is not None and turn.stop is not None:
        return Interrupted(turn.stop)
    if is_cancelled_exception(error):
        return ContinueDue()
    # Cut, and its attempt failed or died before it heard so: the server tries no more, the next run does.
    if error.retry_state == RetryState.CANCEL_REQUESTED:
        return ContinueDue()
    if isinstance(cause, ApplicationError):
        return StepFailed(sizes.clip(cause.message, sizes.FAILURE), type=cause.type)
    return StepFailed(sizes.clip(str(cause or error), sizes.FAILURE))
