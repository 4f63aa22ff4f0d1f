"""One attempt of a model step: what it works with, and what the journal answered to its claim."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity

from inturn import names
from inturn.agents import Agent
from inturn.journal import Claim, NewEntry
from inturn.keys import StepKey
from inturn_activities import failures
from inturn_activities.live.pen import Pen
from inturn_activities.messages import ModelInput, ModelResult


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """What one attempt works with.

    Attributes:
        agent: As the model is to answer it that was chosen for this turn.
        own: The agent's own model.
        known: The seq up to which this worker had read the session before.
        opening: The entries that the claim wrote, or found written.
        since: Before when it claimed, by the monotonic clock.
        pen: What writes down what the model says as it says it; `None`: nobody may see that.
    """

    step: StepKey
    input: ModelInput
    agent: Agent
    claim: Claim
    known: int | None = None
    opening: Sequence[NewEntry] = ()
    since: float = field(default_factory=time.monotonic)
    pen: Pen | None = None
    own: str | None = None

    @property
    def key(self) -> str:
        """The step within the session."""
        return self.step.within_session

    @property
    def user_messages(self) -> list[NewEntry]:
        """What the user says at the beginning of the turn."""
        return [entry for entry in self.opening if entry.type == "user.message"] if self.step.step == "0" else []

    def entry(self, type_: str, body: dict[str, Any], *, key: str, step: str | None = None) -> NewEntry:
        """Return an entry of this turn."""
        return NewEntry(type_, body, event_id=self.step.turn.event_id, step=step, key=key)

    def recorded(self) -> ModelResult:
        """Return the result that is on record, where the claim was not granted: no model is called.

        Raises:
            ApplicationError: There is none: the step was settled without an answer.
        """
        claim, record = self.claim, self.claim.result
        if record is not None and "status" in record:
            record = None  # settled: there is no answer
        # An earlier attempt of this activity ended the turn, and its worker died before it could say so.
        lost = activity.info().attempt > 1 and record is not None
        if claim.status == "closed":
            return ModelResult(stop="closed", head=claim.head, recorded=True)
        if claim.status == "ended" and claim.outcome is not None and not lost:
            return ModelResult(stop="ended", head=claim.head, recorded=True)
        if record is None:
            raise failures.final(names.SUPERSEDED, "the step was settled without an answer")
        return ModelResult.model_validate(record).model_copy(update={"head": claim.head, "recorded": True})
