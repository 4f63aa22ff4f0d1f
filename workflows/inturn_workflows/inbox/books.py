"""An inbox's books: how many events were accepted, how they ended, and what the journal must still learn.

Invariant: `accepted` is always the sum of what waits, runs and has ended; nothing grows without bound: decisions that
are not written yet are kept one by one up to `MAX_DECISIONS` and `sizes.DECISIONS`, and only counted beyond.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from inturn import sizes
from inturn.wire import Message
from inturn_activities.messages import Decision

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
    unwritten: int = 0
    """How many decisions were only counted, ever."""
    unwritten_bytes: int = 0
    """Content of late events that the journal does not have yet."""
    bytes: int = 0
    """What `decisions` have as written."""

    @property
    def pending(self) -> bool:
        """Whether there is something that the journal must learn."""
        return bool(self.decisions or self.overflowed)

    @property
    def full(self) -> bool:
        """Whether further decisions would only be counted."""
        return not self.has_room(0)

    def has_room(self, content: int) -> bool:
        """Return whether a decision with so many bytes of content would be kept one by one."""
        return len(self.decisions) < MAX_DECISIONS and self.bytes + content + sizes.NOTE <= sizes.DECISIONS

    def count(self, disposition: str, change: int = 1) -> None:
        """Count an event's end, or take it back."""
        self.counts[disposition] = self.counts.get(disposition, 0) + change

    def decide(
        self, type_: str, turn: str | None, key: str, now: float, body: dict[str, Any], disposition: str | None = None
    ) -> None:
        """Note what the journal must learn."""
        # No more are discarded than were parked.
        always = type_ in _ALWAYS_KEPT or disposition == "discarded"
        if self.full and not always:
            kind = f"{type_} {body.get('error') or body.get('policy') or disposition or 'closed'}"
            self._overflow(kind, body["source"] if type_ in _BY_SOURCE and "source" in body else None)
            return
        decision = Decision(type=type_, turn=turn, key=key, disposition=disposition, body=body, at=now)
        self.decisions.append(decision)
        self.bytes += sizes.written(decision)

    def drain_decisions(self, now: float) -> list[Decision]:
        """Take what the journal must learn, in order."""
        drained, self.decisions = self.decisions, []
        for kind, count in self.overflowed.items():
            type_, reason, *source = kind.split(" ", 2)
            body = {"reason": reason, "count": count} | ({"source": source[0]} if source else {})
            drained.append(Decision(type=type_, key=f"{kind}/{self.unwritten}@{now:.3f}", body=body, at=now))
        self.overflowed = {}
        self.unwritten_bytes = self.bytes = 0
        return drained

    def _overflow(self, kind: str, source: str | None) -> None:
        named = kind if source is None else f"{kind} {source}"
        if named not in self.overflowed and len(self.overflowed) >= MAX_COUNTED:
            named = kind
        self.overflowed[named] = self.overflowed.get(named, 0) + 1
        self.unwritten += 1
