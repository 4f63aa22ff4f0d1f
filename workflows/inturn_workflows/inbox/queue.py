"""The queue of an inbox: events in the order in which they run, and who stands where.

Invariant: `queued_bytes` and the indexes say what `queue` says; all that changes it is here. To add at the end, to take
from the front and to look one up by its id costs hardly more when many wait: a flood does it with each of its events.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from inturn.events import MAX_CONTENT_BYTES
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import Queued, bytes_of

CROWDED: Final = 50
"""So many events are a long queue, or half of what the inbox takes; the session then leaves room for others."""


class Line(BaseModel):
    """Who waits for a turn; carried whole by continue-as-new, but for the indexes."""

    model_config = ConfigDict(extra="allow")

    queue: list[Queued] = Field(default_factory=list[Queued])
    queued_bytes: int = 0
    _sources: Counter[str] | None = PrivateAttr(default=None)
    """How many wait of each source; redriven ones not counted."""
    _ids: dict[str, list[Queued]] | None = PrivateAttr(default=None)
    """Who waits by event id: one each, but for a duplicate that the window did not know."""

    # Looking.

    def queued_as(self, event_id: str) -> list[Queued]:
        """Find by the event's id."""
        if self._ids is None:
            self._ids = {}
            for queued in self.queue:
                self._ids.setdefault(queued.event_id, []).append(queued)
        return self._ids.get(event_id, [])

    def queued_of(self, source: str) -> int:
        """Count the queued events of a source."""
        if self._sources is None:
            self._sources = Counter(queued.source for queued in self.queue if queued.event)
        return self._sources[source]

    def index(self, queued: Queued) -> int:
        """Find one's place, from where its number would have it: nearby, as most come and go in order."""
        last = len(self.queue) - 1
        guess = min(max(last - self.queue[-1].n + queued.n, 0), last)
        around = chain.from_iterable((guess - far, guess + far) for far in range(last + 1))
        return next(place for place in around if 0 <= place <= last and self.queue[place] is queued)

    def crowded(self, policy: InboxPolicy) -> bool:
        """Tell whether the queue is long."""
        return len(self.queue) >= min(CROWDED, policy.capacity / 2)

    def may_join(self, queued: Queued, policy: InboxPolicy) -> bool:
        """Tell whether one that comes last may be part of the turn of those before it."""
        if not self.queue or self.queue[-1].mode != "merge" or self.queue[-1].source != queued.source:
            return False
        first = len(self.queue) - 1
        while self.queue[first].joins:
            first -= 1
        group = self.queue[first:]
        return len(group) < policy.merge_limit and bytes_of(group) + queued.size <= MAX_CONTENT_BYTES

    # Changing.

    def put(self, index: int, queued: Queued) -> None:
        """Let one stand at a place."""
        self.queue.insert(index, queued)
        self.queued_bytes += queued.size
        if self._sources is not None and queued.event:
            self._sources[queued.source] += 1
        if self._ids is not None:
            self._ids.setdefault(queued.event_id, []).append(queued)

    def take_out(self, index: int) -> Queued:
        """Take out the one at a place."""
        queued = self.queue.pop(index)
        self.queued_bytes -= queued.size
        if self._sources is not None and queued.event:
            self._sources[queued.source] -= 1
        if self._ids is not None:
            same = [other for other in self._ids.pop(queued.event_id) if other is not queued]
            if same:
                self._ids[queued.event_id] = same
        return queued

    def take_group(self) -> list[Queued]:
        """Take out the first and those that join it."""
        size = next((n for n in range(1, len(self.queue)) if not self.queue[n].joins), len(self.queue))
        return [self.take_out(0) for _ in range(size)]

    def withdraw(self, event_id: str) -> Queued | None:
        """Take an event out, from wherever it stands; `None` where it is not queued."""
        index = next((i for i, queued in enumerate(self.queue) if queued.event_id == event_id), None)
        if index is None:
            return None
        follower = self.queue[index + 1] if index + 1 < len(self.queue) else None
        if follower is not None and not self.queue[index].joins:
            follower.joins = False  # its host goes: it is the host now
        return self.take_out(index)

    def take_all(self) -> list[Queued]:
        """Take all out."""
        taken, self.queue = self.queue, []
        self.queued_bytes, self._sources, self._ids = 0, None, None
        return taken
