"""The books of an inbox, so plain that they are right by reading: all that ever came, counted every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tests.property.models.sequence_model import Item

FINAL = ("applied", "merged", "cancelled", "expired", "rejected", "parked", "discarded")
LATE_BYTES = 290 * 1024
"""An event that is set aside stays in the books until they are written: they hold one of the largest. The bytes of
decisions are no part of this model, whose sizes are only numbers."""
COUNTED = 20
"""So many sorts of what is only counted are counted by source."""
ALWAYS_TOLD = ("event.parked", "event.merged")


class Written(NamedTuple):
    """A decision."""

    type: str
    turn: str | None
    key: str
    disposition: str | None
    body: dict[str, Any]
    """What its body holds, among other things."""


@dataclass(frozen=True)
class Bounds:
    """The limits of the inbox under test that no policy sets."""

    window: int
    recent: int
    parked: int
    decisions: int
    sources: int


@dataclass(eq=False)
class Shelved:
    """What is parked: an event, or a delivery of one."""

    id: str
    turn: str
    item: Item | None
    valid: bool = True
    effects: bool = False


@dataclass(eq=False)
class BooksModel:
    """What came, how it stands, and what was decided."""

    bounds: Bounds
    came: list[Item] = field(default_factory=list)
    shelf: list[Shelved] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    payloads: int = 0
    """Bytes of parked events that only unwritten decisions hold."""
    tallied: Counter[str] = field(default_factory=Counter)

    # Questions.

    def book(self) -> dict[str, int]:
        """Count every event where it stands."""
        return {"accepted": len(self.came), **Counter(item.state for item in self.came)}

    def must_know(self, event_id: str) -> bool:
        """Return whether an id has to be known: it waits, runs or is parked here, or is in the window."""
        known = self.still_stands(event_id) or self.waits_under_alias(event_id) is not None
        return known or not {event_id, f"~{event_id}"}.isdisjoint(self.remembered[-self.bounds.window :])

    def may_know(self, event_id: str) -> bool:
        """Return whether it may be known: a little longer than it has to."""
        if self.still_stands(event_id) or self.waits_under_alias(event_id):
            return True
        known = [known for known in self.remembered if known]
        window = known[-self.bounds.window - 2 * self.bounds.recent :]
        return not {event_id, f"~{event_id}"}.isdisjoint(window)

    def standings(self, event_id: str) -> set[str | None]:
        """Return what a duplicate's receipt may say of the original."""
        states = [item.state for item in reversed(self.came) if item.id == event_id and item.state != "rejected"]
        state = states[0] if states else None
        state = "applied" if state == "repeated" else state  # as the journal said
        remembered = event_id in self.remembered[-self.bounds.recent :]
        return {state} if self.still_stands(event_id) or remembered else {state, None}

    def still_stands(self, event_id: str) -> bool:
        """Return whether an event waits, runs or is parked here under an id."""
        runs = any(item.id == event_id and item.state == "running" for item in self.came)
        parked = any(shelved.id == event_id and shelved.item is not None for shelved in self.shelf)
        return self.still_waits(event_id) or runs or parked

    def still_waits(self, event_id: str) -> bool:
        """Return whether an event waits under an id."""
        return any(item.id == event_id and item.state in ("pending", "held") for item in self.came)

    def waits_under_alias(self, name: str) -> Item | None:
        """Find what waits under a name that is another one of its own, and nothing's own that waits."""
        if self.still_waits(name):
            return None
        waiting = [item for item in self.came if item.state in ("pending", "held")]
        return next((item for item in waiting if name in item.aliases), None)

    def shelved(self, event_id: str) -> Shelved | None:
        """Find what was parked last under an id."""
        return next((shelved for shelved in reversed(self.shelf) if shelved.id == event_id), None)

    # Changes.

    def reject(self, event_id: str, error: str, source: str | None = None) -> None:
        """Book what could not be refused."""
        item = self._arrive(Item(event_id, state="rejected"))
        self._write("event.rejected", event_id, f"{event_id}/rejected/{item.n}", tally=error, whom=source)

    def park_invalid(self, event_id: str) -> str:
        """Shelve what is no event, or count it where nobody could be told. Returns its disposition."""
        if len(self.written) >= self.bounds.decisions:
            self.reject(event_id, "InvalidEvent")
            return "rejected"
        item = self._arrive(Item(event_id, state="parked"))
        self._remember(event_id)
        self._shelve(Shelved(event_id, event_id, item, valid=False))
        self._write("event.parked", event_id, f"{event_id}/parked", "parked")
        return "parked"

    def park_delivery(self, turn: str, step: str) -> None:
        """Shelve a delivery: no event changes."""
        self._shelve(Shelved(turn.split("~")[0], turn, None))
        self._write("event.parked", turn, f"{turn}/{step}/parked")

    def take_off(self, event_id: str, *, force: bool) -> Item | Literal[False] | None:
        """Take something off the shelf to drive it again: its event, None for a delivery, False if it may not."""
        shelved = self.shelved(event_id)
        if shelved is None or not shelved.valid or (shelved.effects and not force):
            return False
        self.shelf.remove(shelved)
        return shelved.item

    def discard(self, event_id: str) -> bool:
        """Discard something parked."""
        shelved = self.shelved(event_id)
        if shelved is None:
            return False
        self.shelf.remove(shelved)
        if shelved.item is not None:
            shelved.item.state = "discarded"
            self._write("event.cancelled", shelved.turn, f"{shelved.turn}/discarded", "discarded")
        return True

    def drain(self) -> tuple[list[Written], Counter[str]]:
        """Return what was decided since the last time, and what was only counted."""
        drained = self.written, self.tallied
        self.written, self.tallied, self.payloads = [], Counter(), 0
        return drained

    # Inside.

    def _arrive(self, item: Item) -> Item:
        item.n = len(self.came) + 1
        self.came.append(item)
        return item

    def _remember(self, event_id: str) -> None:
        self.remembered = [*(known for known in self.remembered if known != event_id), event_id]

    def _forget(self, event_id: str) -> None:
        self.remembered = ["" if known == event_id else known for known in self.remembered]

    def _shelve(self, shelved: Shelved) -> None:
        self.shelf = [*self.shelf, shelved][-self.bounds.parked :]

    def _set_aside(self, item: Item, room: int) -> None:
        """Park an event whose payload only the decision holds, where there is room for it; else reject it."""
        too_large = item.size > LATE_BYTES or self.payloads + item.size > room
        if len(self.written) >= self.bounds.decisions or too_large:
            self._end(item, "rejected", tally="Backpressure")
            return
        self.payloads += item.size
        self._shelve(Shelved(item.id, item.turn, item))
        self._end(item, "parked")

    def _end(self, item: Item, disposition: str, tally: str | None = None, **body: Any) -> None:
        item.state = disposition
        for name in (item.id, *(f"~{alias}" for alias in item.aliases)) if disposition == "rejected" else ():
            self._forget(name)
        kind = {"parked": "parked", "rejected": f"rejected/{item.n}"}.get(disposition, "disposition")
        outcome = None if disposition == "rejected" else disposition
        whom = (item.source or "client") if disposition in ("expired", "rejected") else None
        self._write(f"event.{disposition}", item.turn, f"{item.turn}/{kind}", outcome, tally=tally, whom=whom, **body)

    def _write(
        self,
        type_: str,
        turn: str | None,
        key: str,
        end: str | None = None,
        *,
        tally: str | None = None,
        whom: str | None = None,
        **body: Any,
    ) -> None:
        if len(self.written) >= self.bounds.decisions and type_ not in ALWAYS_TOLD and end != "discarded":
            sort = f"{type_} {tally or end or 'closed'}"
            named = f"{sort} {whom}" if whom else sort
            self.tallied[named if named in self.tallied or len(self.tallied) < COUNTED else sort] += 1
        else:
            self.written.append(Written(type_, turn, key, end, body))
