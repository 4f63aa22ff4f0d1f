"""An inbox so plain that it is right by reading: lists, scanned for every question.

It shares no code with `workflows`; the state machine in `inbox_machine.py` compares the two after each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from inturn.policy import InboxPolicy
from tests.property.models.books_model import BooksModel, Shelved
from tests.property.models.pace_model import PaceModel
from tests.property.models.sequence_model import Gap, Item, SequenceModel

MERGED_BYTES = 256 * 1024
HELD_BYTES = (512 - 292 - 1) * 1024
PLACE_BYTES = 224
"""What the place of a cancelled event takes that was held."""


@dataclass(eq=False)
class InboxModel(BooksModel):
    """What an inbox should hold."""

    order: SequenceModel = field(default_factory=SequenceModel)
    pace: PaceModel = field(default_factory=PaceModel)
    line: list[Item] = field(default_factory=list)
    running: Item | None = None
    joined: list[Item] = field(default_factory=list)
    """What the running turn took up beside its own event."""
    interrupts: str | None = None
    """The last event that the latest arrival brought to interrupt."""

    def __post_init__(self) -> None:
        self.order.most_sources = self.bounds.sources

    # Questions.

    def waiting(self) -> list[Item]:
        """List what waits, in the line or held, with the places that cancelled ones keep."""
        return [*self.line, *self.order.held]

    def bytes_waiting(self) -> int:
        """Add up what waits."""
        return sum(item.size if item.state in ("pending", "held") else PLACE_BYTES for item in self.waiting())

    def bytes_held(self) -> int:
        """Add up what is held."""
        return sum(item.size if item.state == "held" else PLACE_BYTES for item in self.order.held)

    def place(self, item: Item) -> int | None:
        """Count the events ahead of one that waits in the line."""
        return next((place for place, other in enumerate(self.line) if other is item), None)

    def position(self, event_id: str) -> int | None:
        """Count the events ahead of the first that waits under an id."""
        return next((place for place, item in enumerate(self.line) if item.id == event_id), None)

    def refusal(self, item: Item, policy: InboxPolicy) -> tuple[str, bool] | None:
        """Return why a new event would not be taken, and whether nothing but held events is in its way."""
        waiting, fills = self.waiting(), self.order.fills_a_gap(item, policy)
        ahead = bool(self.running or self.line)
        if item.when_busy == "reject" and (ahead or (waiting and not fills)):
            return "SessionBusy", not ahead
        if item.size > policy.capacity_bytes:
            return "InvalidEvent", False
        if fills and not self.line:
            return None
        if len(waiting) + 1 > policy.capacity or self.bytes_waiting() + item.size > policy.capacity_bytes:
            return "Backpressure", not self.line
        queued = [other for other in self.line if other.source == item.source]
        of_source = len(queued) + len(self.order.of(item.source))
        if policy.source_quota is not None and of_source + 1 > policy.source_quota and (queued or not fills):
            return "Backpressure", not queued
        hold = item.sequence is not None and self.order.verdict(item, policy) == "held"
        too_many = len(self.order.held) + 1 > policy.hold_capacity or self.bytes_held() + item.size > HELD_BYTES
        if hold and policy.hold_overflow == "reject" and too_many:
            return "Backpressure", True
        return None

    def due(self, policy: InboxPolicy) -> float | None:
        """Return the earliest time at which something can be taken or released."""
        times = [self.order.deadline(source, policy) for source in self.order.waiting_sources(policy)]
        return min(times + ([self.pace.opens(policy)] if self.line else []), default=None)

    # Arrivals.

    def accept(self, item: Item, policy: InboxPolicy, turn: str | None) -> tuple[str, str | None]:
        """Take a new event; returns the receipt's status, and its disposition where it has one already."""
        self.interrupts = None
        self._arrive(item)
        self._remember(item.id)
        self._remember_others(item)
        if item.sequence is None:
            self._apply([item], item.at, policy, turn)
            return "accepted", None
        verdict = self.order.verdict(item, policy)
        if verdict == "held":
            self.order.hold(item)
            while len(self.order.held) > policy.hold_capacity or self.bytes_held() > HELD_BYTES:
                first = self.order.waiting_sources(policy)[0]
                self._apply(self.order.end_wait(first, policy), item.at, policy, turn)
            if item.state == "pending":
                return "accepted", None
            return ("held", None) if item.state == "held" else ("accepted", item.state)
        if verdict == "next":
            self._apply(self.order.deliver(item), item.at, policy, turn)
            return "accepted", None
        item.state = "late"
        self._apply([item], item.at, policy, turn)
        return "accepted", None if item.state == "pending" else item.state

    def _remember_others(self, item: Item) -> None:
        """Remember an event's other names, those that are not known as such."""
        for name in dict.fromkeys(item.aliases):
            if name != item.id and f"~{name}" not in self.remembered:
                self._remember(f"~{name}")

    def release(self, now: float, policy: InboxPolicy, turn: str | None = None) -> None:
        """Queue what has been held for long enough."""
        self.interrupts = None
        self._apply(self.order.release(now, policy), now, policy, turn)

    def _apply(self, released: list[Item | Gap], now: float, policy: InboxPolicy, turn: str | None) -> None:
        for out in released:
            if isinstance(out, Gap):
                self._write_gap(out, policy.on_gap)
            elif out.state == "late" and policy.on_late == "accept":
                out.sequence = None
                self._line_up(out, now, policy, turn)
            elif out.state in ("late", "parked"):
                self._set_aside(out, policy.capacity_bytes)
            else:
                self._line_up(out, now, policy, turn)

    def _write_gap(self, gap: Gap, policy: str) -> None:
        key = f"gap/{gap.source}/{gap.first}-{gap.last}/{gap.behind}"
        missing, count = [gap.first, gap.last], gap.last - gap.first + 1
        self._write(
            "session.gap", None, key, tally=policy, source=gap.source, missing=missing, count=count, policy=policy
        )

    def _line_up(self, item: Item, now: float, policy: InboxPolicy, turn: str | None) -> None:
        item.state, item.group = "pending", item.n
        item.steers = turn if item.when_busy == "steer" else None
        last = self.line[-1] if self.line else None
        if last and last.when_busy == item.when_busy == "merge" and last.source == item.source:
            group = [other for other in self.line if other.group == last.group]
            size = sum(other.size for other in group) + item.size
            if len(group) + 1 <= policy.merge_limit and size <= MERGED_BYTES:
                item.group = last.group
        if item.when_busy == "interrupt":
            self.interrupts = self.interrupts if item.expired(now, policy) else item.id
            self.line.insert(self._front(item), item)
        else:
            self.line.append(item)

    def _front(self, item: Item) -> int:
        """Return the first place; of what is numbered, the first behind its source's numbers and their groups."""
        ahead = [other for other in self.line if self._precedes(other, item)]
        groups = [other.group for other in ahead]
        return max((place + 1 for place, other in enumerate(self.line) if other.group in groups), default=0)

    def _precedes(self, one: Item, other: Item) -> bool:
        return one.sequence is not None and other.sequence is not None and one.source == other.source

    # Turns.

    def take(self, now: float, policy: InboxPolicy) -> list[Item]:
        """Start the first of the line that is still wanted, with its group; that a turn may start is asked before."""
        while self.line:
            group = [item for item in self.line if item.group == self.line[0].group]
            self.line = self.line[len(group) :]
            wanted = [item for item in group if not self._expire(item, now, policy)]
            if wanted:
                self.running, self.joined = wanted[0], wanted[1:]
                for item in wanted:
                    item.state = "running"
                self.pace.starts.append(now)
                return wanted
        return []

    def steer(self, turn: str, now: float, policy: InboxPolicy) -> list[Item]:
        """Return what joins the running turn at its boundary, as far as that takes it."""
        joining: list[Item] = []
        for item in [item for item in self.line if item.steers == turn]:
            if any(self._precedes(other, item) for other in self.line[: self.line.index(item)]):
                continue
            if len(joining) + 1 > policy.merge_limit or sum(other.size for other in [*joining, item]) > MERGED_BYTES:
                break
            self.line.remove(item)
            if not self._expire(item, now, policy):
                item.state = "running"
                joining.append(item)
        self.joined += joining
        return joining

    def finish(self, disposition: str) -> None:
        """End the running event, and what joined it."""
        host, joined = self._end_turn(disposition)
        if disposition == "rejected":
            self._forget(host.id)
        for item in joined:
            self._end(item, "merged", into=host.id)

    def repeat(self) -> None:
        """Learn that the running event had ended long ago: what joined it is in line again, behind what interrupts."""
        host, joined = self._end_turn("repeated")
        merged = [item for item in joined if item.group == host.group]
        for item in joined:
            item.state, item.group = "pending", merged[0].n if item in merged else item.n
        front = sum(1 for _ in takewhile(lambda item: item.when_busy == "interrupt", self.line))
        self.line = [*self.line[:front], *joined, *self.line[front:]]

    def park(self, *, effects: bool) -> None:
        """Shelve the running event."""
        item = self.running
        assert item is not None
        self.finish("parked")
        self._shelve(Shelved(item.id, item.turn, item, effects=effects))

    def _end_turn(self, disposition: str) -> tuple[Item, list[Item]]:
        host, joined = self.running, self.joined
        assert host is not None
        host.state, self.running, self.joined = disposition, None, []
        return host, joined

    def _expire(self, item: Item, now: float, policy: InboxPolicy) -> bool:
        expired = item.expired(now, policy)
        if expired:
            self._end(item, "expired")
        return expired

    # What people do.

    def cancel(self, event_id: str, policy: InboxPolicy) -> bool:
        """Take an event out. Of one that was held the number stays, where numbers are awaited."""
        waiting = [item for item in self.waiting() if item.state in ("pending", "held")]
        item = next((item for item in waiting if item.id == event_id), None)
        if item is None:
            return False
        self.line = [other for other in self.line if other is not item]
        if self.order.is_sparse(str(item.source), policy):
            self.order.held = [other for other in self.order.held if other is not item]
        self._end(item, "cancelled")
        return True

    def clear(self, disposition: str) -> list[str]:
        """End everything that waits. Returns the ids."""
        cleared, self.line = [*self.line, *self.order.clear()], []
        for item in cleared:
            if disposition == "parked":
                self._shelve(Shelved(item.id, item.turn, item))
            self._end(item, disposition)
        return [item.id for item in cleared]

    def comes_again(self, event_id: str) -> bool:
        """Return whether what came under an id was no event, and is parked: the next one with this id is meant."""
        shelved = self.shelved(event_id)
        return shelved is not None and not shelved.valid

    def correct(self, came: Item) -> None:
        """Drive what was no event again, with what came for it now."""
        shelved = self.shelved(came.id)
        assert shelved is not None
        assert shelved.item is not None
        self.shelf.remove(shelved)
        item = shelved.item
        again = Item(item.id, item.n, came.at, "pending", times=item.times + 1, group=-item.n)
        again.size, again.source, again.aliases = came.size, came.source, came.aliases
        self._remember_others(again)
        self.came[item.n - 1] = again
        self.line.append(again)

    def redrive(self, event_id: str, now: float, *, force: bool) -> bool:
        """Drive something parked again: it has no content then, so it is of no source and takes no room."""
        item = self.take_off(event_id, force=force)
        if isinstance(item, Item):
            again = Item(item.id, item.n, now, "pending", times=item.times + 1, group=-item.n)
            self.came[item.n - 1] = again
            self.line.append(again)
        return item is not False
