"""An inbox so plain that it is right by reading: one list of all that ever came, scanned for every question.

It shares no code with `workflows.inbox`; the state machine in `test_inbox_model.py` compares the two after each step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FINAL = ("applied", "merged", "cancelled", "expired", "rejected", "parked", "discarded")
Written = tuple[str, str, str, str | None]
"""A decision: type, turn, key, disposition."""


@dataclass(frozen=True)
class Bounds:
    """The limits that the inbox under test has."""

    events: int
    size: int
    window: int
    recent: int
    parked: int
    decisions: int


@dataclass(eq=False)
class Item:
    """One accepted event."""

    id: str
    n: int
    state: str
    size: int = 0
    deadline: float | None = None
    times: int = 0
    """How often it was driven again."""

    @property
    def turn(self) -> str:
        """Its turn's name."""
        return f"{self.id}~{self.times}" if self.times else self.id


@dataclass(eq=False)
class Shelved:
    """What is parked: an event, or a delivery of one."""

    id: str
    turn: str
    item: Item | None
    valid: bool = True
    effects: bool = False


@dataclass(eq=False)
class InboxModel:
    """What an inbox should hold."""

    bounds: Bounds
    came: list[Item] = field(default_factory=list)
    line: list[Item] = field(default_factory=list)
    running: Item | None = None
    shelf: list[Shelved] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    tallied: Counter[str] = field(default_factory=Counter)

    # Questions.

    def book(self) -> dict[str, int]:
        """Count every event where it stands."""
        return {"accepted": len(self.came), **Counter(item.state for item in self.came)}

    def bytes_waiting(self) -> int:
        """Add up what waits."""
        return sum(item.size for item in self.line)

    def must_know(self, event_id: str) -> bool:
        """Tell whether the window has to know an id."""
        return event_id in self.remembered[-self.bounds.window :]

    def may_know(self, event_id: str) -> bool:
        """Tell whether it is allowed to: a little longer than it has to."""
        known = [known for known in self.remembered if known]
        return event_id in known[-self.bounds.window - 2 * self.bounds.recent :]

    def standings(self, event_id: str) -> set[str | None]:
        """Give what a duplicate's receipt may say of the original."""
        state = next((item.state for item in reversed(self.came) if item.id == event_id), None)
        surely = event_id in self.remembered[-self.bounds.recent :] or any(item.id == event_id for item in self.line)
        return {state} if surely else {state, None}

    def position(self, event_id: str) -> int | None:
        """Count the events ahead of one that waits."""
        return next((place for place, item in enumerate(self.line) if item.id == event_id), None)

    def refusal(self, size: int, when_busy: str, *, sequence: bool = False) -> str | None:
        """Say why a new event would not be taken."""
        if sequence or when_busy in ("merge", "steer"):
            return "InvalidEvent"
        if when_busy == "reject" and (self.running or self.line):
            return "SessionBusy"
        if size > self.bounds.size:
            return "InvalidEvent"
        if len(self.line) + 1 > self.bounds.events or self.bytes_waiting() + size > self.bounds.size:
            return "Backpressure"
        return None

    # Changes.

    def accept(self, event_id: str, size: int, deadline: float | None, *, front: bool) -> int:
        """Take a new event; gives its place in the line."""
        item = self._arrive(event_id, "pending", size, deadline)
        self._remember(event_id)
        self.line.insert(0 if front else len(self.line), item)
        return self.line.index(item)

    def reject(self, event_id: str, error: str) -> None:
        """Book what could not be refused."""
        item = self._arrive(event_id, "rejected")
        self._write("event.rejected", event_id, f"{event_id}/rejected/{item.n}", None, error)

    def park_invalid(self, event_id: str) -> str:
        """Shelve what is no event, or count it where nobody could be told; gives its disposition."""
        if len(self.written) >= self.bounds.decisions:
            self.reject(event_id, "InvalidEvent")
            return "rejected"
        item = self._arrive(event_id, "parked")
        self._remember(event_id)
        self._shelve(Shelved(event_id, event_id, item, valid=False))
        self._write("event.parked", event_id, f"{event_id}/parked", "parked")
        return "parked"

    def take(self, now: float) -> Item | None:
        """Start the first of the line that is still wanted."""
        while self.line:
            item = self.line.pop(0)
            if item.deadline is None or item.deadline >= now:
                item.state, self.running = "running", item
                return item
            self._end(item, "expired")
        return None

    def finish(self, disposition: str) -> None:
        """End the running event."""
        assert self.running is not None
        self.running.state, self.running = disposition, None

    def park(self, *, effects: bool) -> None:
        """Shelve the running event."""
        item = self.running
        assert item is not None
        self.finish("parked")
        self._shelve(Shelved(item.id, item.turn, item, effects=effects))

    def park_delivery(self, turn: str, step: str) -> None:
        """Shelve a delivery: no event changes."""
        self._shelve(Shelved(turn.split("~")[0], turn, None))
        self._write("event.parked", turn, f"{turn}/{step}/parked", None)

    def cancel(self, event_id: str) -> bool:
        """Take an event out of the line."""
        item = next((item for item in self.line if item.id == event_id), None)
        if item is None:
            return False
        self.line.remove(item)
        self._end(item, "cancelled")
        return True

    def clear(self, disposition: str) -> list[str]:
        """End the whole line."""
        cleared, self.line = self.line, []
        for item in cleared:
            if disposition == "parked":
                self._shelve(Shelved(item.id, item.turn, item))
            self._end(item, disposition)
        return [item.id for item in cleared]

    def redrive(self, event_id: str, *, force: bool) -> bool:
        """Put something parked back; tells whether that may be."""
        shelved = self.shelved(event_id)
        if shelved is None or not shelved.valid or (shelved.effects and not force):
            return False
        self.shelf.remove(shelved)
        if shelved.item is not None:
            shelved.item.state, shelved.item.size, shelved.item.deadline = "pending", 0, None
            shelved.item.times += 1
            self.line.append(shelved.item)
        return True

    def discard(self, event_id: str) -> bool:
        """Give something parked up."""
        shelved = self.shelved(event_id)
        if shelved is None:
            return False
        self.shelf.remove(shelved)
        if shelved.item is not None:
            shelved.item.state = "discarded"
            self._write("event.cancelled", shelved.turn, f"{shelved.turn}/discarded", "discarded")
        return True

    def drain(self) -> tuple[list[Written], Counter[str]]:
        """Give what was decided since the last time, and what was only counted."""
        drained = self.written, self.tallied
        self.written, self.tallied = [], Counter()
        return drained

    # Inside.

    def shelved(self, event_id: str) -> Shelved | None:
        """Find what was parked last under an id."""
        return next((shelved for shelved in reversed(self.shelf) if shelved.id == event_id), None)

    def _arrive(self, event_id: str, state: str, size: int = 0, deadline: float | None = None) -> Item:
        self.came.append(Item(event_id, len(self.came) + 1, state, size, deadline))
        return self.came[-1]

    def _remember(self, event_id: str) -> None:
        self.remembered = [*(known for known in self.remembered if known != event_id), event_id]

    def _shelve(self, shelved: Shelved) -> None:
        self.shelf = [*self.shelf, shelved][-self.bounds.parked :]

    def _end(self, item: Item, disposition: str) -> None:
        item.state = disposition
        if disposition == "rejected":
            self.remembered = ["" if known == item.id else known for known in self.remembered]
        kind = {"parked": "parked", "rejected": f"rejected/{item.n}"}.get(disposition, "disposition")
        outcome = None if disposition == "rejected" else disposition
        self._write(f"event.{disposition}", item.turn, f"{item.turn}/{kind}", outcome)

    def _write(self, type_: str, turn: str, key: str, disposition: str | None, error: str | None = None) -> None:
        always = type_ == "event.parked" or disposition == "discarded"
        if len(self.written) >= self.bounds.decisions and not always:
            self.tallied[f"{type_} {error or disposition or 'closed'}"] += 1
        else:
            self.written.append((type_, turn, key, disposition))
