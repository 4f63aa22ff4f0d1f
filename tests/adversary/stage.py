"""Where triggers play: a worker's steps without a Temporal server, before the strict Claude.

Invariant: a trigger judges nothing. It says what happens today, line by line; what must not happen is a test's to pin.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.exceptions import ApplicationError

from inturn_activities.messages import ModelResult
from tests.support import strict as support
from tests.support.strict import StrictRig

Say = Callable[[str], None]
Trigger = Callable[[Say], Awaitable[None]]


@dataclass
class Stage(StrictRig):
    """A session's steps on one worker, and somebody who says how they end."""

    say: Say

    async def ask(self, event_id: str, content: Any = "hi", *, step: int = 0, **fields: Any) -> ModelResult | None:
        """Run a model step and say how it ended; an event whose step 0 fails for good is parked, as a session does."""
        label = f"{event_id}/{step}"
        try:
            result = await self.steps.ask(event_id, content, step=step, **fields)
        except ApplicationError as error:
            verdict = "for good" if error.non_retryable else "for now"
            self.say(f"{label} failed {verdict}, {error.type}: {error.message[:200]}")
            await self.park(event_id)
            return None
        self.say(f"{label} ended: stop {result.stop}, calls {[call.tool for call in result.calls]}")
        return result


@asynccontextmanager
async def strict(say: Say, *, tools: Sequence[Any] = (), **server: Any) -> AsyncGenerator[Stage]:
    """Play in front of the strict Claude, with the real Anthropic SDK between."""
    with tempfile.TemporaryDirectory() as directory:
        async with support.strict(Path(directory), tools=tools, **server) as made:
            yield Stage(made.server, made.steps, say)
