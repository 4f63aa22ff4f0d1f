"""One turn: model step, tool calls, model step … until the model is done.

Invariants: a turn has at most one model call in flight; every call of a model step is settled before the next model
step; a turn can stop between any two steps and go on from its `TurnState` alone, in another run or on another worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from inturn.turns.call_results import GIVEN_UP, MAX_PARALLEL_CALLS
from inturn.turns.stop_reasons import ASKS, ends_turn
from inturn_activities.messages import ModelResult
from inturn_workflows.turn_state import CallState, TurnState

RECOVERED: Final = "recovered"
"""What an earlier run had accepted was sent again, and comes first: the turn has not begun."""
OVER: Final = frozenset({"ended", "closed", RECOVERED})
"""The journal knew better: the turn had ended before, others come first, or the session is closed."""
CLOSED: Final = "the session was closed"


class Interrupted(Exception):
    """The turn is to stop here."""


class ContinueDue(Exception):
    """The run is to continue as new here; the turn goes on in the next one."""


class StepFailed(Exception):
    """A step failed for good."""

    def __init__(self, message: str, *, type: str | None = None) -> None:
        super().__init__(message)
        self.type = type


class Steps(Protocol):
    """What a turn needs of the session around it."""

    async def call_model(self, turn: TurnState) -> ModelResult:
        """Run the turn's next model step."""
        ...

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        """Wait until a person answered for the call, or its time ran out: `call.answer` is set then."""

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
        """Run one call; its result is in the journal then, unless it was cancelled. Returns whether it succeeded.

        Where `call.unanswered` holds then, it did not run: a person is to be asked first.
        """
        ...

    async def await_calls(self, turn: TurnState, calls: Mapping[int, asyncio.Task[None]]) -> None:
        """Wait for the turn's calls, by index; once the session closes, end those whose bodies wait to begin."""

    def withdraw_approvals(self, reason: str) -> None:
        """Deny the calls that wait for a person: answers come too late now."""

    async def settle_cancelled(self, turn: TurnState) -> None:
        """Record a result for each of the turn's calls that was cancelled, which says so."""

    def join(self, turn: TurnState) -> None:
        """After tool results: take in the events that are to steer the turn."""

    def set_apart(self, turn: TurnState, event_ids: Sequence[str]) -> None:
        """Put back into the queue what was to join and is no part of the step."""

    def boundary(self, turn: TurnState) -> None:
        """Between two steps: raise `Interrupted` or `ContinueDue` where one is due."""


async def run(turn: TurnState, steps: Steps) -> ModelResult:
    """Run what is left of a turn. Returns the result of its last model step.

    Raises:
        Interrupted: It was stopped.
        ContinueDue: It stands at a step boundary and the run must end.
        StepFailed: A model step failed for good.
    """
    while True:
        if turn.calls:
            await _settle(turn, steps)
            steps.boundary(turn)
            turn.calls = []
            steps.join(turn)  # behind the boundary: what is in the queue need not be carried twice
        if turn.question is not None and turn.question.unanswered:
            await steps.approve(turn, turn.question, 0)
            steps.boundary(turn)
        result = await steps.call_model(turn)
        if result.stop == ASKS:  # nothing was sent: the same step again, once a person has answered
            turn.ask(result.calls)
            continue
        turn.ask([])
        over = result.stop in OVER  # the model was not called: what joined gets a turn of its own
        steps.set_apart(turn, list(turn.merged) if over else result.apart)
        if over:
            return result
        turn.event, turn.joined = None, []  # the journal has them now
        turn.step += 1
        turn.calls = [CallState.of(plan) for plan in result.calls]
        if ends_turn(result.stop):
            return result
        steps.boundary(turn)


async def _settle(turn: TurnState, steps: Steps) -> None:
    slots = asyncio.Semaphore(MAX_PARALLEL_CALLS)
    calls = {
        index: asyncio.create_task(_call(turn, call, index, steps, slots))
        for index, call in enumerate(turn.calls)
        if not call.done
    }
    await steps.await_calls(turn, calls)
    # All of them settle before anything is decided: one call's end never cuts another's.
    ends = await asyncio.gather(*calls.values(), return_exceptions=True)
    raised = [end for end in ends if isinstance(end, BaseException)]
    for end in sorted(raised, key=lambda end: not isinstance(end, Interrupted)):
        raise end
    if any(call.cancelled for call in turn.calls):
        await steps.settle_cancelled(turn)


async def _call(turn: TurnState, call: CallState, index: int, steps: Steps, slots: asyncio.Semaphore) -> None:
    while not (call.done or call.cancelled):
        if call.unanswered:
            await steps.approve(turn, call, index)
        async with slots:
            if call.cancelled:
                return
            steps.boundary(turn)
            try:
                call.failed = not await steps.run_tool(turn, call, index)
            except StepFailed:
                call.failed = True  # no result: the transcript gives the call an error result
            call.done = call.failed or not call.unanswered
            turn.effects = turn.effects or call.done
    if call.failed and not call.cancelled:
        _fail(turn, call, steps)


def _fail(turn: TurnState, call: CallState, steps: Steps) -> None:
    """A call failed: cancel the others where that is as many as the agent bears. Without a bound nothing happens."""
    if call.failures is None or sum(c.failed and not c.cancelled for c in turn.calls) < call.failures:
        return
    for other in turn.calls:
        other.cancelled = other.cancelled or not (other.done or other.unanswered)
    steps.withdraw_approvals(GIVEN_UP)
