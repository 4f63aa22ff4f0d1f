"""An inbox's books: how many events were accepted, how they ended, and what the journal must still learn.

Invariant: `accepted` is always the sum of what waits, runs and has ended; nothing grows without bound: decisions that
are not written yet are kept one by one up to `MAX_DECISIONS` and `sizes.DECISIONS`, and only counted beyond, with what
says of each event which it was: that an event is lost is never hidden by others. What was refused as it came is told by
a bit; what had waited by a short name: no more than a run is sent, and written down before it is carried too far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pydantic import Field, PrivateAttr

from inturn import sizes
from inturn.keys import redrive_of, short_name
from inturn.names import COUNTED
from inturn.signals import Signal, add_mark
from inturn.wire import Message
from inturn_activities.messages import Decision, counted_decisions

MAX_DECISIONS: Final = 500
MAX_COUNTED: Final = 20
"""Kinds of decisions that are counted by their source; further ones are without."""
_BY_SOURCE: Final = frozenset({"event.expired", "event.rejected"})
"""Their sources get notices."""
_ALWAYS_KEPT: Final = frozenset({"event.parked", "event.merged"})
"""A parked event's decision may hold its only content, a merged one's says where its answer is; all are bounded."""


class Books(Message):
    """Counts and decisions; carried whole by continue-as-new."""

    accepted: int = 0
    unnamed: int = 0
    """Signals that brought an event without an id: the next one's number among them."""
    counts: dict[str, int] = Field(default_factory=dict[str, int])
    """Events by final disposition."""
    decisions: list[Decision] = Field(default_factory=list[Decision])
    overflowed: dict[str, int] = Field(default_factory=dict[str, int])
    """Decisions beyond `MAX_DECISIONS`, counted by type, error and, where it gets a notice, source."""
    names: dict[str, int] = Field(default_factory=dict[str, int])
    """The short names of those of their events that had waited, each with the place of its kind."""
    signals: dict[str, str] = Field(default_factory=dict[str, str])
    """Those of them that were rejected as they came, by run, as `inturn.signals` marks them."""
    unwritten: int = 0
    """How many decisions were only counted, ever."""
    unwritten_bytes: int = 0
    """Content of late events that the journal does not have yet."""
    bytes: int = 0
    """What `decisions` have as written."""
    _writing: dict[str, Decision] = PrivateAttr(default_factory=dict[str, Decision])
    """Decisions on their way to the journal, by key; no run ends meanwhile."""

    @property
    def pending(self) -> bool:
        """Whether there is something that the journal must learn."""
        return bool(self.decisions or self.overflowed)

    @property
    def unrecorded(self) -> dict[str, int]:
        """How the journal's counts change, by disposition, once it has learned what it must."""
        changes = Counter[str]()
        for decision in (self._writing | {decision.key: decision for decision in self.decisions}).values():
            changes.update(_changes(decision))
        for kind, count in self.overflowed.items():
            changes[_ended(kind.partition(" ")[0])] += count
        return {disposition: change for disposition, change in changes.items() if change}

    @property
    def full(self) -> bool:
        """Whether further decisions would only be counted."""
        return not self.has_room(0)

    def has_room(self, content: int) -> bool:
        """Return whether a decision with so many bytes of content would be kept one by one."""
        return len(self.decisions) < MAX_DECISIONS and self.bytes + content + sizes.NOTE <= sizes.DECISIONS

    def accept(self, event_id: str) -> int:
        """Count an event that was accepted, and return its number; what was rejected under its id is the past."""
        if self.names:
            self.names.pop(short_name(event_id), None)
        self.accepted += 1
        return self.accepted

    def count(self, disposition: str, change: int = 1) -> None:
        """Count an event's end, or take it back."""
        self.counts[disposition] = self.counts.get(disposition, 0) + change

    def decide(
        self, type_: str, turn: str | None, key: str, now: float, body: dict[str, Any], disposition: str | None = None
    ) -> str | None:
        """Note what the journal must learn; return the kind under which it is only counted, if it is."""
        # No more are discarded than were parked.
        always = type_ in _ALWAYS_KEPT or disposition == "discarded"
        if self.full and not always:
            kind = f"{type_} {body.get('error') or body.get('policy') or disposition or 'closed'}"
            source = body["source"] if type_ in _BY_SOURCE and "source" in body else None
            return self._overflow(kind, source)
        decision = Decision(type=type_, turn=turn, key=key, disposition=disposition, body=body, at=now)
        self.decisions.append(decision)
        self.bytes += sizes.written(decision)
        return None

    def name(self, event_id: str, kind: str) -> None:
        """Say which event it is that was only counted, by its short name."""
        self.names[short_name(event_id)] = list(self.overflowed).index(kind)

    def mark(self, signal: Signal) -> None:
        """Say which event it is that was only counted, by the signal that brought it."""
        self.signals[signal.run] = add_mark(self.signals.get(signal.run, ""), signal.number)

    def drain_decisions(self, now: float) -> list[Decision]:
        """Take what the journal must learn, in order."""
        drained, self.decisions = self.decisions, []
        stamp = f"{self.unwritten}@{now:.3f}"
        drained += counted_decisions(self.overflowed, self.names, self.signals, stamp, now)
        self.overflowed, self.names, self.signals = {}, {}, {}
        self.unwritten_bytes = self.bytes = 0
        self._writing = {decision.key: decision for decision in drained}
        return drained

    def note_written(self, decisions: Sequence[Decision]) -> None:
        """Note that the journal has these decisions."""
        for decision in decisions:
            self._writing.pop(decision.key, None)

    def _overflow(self, kind: str, source: str | None) -> str:
        named = kind if source is None else f"{kind} {source}"
        if named not in self.overflowed and len(self.overflowed) >= MAX_COUNTED:
            named = kind
        self.overflowed[named] = self.overflowed.get(named, 0) + 1
        self.unwritten += 1
        return named


def _changes(decision: Decision) -> dict[str, int]:
    """Return how a decision changes the journal's counts: one that was parked there is so no more."""
    if decision.type in COUNTED and "count" in decision.body:
        return {_ended(decision.type): int(decision.body["count"])}
    if not decision.ends:
        return {}
    was_parked = decision.ends == "discarded" or (decision.disposition and redrive_of(decision.turn or ""))
    changes = Counter({decision.ends: 1})
    changes["parked"] -= 1 if was_parked else 0
    return changes


def _ended(type_: str) -> str:
    return type_.removeprefix("event.")
