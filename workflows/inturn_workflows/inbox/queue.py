"""The queue of an inbox: accepted events in the order in which they run.

Invariant: `bytes` and the indexes say what `events` says; all that changes it is here. To add at the end, to take from
the front and to look one up by its id costs hardly more when many wait: a flood does it with each of its events.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Final

from pydantic import Field, PrivateAttr

from inturn.events import MAX_CONTENT_BYTES
from inturn.policy import InboxPolicy
from inturn.wire import Message
from inturn_workflows.inbox.events import Queued, bytes_of

BACKLOG: Final = 50
"""So many events are a backlog, or half of what the inbox takes; the session then leaves room for others."""


class EventQueue(Message):
    """The events that wait for a turn; carried whole by continue-as-new, but for the indexes."""

    events: list[Queued] = Field(default_factory=list[Queued])
    bytes: int = 0
    _sources: Counter[str] | None = PrivateAttr(default=None)
    """How many wait of each source; redriven ones not counted."""
    _ids: dict[str, list[Queued]] | None = PrivateAttr(default=None)
    """What waits by event id: one each, but for a duplicate that the dedup window did not know."""

    def __len__(self) -> int:
        return len(self.events)

    # Looking.

    def find(self, event_id: str) -> list[Queued]:
        """Return what waits under an event's id."""
        if self._ids is None:
            self._ids = {}
            for queued in self.events:
                self._ids.setdefault(queued.event_id, []).append(queued)
        return self._ids.get(event_id, [])

    def count_of(self, source: str) -> int:
        """Return how many events of a source wait."""
        if self._sources is None:
            self._sources = Counter(queued.source for queued in self.events if queued.event)
        return self._sources[source]

    def index(self, queued: Queued) -> int:
        """Return its place, sought from where its number would have it: nearby, as most come and go in order."""
        last = len(self.events) - 1
        guess = min(max(last - self.events[-1].n + queued.n, 0), last)
        around = chain.from_iterable((guess - far, guess + far) for far in range(last + 1))
        return next(place for place in around if 0 <= place <= last and self.events[place] is queued)

    def backlogged(self, policy: InboxPolicy) -> bool:
        """Return whether the queue is long."""
        return len(self.events) >= min(BACKLOG, policy.capacity / 2)

    def can_merge(self, queued: Queued, policy: InboxPolicy) -> bool:
        """Return whether one that comes last may be part of the turn of those before it."""
        if not self.events or self.events[-1].mode != "merge" or self.events[-1].source != queued.source:
            return False
        first = len(self.events) - 1
        while self.events[first].joins:
            first -= 1
        group = self.events[first:]
        return len(group) < policy.merge_limit and bytes_of(group) + queued.size <= MAX_CONTENT_BYTES

    def front_for(self, queued: Queued) -> int:
        """Return the first place that is not before what waits of its source, and not within a group."""
        if not queued.numbered:
            return 0
        before = [n for n, other in enumerate(self.events) if other.numbered and other.source == queued.source]
        if not before:
            return 0
        after = range(before[-1] + 1, len(self.events))
        return next((n for n in after if not self.events[n].joins), len(self.events))

    # Changing.

    def insert(self, index: int, queued: Queued) -> None:
        """Put one at a place."""
        self.events.insert(index, queued)
        self.bytes += queued.size
        if self._sources is not None and queued.event:
            self._sources[queued.source] += 1
        if self._ids is not None:
            self._ids.setdefault(queued.event_id, []).append(queued)

    def append(self, queued: Queued) -> None:
        """Put one at the end."""
        self.insert(len(self.events), queued)

    def pop(self, index: int) -> Queued:
        """Take out the one at a place."""
        queued = self.events.pop(index)
        self.bytes -= queued.size
        if self._sources is not None and queued.event:
            self._sources[queued.source] -= 1
        if self._ids is not None:
            same = [other for other in self._ids.pop(queued.event_id) if other is not queued]
            if same:
                self._ids[queued.event_id] = same
        return queued

    def pop_group(self) -> list[Queued]:
        """Take out the first and those that join it."""
        size = next((n for n in range(1, len(self.events)) if not self.events[n].joins), len(self.events))
        return [self.pop(0) for _ in range(size)]

    def remove(self, event_id: str) -> Queued | None:
        """Take an event out, from wherever it stands; `None` where it is not queued."""
        index = next((i for i, queued in enumerate(self.events) if queued.event_id == event_id), None)
        if index is None:
            return None
        follower = self.events[index + 1] if index + 1 < len(self.events) else None
        if follower is not None and not self.events[index].joins:
            follower.joins = False  # its host goes: it is the host now
        return self.pop(index)

    def clear(self) -> list[Queued]:
        """Take all out."""
        cleared, self.events = self.events, []
        self.bytes, self._sources, self._ids = 0, None, None
        return cleared
