"""The session: one workflow that takes events and runs their turns, one at a time.

Rules:
  1. Handlers never raise and only admit (`workflows.inbox`) or set a flag; the main loop alone acts.
  2. State is restored in `__init__`: handlers of a run's first task come before `run`.
  3. Between the last await and `continue_as_new` there is no other await, so nothing that arrived is left behind.
  4. What the workflow alone decided is recorded before the next turn starts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from inturn import names, sizes
    from inturn_activities.messages import Decision, DeliverInput
    from inturn_workflows import policies
    from inturn_workflows import turn as turns
    from inturn_workflows.admission import AdmissionController
    from inturn_workflows.approvals import Approvals
    from inturn_workflows.controls import Controls, read_control
    from inturn_workflows.display import metrics
    from inturn_workflows.display.display import Display
    from inturn_workflows.display.status import status
    from inturn_workflows.faults import Faults
    from inturn_workflows.gap_timer import GapTimer
    from inturn_workflows.inbox.events import Queued
    from inturn_workflows.inbox.repair import set_next_aside
    from inturn_workflows.mailbox import Mailbox
    from inturn_workflows.notices import notice_name
    from inturn_workflows.restore import check_start, restored, session_key
    from inturn_workflows.run_limits import RunLimits
    from inturn_workflows.sealed import check_accepted, check_update, turned_away
    from inturn_workflows.state import SessionInput
    from inturn_workflows.steps import ActivitySteps
    from inturn_workflows.turn import ContinueDue, Interrupted, StepFailed
    from inturn_workflows.turn_ends import TurnEnds
    from inturn_workflows.turn_state import TurnState
    from inturn_workflows.waiters import Waiters

_NO_INPUT: Final = RawValue(Payload())
"""Stands for an input that was not given. (`RawValue | None` would make the SDK decode the payload.)"""


@workflow.defn(name=names.SESSION_WORKFLOW)
class Session:
    """A session's workflow; its id is `{tenant}/{session_id}`."""

    @workflow.init
    def __init__(self, start: RawValue = _NO_INPUT) -> None:
        """Restore what the last run carried, or begin empty."""
        key, state = session_key(), restored(start)
        self._state = state
        self._limits = RunLimits(state)
        self._display = Display(state)
        self._waiters = Waiters(state)
        self._approvals = Approvals(state, self._waiters, self._display)
        self._faults = Faults(state)
        self._gap_timer = GapTimer(state, self._display, self._faults)
        self._mailbox = Mailbox()
        self._admission = AdmissionController(
            state, self._limits, self._waiters, self._gap_timer, self._mailbox, self._faults
        )
        self._steps = ActivitySteps(key, state, self._limits, self._display, self._approvals, self._admission)
        self._ends = TurnEnds(state, self._steps, self._waiters, self._faults)
        self._controls = Controls(
            state, self._waiters, self._display, self._approvals, self._admission, self._faults, self._limits
        )
        self._display.show()
        workflow.register_random_seed_callback(self._was_reset)

    # Handlers: admit and return.

    @workflow.signal(dynamic=True)
    def signal(self, name: str, args: Sequence[RawValue]) -> None:
        """Take any signal: an event, a control, or something to park. Nothing is lost for a wrong name."""
        self._limits.count_signal()
        away = turned_away(args, self._limits.signals)
        if away is not None:
            self._mailbox.signal(args, lambda: self._admission.turned_away(name, args, away))
        elif name == names.CONTROL:
            self._mailbox.signal(args, lambda: self._controls.signalled(args))
        else:
            size, number = sizes.QUEUED + sum(len(raw.payload.data) for raw in args), self._limits.signals
            self._mailbox.signal(args, lambda: self._admission.signalled(name, args, number), size=size)
        self._display.refresh()

    @workflow.update(dynamic=True)
    async def update(self, name: str, args: Sequence[RawValue]) -> dict[str, Any]:
        """Take an event or a control and answer; with `wait` the answer is the turn."""
        self._limits.count_update()
        check_accepted(args)
        if name == names.CONTROL:
            control = read_control(args)
            result = await self._mailbox.update(control.control_id, lambda: self._controls.updated(control))
            self._display.refresh()
            return result
        request = self._admission.request(args)
        waiter = await self._mailbox.update(
            request.event_id, lambda: self._admission.updated(request), size=request.size
        )
        self._display.refresh()
        if not waiter.released:
            await workflow.wait_condition(lambda: waiter.released)
        return waiter.answer

    @update.validator
    def check(self, name: str, args: Sequence[RawValue]) -> None:
        """Refuse what cannot be accepted: a refused update leaves no trace."""
        check_update(args)
        if name == names.CONTROL:
            read_control(args)
        else:
            self._admission.check(name, args)

    @workflow.query(name=names.STATUS)
    def status(self) -> dict[str, Any]:
        """Show the session at a glance."""
        return status(self._state)

    @workflow.query(name=names.CONTROL)
    def control_result(self, control_id: str) -> dict[str, Any]:
        """Return what came of a control, empty where that is not remembered."""
        return self._controls.result(control_id)

    # The main loop.

    @workflow.run
    async def run(self, start: RawValue = _NO_INPUT) -> None:
        """Process events until the session is closed; an operator's cancel closes it in good order."""
        check_start()
        # In a task of its own: a cancel must not cut a step short that the session waits for, nor lose what it records.
        work = asyncio.create_task(self._work())
        while True:
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done():
                    raise
                self._controls.close("park")
                self._display.refresh()
                self._state.interrupt("the workflow was cancelled")

    async def _work(self) -> None:
        while True:
            try:
                if await self._next():
                    return
            except Exception as error:  # none of ours may fail the task for ever
                self._faults.note("looking for what is next", error)
                await self._faults.wait()

    async def _next(self) -> bool:
        """Wait for something to do, and do it; return whether the session is closed then."""
        await self._wait_for_work()
        if self._limits.reached:
            await self._continue_as_new()
        await self._record()
        await self._deliver_again()
        if self._state.closing and self._state.turn is None:
            await self._close()
            return True
        if self._state.turn is None:
            await self._learn_policy()
            self._take()
            await self._record()  # what expired, was merged or came too late on the way
            self._waiters.release_orphaned()
        if self._state.turn is not None:
            await self._run_turn(self._state.turn)
        return False

    async def _wait_for_work(self) -> None:
        """Wait until there is something to do; with a timer only where time alone brings it."""
        self._display.idle = True
        while not self._work_waits():
            await self._until(self._state.next_due)
        self._display.idle = False
        self._display.refresh()

    async def _until(self, due: float | None) -> None:
        if due is not None:
            self._display.show()  # only time is waited for
        left = None if due is None else max(due - _now(), 0.001)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await workflow.wait_condition(lambda: self._work_waits() or self._state.next_due != due)

    def _work_waits(self) -> bool:
        self._mailbox.take()
        state = self._state
        if state.turn is not None or state.closing or state.inbox.books.pending:
            return True
        if self._limits.reached or state.redeliver or state.notices:
            return True
        due = state.next_due
        return due is not None and due <= _now()

    async def _learn_policy(self) -> None:
        if not self._state.paused and self._state.policy_wanted:
            await self._steps.learn_policy(self._state.inbox.sequencer.held[0].event.get("agent"))

    def _take(self) -> None:
        """Take the next events out; where that goes wrong, set aside what it struck: the next round takes others."""
        self._mailbox.take()
        state, now = self._state, _now()
        if state.paused or state.closing:
            return
        inbox, policy = state.inbox, state.inbox_policy()
        before = list(inbox.sequencer.held)
        try:
            inbox.release(now, policy)
            before = list(inbox.queue.events)
            self._begin(inbox.take(now, policy), now)
        except Exception as error:
            fault = self._faults.note("taking the next event", error)
            state.turn = None
            set_next_aside(inbox, before, fault, now)

    def _begin(self, queued: Sequence[Queued], now: float) -> None:
        if queued:
            turn = TurnState.of(queued[0], now)
            turn.join(queued[1:])
            self._state.turn = turn
            metrics.turn_started(waiting=len(self._state.inbox.queue), waited=now - queued[0].at)
            self._display.show()

    async def _run_turn(self, turn: TurnState) -> None:
        self._gap_timer.start()
        try:
            deliver = await self._end_of(turn)
        except ContinueDue:
            return
        except Exception as error:
            fault = self._faults.note(f"running turn {turn.turn}", error)
            deliver = await self._ends.broken(turn, fault, self._state.running)
        # Before the delivery: from here on it can be neither stopped nor waited for, and has its place in the books.
        try:
            self._ends.book_merged(turn)
        except Exception as error:
            self._faults.note(f"booking what joined turn {turn.turn}", error)
        self._state.turn = None
        self._display.show()
        if deliver and self._state.policy.deliver:
            await self._steps.deliver(deliver, "deliver", DeliverInput(kind="turn", trace=turn.trace))

    async def _end_of(self, turn: TurnState) -> str | None:
        """Run a turn and end it; return the turn that is to be delivered, if any."""
        try:
            result = await turns.run(turn, self._steps)
        except Interrupted as stopped:
            return await self._ends.interrupted(turn, str(stopped))
        except StepFailed as failure:
            return await self._ends.failed(turn, failure)
        return self._ends.ended(turn, result)

    # What goes out.

    async def _deliver_again(self) -> None:
        while self._state.redeliver:
            parked = self._state.redeliver.pop(0)
            self._state.deliveries += 1
            step = f"{(parked.delivery or 'deliver').partition('~')[0]}~{self._state.deliveries}"
            await self._steps.deliver(parked.turn, step, DeliverInput.model_validate(parked.message))
        while self._state.notices:
            notice, self._state.notices[:1] = self._state.notices[0], []
            if self._state.policy.deliver:
                self._state.deliveries += 1
                turn = notice_name(self._state.deliveries, notice)
                await self._steps.deliver(turn, "deliver", DeliverInput(kind="notice", notice=notice))

    # Between runs.

    def _was_reset(self, seed: int) -> None:
        """Note that the run goes on from an earlier point, where an operator reset it to: it gets a new seed there."""
        self._state.resets += 1

    async def _record(self) -> None:
        self._mailbox.take()
        decisions = self._state.inbox.books.drain_decisions(_now())
        if decisions:
            self._admission.announce(decisions)
            await self._recorded(decisions)
            self._display.show()

    async def _recorded(self, decisions: Sequence[Decision], *, bare: bool = False) -> None:
        """Have decisions recorded; where one makes that go wrong, each by itself, and that one with its error alone."""
        try:
            return await self._steps.record(decisions)
        except ActivityError:  # the journal does not take them: they wait
            self._state.inbox.books.decisions[:0] = decisions
            raise
        except Exception as error:
            fault = self._faults.note(f"recording {len(decisions)} decisions", error)
        if len(decisions) > 1:
            for decision in decisions:
                await self._recorded([decision])
        elif not bare:
            kept = {"error": fault, "turn": decisions[0].turn}
            await self._recorded([decisions[0].model_copy(update={"body": kept, "trace": None})], bare=True)

    async def _close(self) -> None:
        self._admission.clear("the session was closed")
        self._waiters.release()
        await self._steps.record(self._state.inbox.books.drain_decisions(_now()), close=True)
        self._state.closed = True
        self._display.show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._mailbox.take()
        inbox = self._state.inbox
        while inbox.queue or inbox.sequencer.held or inbox.books.decisions:
            self._admission.clear("the session was closed")
            await self._steps.record(self._state.inbox.books.drain_decisions(_now()))

    async def _continue_as_new(self) -> NoReturn:
        # A little that is not recorded is carried: a flood would bring more while it is.
        books = self._state.inbox.books
        if len(books.decisions) > policies.CARRIED_DECISIONS or books.bytes > policies.CARRIED_BYTES:
            await self._record()
        await self._all_answered()
        while not self._state.fit():
            if not books.pending and not self._state.inbox.set_last_aside(_now()):
                break
            await self._record()
            await self._all_answered()
        self._state.runs += 1
        metrics.continued()
        workflow.continue_as_new(
            SessionInput(agent=self._state.agent, state=self._state), initial_versioning_behavior=_upgrading()
        )

    async def _all_answered(self) -> None:
        """Let every caller go, and leave nothing behind that came meanwhile."""
        self._waiters.release()
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._mailbox.take()


def _upgrading() -> workflow.ContinueAsNewVersioningBehavior | None:
    """Return how a session that is pinned to a build gets to the current one: its next run begins there."""
    version = workflow.info().get_current_deployment_version()
    versioned = version is not None and version.deployment_name
    return workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if versioned else None


def _now() -> float:
    return workflow.time()
