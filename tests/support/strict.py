"""A worker's steps before the strict Claude, with the real SDK between.

Invariant: what fails for good is parked as a session parks it; everything else that fails is the test's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from inturn import Agent
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import StrictClaude
from inturn.values import Usage
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision, ModelResult
from inturn_activities.model.claude import Claude
from tests.support.steps import StepRunner, rig

MODEL: Final = "claude-sonnet-5-5"
BOUNDS: Final = Bounds(beat=0.01, lease=0.1)


@dataclass
class StrictRig:
    """A session's steps on one worker."""

    server: StrictClaude
    steps: StepRunner

    async def turn(self, event_id: str, content: Any = "hi", **fields: Any) -> str:
        """Run a turn to its end, calls and all; gives its stop reason, or the error that it was parked with."""
        step, result = 0, await self.step(event_id, 0, content, **fields)
        while isinstance(result, ModelResult) and result.stop in ("tool_use", "pause_turn"):
            await self.steps.tools(result, event_id, step=step)
            step += 1
            result = await self.step(event_id, step)
        return result.stop if isinstance(result, ModelResult) else result

    async def step(self, event_id: str, step: int, content: Any = "hi", **fields: Any) -> ModelResult | str:
        """Run a model step; an error that is final parks its event."""
        try:
            return await self.steps.ask(event_id, content, step=step, **fields)
        except ApplicationError as error:
            if not error.non_retryable:
                raise
            await self.park(event_id)
            return error.message

    async def park(self, event_id: str) -> None:
        """Fail an event's turn as the workflow does."""
        body = {"error": "the step failed", "turn": event_id}
        ends = [("turn.failed", "end"), ("event.parked", "parked")]
        decisions = [
            Decision(type=type_, turn=event_id, key=f"{event_id}/{key}", disposition="parked", body=body)
            for type_, key in ends
        ]
        await self.steps.record(*decisions, settle=[event_id])

    def deployed(self, *, tools: Sequence[Any] = (), **agent: Any) -> StrictRig:
        """Return the rig after a deploy that changed the agent."""
        values = {"model": MODEL, "instructions": "Be long.", **agent}
        made = StepRunner(
            self.steps.journal, self.steps.model, [Agent("support", tools=tools, **values)], bounds=BOUNDS
        )
        return StrictRig(self.server, made)

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages of the last request."""
        messages: list[dict[str, Any]] = self.server.requests[-1].body["messages"]
        return messages


@asynccontextmanager
async def strict(
    path: Path, *, model: str = MODEL, tools: Sequence[Any] = (), instructions: str = "Be brief.", **server: Any
) -> AsyncIterator[StrictRig]:
    """Play before the strict Claude."""
    async with StrictClaude(**server) as claude:
        agent = Agent("support", model=model, instructions=instructions, tools=tools)
        async with aclosing(Claude(api_key="test", base_url=claude.url, stall_timeout=2)) as provider:
            async with rig(path, model=provider, agents=[agent], bounds=BOUNDS) as made:
                yield StrictRig(claude, made)


class Given:
    """A model of a user's own: it answers whatever it was given, in order, and says "done" from then on."""

    def __init__(self, *answers: ModelMessage) -> None:
        self.requests: list[ModelRequest] = []
        self._answers = list(answers)

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Return the next answer."""
        self.requests.append(request)
        return self._answers.pop(0) if self._answers else answer([{"type": "text", "text": "done"}], "end_turn")


def answer(content: Any, stop: Any = "tool_use", model: str = MODEL) -> ModelMessage:
    """Return an answer of exactly these blocks."""
    return ModelMessage(content=content, stop_reason=stop, usage=Usage(), model=model)
