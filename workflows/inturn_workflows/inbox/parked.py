"""The events, and deliveries, that an inbox has set aside.

Invariant: bounded by number, the oldest go first. An event's content is in the journal, here is its preview.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from inturn import names
from inturn_workflows.inbox.events import ParkedEvent, Refusal

MAX_PARKED: Final = 100


class DeadLetters(BaseModel):
    """What is parked, in the order in which it was; carried whole by continue-as-new."""

    model_config = ConfigDict(extra="allow")

    parked: list[ParkedEvent] = Field(default_factory=list[ParkedEvent])

    def keep_parked(self, parked: ParkedEvent) -> None:
        """Set one aside."""
        self.parked.append(parked)
        del self.parked[:-MAX_PARKED]

    def find_parked(self, event_id: str) -> ParkedEvent | Refusal:
        """Find an event, or its delivery: what was parked last."""
        found = next((parked for parked in reversed(self.parked) if parked.event_id == event_id), None)
        return found or Refusal(names.INVALID_EVENT, f"event {event_id} is not parked here")

    def find_redrivable(self, event_id: str, *, force: bool) -> ParkedEvent | Refusal:
        """Find one that may be driven again; `force`: though its turn had effects."""
        parked = self.find_parked(event_id)
        if isinstance(parked, Refusal):
            return parked
        if not parked.valid:
            message = f"event {event_id} was never valid ({parked.error}); it can only be discarded"
            return Refusal(names.INVALID_EVENT, message)
        if parked.effects and not force and parked.delivery is None:
            message = f"event {event_id} had effects before it failed; redrive needs force=True"
            return Refusal(names.INVALID_EVENT, message)
        return parked
