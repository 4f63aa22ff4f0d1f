"""The queue of an inbox: accepted events in the order in which they run.

Invariant: `bytes` and the indexes say what `events` says; all that changes it is here. To add at the end, to take from
the front and to look one up by its id costs hardly more when many wait: a flood does it with each of its events.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from itertools import chain
from typing import Final

from pydantic import Field

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
    referred: int = 0
    """Bytes of their contents that the journal has."""

    @cached_property
    def _by_id(self) -> defaultdict[str, list[Queued]]:
        """What waits by event id: one each, but for a duplicate that the dedup window did not know."""
        by_id = defaultdict[str, list[Queued]](list)
        for queued in self.events:
            by_id[queued.event_id].append(queued)
        return by_id

    @cached_property
    def _by_alias(self) -> dict[str, Queued]:
        """What waits by its other ids."""
        return {alias: queued for queued in self.events for alias in queued.aliases}

    @cached_property
    def _counts(self) -> Counter[str]:
        """How many wait of each source; redriven ones are of none."""
        return Counter(queued.source for queued in self.events if queued.event)

    def __len__(self) -> int:
        return len(self.events)

    # Looking.

    def find(self, event_id: str) -> list[Queued]:
        """Return what waits under an event's id."""
        return self._by_id.get(event_id, [])

    def under_alias(self, id_: str) -> Queued | None:
        """Return what waits under one of its other ids."""
        return self._by_alias.get(id_)

    @property
    def redriven(self) -> int:
        """How many wait to be driven again: their content is in the journal."""
        return sum(not queued.event for queued in self.events)

    def count_of(self, source: str) -> int:
        """Return how many events of a source wait."""
        return self._counts[source]

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
        return len(group) < policy.merge_limit and bytes_of(*group, queued) <= MAX_CONTENT_BYTES

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
        self._by_id[queued.event_id].append(queued)
        self._by_alias.update(dict.fromkeys(queued.aliases, queued))
        self._counts[queued.source] += bool(queued.event)
        self.events.insert(index, queued)
        self.bytes += queued.size
        self.referred += queued.referred

    def append(self, queued: Queued) -> None:
        """Put one at the end."""
        self.insert(len(self.events), queued)

    def pop(self, index: int) -> Queued:
        """Take out the one at a place."""
        queued = self.events[index]
        self._counts[queued.source] -= bool(queued.event)
        for alias in queued.aliases:
            self._by_alias.pop(alias, None)
        others = [other for other in self._by_id.pop(queued.event_id) if other is not queued]
        if others:
            self._by_id[queued.event_id] = others
        del self.events[index]
        self.bytes -= queued.size
        self.referred -= queued.referred
        return queued

    def pop_group(self) -> list[Queued]:
        """Take out the first and those that join it."""
        size = next((n for n in range(1, len(self.events)) if not self.events[n].joins), len(self.events))
        return [self.pop(0) for _ in range(size)]

    def remove(self, event_id: str) -> Queued | None:
        """Take an event out, wherever it is; `None` where it is not queued."""
        index = next((i for i, queued in enumerate(self.events) if queued.event_id == event_id), None)
        if index is None:
            return None
        follower = self.events[index + 1] if index + 1 < len(self.events) else None
        if follower is not None and not self.events[index].joins:
            follower.joins = False  # its host goes: it is the host now
        return self.pop(index)

    def clear(self) -> list[Queued]:
        """Take all out."""
        cleared, self.events, self.bytes, self.referred = self.events, [], 0, 0
        self._by_id.clear()
        self._by_alias.clear()
        self._counts.clear()
        return cleared
