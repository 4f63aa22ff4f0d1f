"""Under which ids an inbox knows events.

Invariant: an event that has come under any of its ids is a duplicate: while it waits, runs or is parked here, or the
window remembers that id. What was parked as no event is known by the id that it named, and stands for no other event.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued, Receipt
from inturn_workflows.inbox.parked import DeadLetters
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.sequencing import Sequencer

INTERRUPTED: Final = "interrupted"
"""How the window remembers a cancelled event whose turn ran: there is a turn to show."""
UNANSWERED: Final = "unanswered"
"""How it remembers a merged event whose host was set aside: there is none."""


@dataclass(frozen=True, slots=True)
class KnownIds:
    """The ids of an inbox's events. `running`: those of what the running turn answers."""

    queue: EventQueue
    sequencer: Sequencer
    parked: DeadLetters
    dedup: DedupWindow

    def knows(self, id_: str, running: Container[str] = ()) -> bool:
        """Return whether an event came under an id: what waits, runs or is parked may outlast the window."""
        if id_ in running or self.queue.find(id_) or self.sequencer.holds(id_) or self.parked.holds(id_):
            return True
        return id_ in self.dedup or self.dedup.has_alias(id_) or self._under_alias(id_) is not None

    def of(self, arrival: Arrival, running: Container[str] = ()) -> str | None:
        """Return the first of an arrival's ids under which an event came; `None`: it is new."""
        if self.knows(arrival.event_id, running):
            return arrival.event_id
        return next((alias for alias in arrival.aliases if self._is_event(alias, running)), None)

    def remember(self, arrival: Arrival, number: int) -> None:
        """Have the window know all ids of an event that is accepted as this number."""
        self.dedup.add(arrival.event_id, "pending", number)
        self.remember_others(arrival, number)

    def remember_others(self, arrival: Arrival, number: int) -> None:
        """Have the window know its other ids."""
        for alias in arrival.aliases:
            self.dedup.add_alias(alias, number)

    def duplicate(self, id_: str, running: Container[str] = ()) -> Receipt:
        """Return the receipt of an id that is known: of the event that came under it, where that is still known."""
        if waiting := self._under_alias(id_):
            id_ = waiting.event_id
        if queued := self.queue.find(id_):
            position = min(map(self.queue.index, queued))
            return Receipt(id_, "duplicate", position=position, disposition="pending")
        if self.sequencer.holds(id_):
            return Receipt(id_, "duplicate", disposition="held")
        if id_ in running:
            return Receipt(id_, "duplicate", disposition="running")
        if self.parked.holds(id_):
            return Receipt(id_, "duplicate", disposition="parked")
        disposition = self.dedup.disposition_of(id_)
        known = {INTERRUPTED: "cancelled", UNANSWERED: "merged"}.get(disposition or "", disposition)
        return Receipt(id_, "duplicate", disposition=known)

    def _under_alias(self, id_: str) -> Queued | None:
        """Return what waits under an id that is not its own."""
        if self.queue.find(id_) or self.sequencer.holds(id_):
            return None
        return self.queue.under_alias(id_) or self.sequencer.under_alias(id_)

    def _is_event(self, id_: str, running: Container[str]) -> bool:
        """Return whether an id stands for an event, and not for what was parked as none."""
        if id_ in running or self.dedup.has_alias(id_) or self._under_alias(id_) is not None:
            return True
        parked = self.parked.find(id_) if self.parked.holds(id_) else None
        return self.knows(id_) and not (isinstance(parked, ParkedEvent) and not parked.valid)
