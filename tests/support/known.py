"""A session that knows where its journal stands, as all do after their first turn, and its steps without a server."""

from __future__ import annotations

from typing import Any

from inturn.keys import SessionKey, StepKey
from inturn_activities.messages import ModelInput, ModelResult, StepResult, ToolInput
from tests.support.steps import StepRunner, environment


class Known:
    """Runs a session's turns on a worker's steps, one after the other."""

    def __init__(self, runner: StepRunner, session: SessionKey) -> None:
        self.runner, self.session = runner, session
        self.journal: str | None = None
        self.head = 0

    async def plain(self, event_id: str, content: str) -> None:
        """Have an event answered."""
        event = {"event_id": event_id, "content": content}
        await self._model(self.session.turn(event_id).step(0), event=event)

    async def with_a_call(self, event_id: str, content: str) -> None:
        """Have an event answered by way of one call of a tool."""
        turn, event = self.session.turn(event_id), {"event_id": event_id, "content": content}
        [call] = (await self._model(turn.step(0), event=event)).calls
        message = ToolInput(journal=self.journal, head=self.head, call=call.id)
        self._learn(await environment(turn.step(0, 0)).run(self.runner.steps.run_tool, message))
        await self._model(turn.step(1))

    async def _model(self, step: StepKey, **fields: Any) -> ModelResult:
        message = ModelInput(journal=self.journal, head=self.head, **fields)
        result = await environment(step).run(self.runner.steps.call_model, message)
        self._learn(result)
        return result

    def _learn(self, result: StepResult) -> None:
        self.journal, self.head = result.journal or self.journal, result.head
