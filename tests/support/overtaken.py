"""An attempt of a model step that is overtaken by one held up on its way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from temporalio.exceptions import ApplicationError

from inturn.journal import Position
from inturn.keys import StepKey
from inturn_activities.messages import ModelInput, ModelResult
from inturn_activities.model.call_model import ModelSteps


@contextlib.contextmanager
def overtaken() -> Iterator[None]:
    """Run a late attempt to its end right after one has failed: its answer goes nowhere."""
    run = ModelSteps.run

    async def outlived(
        steps: ModelSteps, step: StepKey, input: ModelInput, *, seen: Position | None = None
    ) -> ModelResult:
        try:
            return await run(steps, step, input, seen=seen)
        except ApplicationError:
            await run(steps, step, input, seen=seen)
            raise

    with mock.patch.object(ModelSteps, "run", outlived):
        yield
