"""The events, and deliveries, that an inbox has set aside: its dead letters.

Invariant: bounded by number, the oldest go first. An event's content is in the journal, here is its preview.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from inturn import names
from inturn.wire import Message
from inturn_workflows.inbox.events import ParkedEvent, Refusal

MAX_PARKED: Final = 100


class DeadLetters(Message):
    """What is parked, in the order in which it was; carried whole by continue-as-new."""

    events: list[ParkedEvent] = Field(default_factory=list[ParkedEvent])

    def __len__(self) -> int:
        return len(self.events)

    def add(self, parked: ParkedEvent) -> None:
        """Set one aside."""
        self.events.append(parked)
        del self.events[:-MAX_PARKED]

    def remove(self, parked: ParkedEvent) -> None:
        """Take one out that is to run again, or is given up."""
        self.events.remove(parked)

    def find(self, event_id: str) -> ParkedEvent | Refusal:
        """Return an event, or its delivery: what was parked last."""
        found = next((parked for parked in reversed(self.events) if parked.event_id == event_id), None)
        return found or Refusal(names.INVALID_EVENT, f"event {event_id} is not parked here")

    def find_redrivable(self, event_id: str, *, force: bool) -> ParkedEvent | Refusal:
        """Return one that may be driven again; `force`: though its turn had effects."""
        parked = self.find(event_id)
        if isinstance(parked, Refusal):
            return parked
        if not parked.valid:
            message = f"event {event_id} was never valid ({parked.error}); it can only be discarded"
            return Refusal(names.INVALID_EVENT, message)
        if parked.effects and not force and parked.delivery is None:
            message = f"event {event_id} had effects before it failed; redrive needs force=True"
            return Refusal(names.INVALID_EVENT, message)
        return parked
