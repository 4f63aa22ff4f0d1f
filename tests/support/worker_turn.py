"""A turn of a worker: the workflow's own loop over a worker's own activities, without a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from temporalio.exceptions import ApplicationError

from inturn.agents import Agent
from inturn.journal.views.turns import own_turn
from inturn.keys import StepKey
from inturn.turns.call_results import CANCELLED, FAILED
from inturn.values import Turn
from inturn_activities.messages import DeliverInput, ModelInput, ModelResult, RecordInput, ToolInput, ToolResult
from inturn_workflows.turn import StepFailed, run
from inturn_workflows.turn_state import CallState, Decided, TurnState
from tests.support.steps import SESSION, StepRunner, environment

EVENT = "event"
LOOK = 0.002
"""Seconds between two looks at what a person or another call did meanwhile."""


class WorkerSteps:
    """The steps of one turn. Attempts follow each other at once; a person answers each approval by `answer`."""

    def __init__(self, rig: StepRunner, agent: Agent, event: dict[str, Any], answer: bool | None) -> None:
        self.rig = rig
        self.agent = agent
        self.event = event
        self.answer = answer
        self.turn = TurnState(turn=EVENT, n=1)

    async def run(self) -> Turn:
        """Run the turn and deliver it."""
        result = await run(self.turn, self)
        assert result.stop not in ("closed", "ended")
        if self.agent.deliver is not None:
            await self.deliver("deliver", DeliverInput(kind="turn"))
        turn = await own_turn(self.rig.journal, SESSION, EVENT)
        assert turn is not None
        return turn

    async def call_model(self, turn: TurnState) -> ModelResult:
        event = {"event_id": EVENT, **self.event} if turn.step == 0 else None
        key = SESSION.turn(EVENT).step(turn.step)
        message = ModelInput(event=event, agent=self.agent.name)
        return await environment(key).run(self.rig.steps.call_model, message)

    async def approve(self, turn: TurnState, call: CallState, index: int) -> None:
        call.asked_at = 1.0
        if self.agent.deliver is not None:
            asked = {"approval_id": call.approval_id, "call_id": call.id, "tool": call.tool, "asked_at": 1.0}
            await self.deliver(f"ask-{turn.step - 1}-{index}", DeliverInput(kind="approval", approval=asked))
        if self.answer is not None:
            call.decide(Decided(answer="approved" if self.answer else "denied"))
        while call.answer is None:
            await asyncio.sleep(LOOK)

    async def run_tool(self, turn: TurnState, call: CallState, index: int) -> bool:
        denied = None if call.answer in (None, "approved") else _denial(call)
        message = ToolInput(call=call.id, agent=self.agent.name, denied=denied, answered=call.answered())
        key = SESSION.turn(EVENT).step(turn.step - 1, index)
        running: list[Any] = []

        async def attempt(number: int) -> ToolResult:
            running[:] = [environment(key, number)]
            result: ToolResult = await running[0].run(self.rig.steps.run_tool, message)
            return result

        task = asyncio.ensure_future(_attempts(attempt))
        while not task.done():
            await asyncio.wait([task], timeout=LOOK)
            if call.cancelled:
                running[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            ended: ToolResult = await task
            if ended.plan is not None:
                call.ask(ended.plan)
            return ended.status not in FAILED
        raise StepFailed("cancelled")

    async def await_calls(self, turn: TurnState, calls: Mapping[int, asyncio.Task[None]]) -> None:
        """Nobody closes the session."""

    def withdraw_approvals(self, reason: str) -> None:
        for call in self.turn.calls:
            if call.asked_at and call.answer is None and not call.done:
                call.decide(Decided(answer="expired", reason=reason))

    async def settle_cancelled(self, turn: TurnState) -> None:
        message = RecordInput(settle=[turn.turn], cancelled=CANCELLED, number=str(turn.step - 1))
        await environment(StepKey.parse(f"{SESSION}/~record/1")).run(self.rig.steps.record, message)

    def join(self, turn: TurnState) -> None:
        """Nothing joins."""

    def set_apart(self, turn: TurnState, event_ids: Sequence[str]) -> None:
        """Nothing joined."""

    def boundary(self, turn: TurnState) -> None:
        """Nobody stops it."""

    async def deliver(self, step: str, message: DeliverInput) -> None:
        """Run a delivery."""
        key = SESSION.turn(EVENT).step(step)
        message = message.model_copy(update={"agent": self.agent.name})
        await _attempts(lambda number: environment(key, number).run(self.rig.steps.deliver, message))


async def _attempts(attempt: Callable[[int], Awaitable[Any]]) -> Any:
    number = 1
    while True:
        try:
            return await attempt(number)
        except ApplicationError as error:
            if error.non_retryable:
                raise
        number += 1


def _denial(call: CallState) -> str:
    return f"{call.answer}: {call.reason}" if call.reason else str(call.answer)
