"""Where triggers play: a worker's steps without a Temporal server, before the strict Claude or a model of a user's own.

Invariant: a trigger judges nothing. It says what happens today, line by line; what must not happen is a test's to pin.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from inturn import Agent
from inturn.testing import StrictClaude
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision, ModelResult
from inturn_activities.model.claude import Claude
from tests.support import steps

MODEL: Final = "claude-sonnet-5-5"
BOUNDS: Final = Bounds(beat=0.01, lease=0.1)

Say = Callable[[str], None]
Trigger = Callable[[Say], Awaitable[None]]


@dataclass
class Stage:
    """A session's steps on one worker."""

    say: Say
    server: StrictClaude
    steps: steps.StepRunner

    async def ask(self, event_id: str, content: Any = "hi", *, step: int = 0, **fields: Any) -> ModelResult | None:
        """Run a model step and say how it ended; an event whose step 0 fails for good is parked, as a session does."""
        label = f"{event_id}/{step}"
        try:
            result = await self.steps.ask(event_id, content, step=step, **fields)
        except ApplicationError as error:
            verdict = "for good" if error.non_retryable else "for now"
            self.say(f"{label} failed {verdict}, {error.type}: {error.message[:200]}")
            await self._park(event_id)
            return None
        self.say(f"{label} ended: stop {result.stop}, calls {[call.tool for call in result.calls]}")
        return result

    async def turn(self, event_id: str, *, step: int = 0) -> ModelResult | None:
        """Run a model step, the calls that it asks for, and the step after them."""
        result = await self.ask(event_id, step=step)
        if result is None:
            return None
        await self.steps.tools(result, event_id, step=step)
        return await self.ask(event_id, step=step + 1)

    def changed(self, **agent: Any) -> Stage:
        """Return the stage after a deploy that changed the agent."""
        values = {"model": MODEL, "instructions": "Be long.", **agent}
        made = steps.StepRunner(self.steps.journal, self.steps.model, [Agent("support", **values)], bounds=BOUNDS)
        return Stage(self.say, self.server, made)

    async def _park(self, event_id: str) -> None:
        body = {"error": "the step failed", "turn": event_id}
        ends = [("turn.failed", "end"), ("event.parked", "parked")]
        decisions = [
            Decision(type=type_, turn=event_id, key=f"{event_id}/{key}", disposition="parked", body=body)
            for type_, key in ends
        ]
        await self.steps.record(*decisions, settle=[event_id])


@asynccontextmanager
async def strict(
    say: Say, *, model: str = MODEL, tools: Sequence[Any] = (), instructions: str = "Be brief.", **server: Any
) -> AsyncGenerator[Stage]:
    """Play in front of the strict Claude, with the real Anthropic SDK between."""
    async with StrictClaude(**server) as claude:
        provider = Claude(api_key="test", base_url=claude.url, stall_timeout=2)
        agent = Agent("support", model=model, instructions=instructions, tools=tools)
        with tempfile.TemporaryDirectory() as directory:
            async with steps.rig(Path(directory), model=provider, agents=[agent], bounds=BOUNDS) as made:
                yield Stage(say, claude, made)
        await provider.aclose()
