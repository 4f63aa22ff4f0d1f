"""Whether an inbox has room for an event, and when it will have.

Invariant: held events alone never shut out the one that they wait for, and whoever is refused is told when there should
be room: at the pace of the latest turns, at the policy's rate, or where a gap ends.

Pure: time is an argument, in seconds since 1970.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inturn import names
from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import Refusal

if TYPE_CHECKING:
    from inturn_workflows.inbox.inbox import Inbox

SOONEST: Final = 0.1
LATEST: Final = 60.0
"""Seconds after which a refused event may come again, at least and at most."""


@dataclass(frozen=True, slots=True)
class Room:
    """An inbox under a policy, at a time."""

    inbox: Inbox
    policy: InboxPolicy
    now: float

    def refusal(self, event: Event, size: int, *, busy: bool) -> Refusal | None:
        """Tell why a new event would be refused. Changes nothing."""
        if event.when_busy == "reject" and (refusal := self._in_use(event, busy=busy)) is not None:
            return refusal
        if size > self.policy.capacity_bytes:
            message = f"the event has {size:,} bytes, the inbox takes {self.policy.capacity_bytes:,} in all"
            return Refusal(names.INVALID_EVENT, message)
        return self._full(event, size) or self._held_full(event)

    def at_pace(self, turns: float) -> float:
        """Give the seconds that so many turns take, as the latest ones did."""
        pace = self.inbox.pace
        return _advised(turns * (1.0 if pace is None else pace))

    # Inside.

    def _in_use(self, event: Event, *, busy: bool) -> Refusal | None:
        inbox = self.inbox
        if not (busy or inbox.queue or inbox.sequencer.held):
            return None
        gap = not busy and not inbox.queue
        if gap and self._fills(event) and inbox.changed("gaps-end"):
            return None
        wait = self._until_gap_ends() if gap else self._after(len(inbox.queue) + 1)
        return Refusal(names.SESSION_BUSY, "the session is busy and the event asked to be refused then", wait, gap)

    def _full(self, event: Event, size: int) -> Refusal | None:
        inbox, policy, fills = self.inbox, self.policy, self._fills(event)
        if fills and not inbox.queue:
            return None
        waiting, in_bytes = len(inbox.queue) + len(inbox.sequencer.held), inbox.queued_bytes + inbox.sequencer.bytes
        if waiting >= policy.capacity or in_bytes + size > policy.capacity_bytes:
            message = f"the inbox is full: {waiting} events, {in_bytes:,} bytes wait"
            return self._until(message, len(inbox.queue) / 10)
        if policy.source_quota is None or inbox.waiting_of(event.source) < policy.source_quota:
            return None
        turns = self._ahead(event.source)
        if fills and not turns and inbox.changed("gaps-end"):
            return None
        return self._until(f"source {event.source} has its quota of {policy.source_quota} events waiting", turns)

    def _held_full(self, event: Event) -> Refusal | None:
        sequencer, policy = self.inbox.sequencer, self.policy
        if event.sequence is None or policy.hold_overflow == "release" or len(sequencer.held) < policy.hold_capacity:
            return None
        if sequencer.place(event.source, event.sequence, policy) != "held":
            return None
        return self._until(f"{len(sequencer.held)} events wait for missing ones already", 0)

    def _fills(self, event: Event) -> bool:
        """Tell whether held events wait for just this one."""
        return event.sequence is not None and self.inbox.sequencer.fills(event.source, event.sequence, self.policy)

    def _ahead(self, source: str) -> int:
        """Count the turns until one fewer of a source is queued; 0 where none is."""
        if not self.inbox.queued_of(source):
            return 0
        queue = self.inbox.queue
        return next(n for n, queued in enumerate(queue, 1) if queued.event and queued.source == source)

    def _until(self, message: str, turns: float) -> Refusal:
        """Refuse until so many turns are done; without any, until a gap ends."""
        wait = self._after(turns) if turns else self._until_gap_ends()
        return Refusal(names.BACKPRESSURE, message, wait, behind_a_gap=not turns)

    def _after(self, turns: float) -> float:
        starts = self.inbox.bucket.wait(math.ceil(turns), self.now, self.policy)
        return max(self.at_pace(turns), _advised(starts))

    def _until_gap_ends(self) -> float:
        due = self.inbox.sequencer.next_due(self.policy)
        return _advised(0.0 if due is None else due - self.now)


def _advised(seconds: float) -> float:
    return min(LATEST, max(SOONEST, seconds))
