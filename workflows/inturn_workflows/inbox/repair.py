"""An inbox that an exception of our own code left behind: whole again, without the event that it struck.

Invariant: afterwards every accepted event stands in exactly one place again, and what the exception struck is parked
with its error. What is derived from what waits is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.sequencing import Sequencer


def lost(inbox: Inbox, *, running: int) -> int:
    """Return how many events were accepted and stand nowhere."""
    counts = inbox.balance(running=running)
    return counts.pop("accepted") - sum(counts.values())


def set_next_aside(inbox: Inbox, before: Sequence[Queued], error: str, now: float) -> None:
    """Park what an exception struck while the next events were taken: those that are gone, else the first of `before`.

    Args:
        inbox: Where it happened.
        before: What waited then.
        error: What happened.
        now: Seconds since 1970.
    """
    still = set(map(id, [*inbox.sequencer.held, *inbox.queue.events]))
    gone = [queued for queued in before if id(queued) not in still and queued.event_id not in _ended(inbox, before)]
    struck = gone[: max(lost(inbox, running=0), 0)] or [queued for queued in before if id(queued) in still][:1]
    _rebuild(inbox, but=struck)
    for queued in struck:
        if queued.event:
            inbox.endings.set_aside(queued, error, now)
        elif queued.place is None:  # driven again: the journal holds it
            inbox.endings.park(ParkedEvent(turn=queued.turn, n=queued.n, error=error, at=now))


def set_arrival_aside(inbox: Inbox, arrival: Arrival, error: str, now: float, *, running: int) -> None:
    """Park an event that an exception struck while it was admitted, unless it waits all the same or came before."""
    _rebuild(inbox)
    missing = lost(inbox, running=running)
    inbox.books.accepted -= min(missing, 0)
    if inbox.waits(arrival.event_id) or (missing <= 0 and inbox.ids.of(arrival) is not None):
        return
    if missing <= 0:
        inbox.books.accepted += 1
    if arrival.event_id not in inbox.dedup:
        inbox.ids.remember(arrival, inbox.books.accepted)
    queued = Queued(turn=arrival.event_id, n=inbox.books.accepted, at=now, event=arrival.wire, size=arrival.size)
    inbox.endings.set_aside(queued, error, now)


def _ended(inbox: Inbox, events: Sequence[Queued]) -> set[str]:
    open_ = (None, "pending", "running", "held")
    return {queued.event_id for queued in events if inbox.dedup.disposition_of(queued.event_id) not in open_}


def _rebuild(inbox: Inbox, but: Sequence[Queued] = ()) -> None:
    out = set(map(id, but))
    queue = EventQueue()
    for queued in inbox.queue.events:
        if id(queued) not in out:
            queue.append(queued)
    inbox.queue = queue
    held = [queued for queued in inbox.sequencer.held if id(queued) not in out]
    inbox.sequencer = Sequencer(sources=inbox.sequencer.sources, held=held)
