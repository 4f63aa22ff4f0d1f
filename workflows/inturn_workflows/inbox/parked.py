"""The events, and deliveries, that an inbox has set aside: its dead letters.

Invariant: bounded by number and bytes, the oldest go first. An event's content is in the journal, here is its preview.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from functools import cached_property
from typing import Final

from pydantic import Field

from inturn import names, sizes
from inturn.wire import Message
from inturn_workflows.inbox.events import ParkedEvent, Refusal

MAX_PARKED: Final = 100


class DeadLetters(Message):
    """What is parked, in the order in which it was; carried whole by continue-as-new."""

    events: list[ParkedEvent] = Field(default_factory=list[ParkedEvent])
    bytes: int = 0
    """What they have as written."""

    @cached_property
    def _ids(self) -> Counter[str]:
        """How many events are parked under each id; deliveries are of events that ended otherwise."""
        return Counter(parked.event_id for parked in self.events if parked.delivery is None)

    def __len__(self) -> int:
        return len(self.events)

    def holds(self, event_id: str) -> bool:
        """Return whether an event is parked here."""
        return self._ids[event_id] > 0

    def add(self, parked: ParkedEvent) -> None:
        """Set one aside."""
        parked.error = sizes.clip(parked.error, sizes.ERROR)
        self._ids[parked.event_id] += parked.delivery is None
        self.events.append(parked)
        self.bytes += sizes.written(parked)
        while len(self.events) > MAX_PARKED or self.bytes > sizes.PARKED:
            self.remove(self.events[0])

    def remove(self, parked: ParkedEvent) -> None:
        """Take one out that is to run again, or is given up."""
        self.events.remove(parked)
        if parked.delivery is None:
            self._ids -= Counter((parked.event_id,))
        self.bytes -= sizes.written(parked)

    def note_lost(self, event_ids: Container[str]) -> None:
        """Note of which the journal does not have what they say: the same sent again drives them again."""
        for parked in self.events:
            if parked.delivery is None and parked.event_id in event_ids:
                self.bytes -= sizes.written(parked)
                parked.lost = True
                self.bytes += sizes.written(parked)

    def find(self, event_id: str) -> ParkedEvent | Refusal:
        """Return an event, or its delivery: what was parked last."""
        found = next((parked for parked in reversed(self.events) if parked.event_id == event_id), None)
        return found or Refusal(names.INVALID_EVENT, f"event {event_id} is not parked here")

    def find_redrivable(self, event_id: str, *, force: bool) -> ParkedEvent | Refusal:
        """Return one that may be driven again; `force`: though its turn had effects."""
        parked = self.find(event_id)
        if isinstance(parked, Refusal):
            return parked
        if not parked.valid and parked.event_id.startswith(names.SEALED):
            message = (
                f"event {event_id} cannot be read here: a client that has its key, and reads the journal, redrives it"
            )
            return Refusal(names.INVALID_EVENT, message)
        if not parked.valid:
            message = f"event {event_id} was never valid ({parked.error}); it can only be discarded"
            return Refusal(names.INVALID_EVENT, message)
        if parked.effects and not force and parked.delivery is None:
            message = f"event {event_id} had effects before it failed; redrive needs force=True"
            return Refusal(names.INVALID_EVENT, message)
        return parked
