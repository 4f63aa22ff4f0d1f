"""Whether an inbox has room for an event, and when it will have.

Invariant: held events alone never shut out the one that they wait for, and whoever is refused is told when there should
be room: at the pace of the latest turns, at the policy's rate, or where a gap ends.

Pure: time is an argument, in seconds since 1970.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from inturn import names, sizes
from inturn.events import Envelope
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import Arrival, Refusal
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.rate import TokenBucket
from inturn_workflows.inbox.sequencing import Sequencer

SOONEST: Final = 0.1
LATEST: Final = 60.0
"""Seconds after which a refused event may come again, at least and at most."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an inbox takes under a policy, at a time."""

    queue: EventQueue
    sequencer: Sequencer
    rate: TokenBucket
    pace: float
    """Seconds that a turn takes, lately."""
    policy: InboxPolicy
    now: float
    beside: tuple[int, int] = (0, 0)
    """Events and bytes that have come and are not among these yet."""

    def refusal(self, arrival: Arrival, *, busy: bool) -> Refusal | None:
        """Return why a new event would be refused; `None` where it would not. Changes nothing."""
        event, limit = arrival.event, self.policy.capacity_bytes
        if event.when_busy == "reject" and (refusal := self._in_use(event, busy=busy)) is not None:
            return refusal
        if arrival.size > limit:
            message = f"the event has {arrival.size:,} bytes, the inbox takes {limit:,} in all"
            return Refusal(names.INVALID_EVENT, message)
        return self._full(event, arrival.size, arrival.referred) or self._held_full(event, arrival.size)

    # Inside.

    def _in_use(self, event: Envelope, *, busy: bool) -> Refusal | None:
        if not (busy or self.queue or self.sequencer.held or self.beside[0]):
            return None
        gap = not (busy or self.queue or self.beside[0])
        if gap and self._fills(event):
            return None
        wait = self._until_gap_ends() if gap else self._after(len(self.queue) + 1)
        return Refusal(names.SESSION_BUSY, "the session is busy and the event asked to be refused then", wait, gap)

    def _full(self, event: Envelope, size: int, referred: int) -> Refusal | None:
        policy, fills = self.policy, self._fills(event)
        if fills and not self.queue:
            return None
        waiting = len(self.queue) + len(self.sequencer.held) + self.beside[0]
        in_bytes = self.queue.bytes + self.sequencer.bytes + self.beside[1]
        if waiting >= policy.capacity or in_bytes + size > policy.capacity_bytes:
            message = f"the inbox is full: {waiting} events, {in_bytes:,} bytes wait"
            return self._backpressure(message, len(self.queue) / 10)
        kept = self.queue.referred + self.sequencer.referred
        if referred and kept + referred > policy.content_bytes:
            message = f"the inbox is full: the journal keeps {kept:,} bytes for {waiting} events that wait"
            return self._backpressure(message, len(self.queue) / 10)
        if policy.source_quota is None or self._waiting_of(event.source) < policy.source_quota:
            return None
        turns = self._ahead(event.source)
        if fills and not turns:
            return None
        return self._backpressure(f"source {event.source} has its quota of {policy.source_quota} events waiting", turns)

    def _held_full(self, event: Envelope, size: int) -> Refusal | None:
        sequencer, policy = self.sequencer, self.policy
        if event.sequence is None or policy.hold_overflow == "release":
            return None
        if len(sequencer.held) < policy.hold_capacity and sequencer.bytes + size <= sizes.HELD:
            return None
        if sequencer.verdict(event.source, event.sequence, policy, event.sequencing) != "held":
            return None
        return self._backpressure(f"{len(sequencer.held)} events wait for missing ones already", 0)

    def _fills(self, event: Envelope) -> bool:
        """Return whether held events wait for just this one."""
        if event.sequence is None:
            return False
        return self.sequencer.fills(event.source, event.sequence, self.policy, event.sequencing)

    def _waiting_of(self, source: str) -> int:
        """Return how many events of a source wait, queued and held."""
        return self.queue.count_of(source) + sum(queued.source == source for queued in self.sequencer.held)

    def _ahead(self, source: str) -> int:
        """Return the turns until one fewer of a source is queued; 0 where none is."""
        if not self.queue.count_of(source):
            return 0
        return next(n for n, queued in enumerate(self.queue.events, 1) if queued.event and queued.source == source)

    def _backpressure(self, message: str, turns: float) -> Refusal:
        """Return a refusal until so many turns are done; without any, until a gap ends."""
        wait = self._after(turns) if turns else self._until_gap_ends()
        return Refusal(names.BACKPRESSURE, message, wait, behind_a_gap=not turns)

    def _after(self, turns: float) -> float:
        """Return the seconds that so many turns take, as the latest ones did and as the rate lets them start."""
        return _advised(max(turns * self.pace, self.rate.wait(math.ceil(turns), self.now, self.policy)))

    def _until_gap_ends(self) -> float:
        due = self.sequencer.next_due(self.policy)
        return _advised(0.0 if due is None else due - self.now)


def _advised(seconds: float) -> float:
    return min(LATEST, max(SOONEST, seconds))
