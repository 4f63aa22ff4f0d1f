"""One turn: model step, tool calls, model step … until the model is done.

Invariants: a turn has at most one model call in flight; every call of a model step is settled before the next model
step; a turn can stop between any two steps and go on from its `TurnState` alone, in another run or on another worker.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from activities.messages import ModelResult
from workflows.state import CallState, TurnState

GOES_ON: Final = frozenset({"tool_use", "pause_turn"})
MAX_PARALLEL_CALLS: Final = 8
"""Calls of one session that run at once; the others of the batch wait their turn without a slot."""


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
        """Wait until somebody answered for the call, or its time ran out: `call.answer` is set then."""

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> None:
        """Run one call; its result is in the journal then."""

    def join(self, turn: TurnState) -> None:
        """After tool results: let the events join that are to steer the turn."""

    def boundary(self) -> None:
        """Between two steps: raise `Interrupted` or `ContinueDue` where one is due."""


async def run(turn: TurnState, steps: Steps) -> ModelResult:
    """Run a turn from where it stands to its end.

    Raises:
        Interrupted: Somebody stopped it.
        ContinueDue: It stands at a step boundary and the run must end.
        StepFailed: A model step failed for good.
    """
    while True:
        if turn.calls:
            await _settle(turn, steps)
            turn.calls = []
            steps.join(turn)
            steps.boundary()
        result = await steps.call_model(turn)
        turn.event, turn.joined = None, []  # the journal has them now
        turn.step += 1
        turn.calls = [CallState.model_validate(plan.model_dump()) for plan in result.calls]
        if result.stop not in GOES_ON:
            return result
        steps.boundary()


async def _settle(turn: TurnState, steps: Steps) -> None:
    slots = asyncio.Semaphore(MAX_PARALLEL_CALLS)
    calls = [_call(turn, call, index, steps, slots) for index, call in enumerate(turn.calls) if not call.done]
    # All of them settle before anything is decided: one call's end never cuts another's.
    ends = await asyncio.gather(*calls, return_exceptions=True)
    raised = [end for end in ends if isinstance(end, BaseException)]
    for end in sorted(raised, key=lambda end: not isinstance(end, Interrupted)):
        raise end


async def _call(turn: TurnState, call: CallState, index: int, steps: Steps, slots: asyncio.Semaphore) -> None:
    if call.approval and call.answer is None:
        await steps.approve(turn, call, index)
    async with slots:
        steps.boundary()
        try:
            await steps.run_tool(turn, call, index)
        except StepFailed:
            pass  # no result: the transcript gives the call an error result
        call.done = True
        turn.effects = True
