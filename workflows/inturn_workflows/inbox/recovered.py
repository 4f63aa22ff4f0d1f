"""The queue of a session that began anew after a run of it was ended from outside.

Invariant: what that run had accepted comes before what came since, the event that began the session anew included, and
all are numbered in this order: it is their order of acceptance. A source's numbers keep their order all the same, and
what is missing among them is waited for as before. No room that others take keeps out what was accepted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from inturn import names, sizes
from inturn.policy import InboxPolicy, Sequencing
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue

_REDRIVE: Final = re.compile(r"~[1-9][0-9]{0,8}")
"""What a turn has behind its event's id, when that was driven again."""
MAX_AGAIN: Final = 2_000
"""No inbox takes more events at once."""


def accepted_at(again: object, now: float) -> float | None:
    """Return when an event was accepted first, as the message says that brings it again; `None`: it does not."""
    if again is True:
        return now
    if isinstance(again, bool) or not isinstance(again, float | int) or again <= 0:
        return None
    return float(min(again, now))


def admits(inbox: Inbox, arrival: Arrival, refusal: Refusal | None) -> bool:
    """Return whether an event that had been accepted before is taken: though others take the room, within its own."""
    if refusal is None:
        return True
    again = [queued.size for queued in inbox.queue.events if queued.again]
    fits = len(again) < MAX_AGAIN and sum(again) + arrival.size <= sizes.WAITING
    return refusal.type == names.BACKPRESSURE and fits


def admit(inbox: Inbox, arrival: Arrival, at: float) -> Receipt:
    """Take one that was accepted at a time before; its place comes with those of the others."""
    event_id = arrival.event_id
    n = inbox.books.accept(event_id)
    inbox.ids.remember(arrival, n)
    inbox.queue.append(Queued(turn=event_id, n=n, at=at, event=arrival.wire, size=arrival.size, again=True))
    return Receipt(event_id, "accepted", position=len(inbox.queue) - 1)


def park(inbox: Inbox, event_id: str, parked: ParkedEvent) -> bool:
    """Set an event aside that was parked before the session began anew; return whether that can be."""
    number = parked.turn.removeprefix(event_id)
    named = event_id and (number == "" or _REDRIVE.fullmatch(number))
    if parked.delivery is not None or not named or not math.isfinite(parked.at):
        return False
    parked.n = inbox.books.accept(parked.event_id)
    inbox.dedup.add(parked.event_id, "pending", parked.n)
    inbox.endings.park(parked)
    return True


def goes_first(inbox: Inbox, event_id: str) -> None:
    """Have what is driven again come before what came since: it had been asked before."""
    for queued in inbox.queue.find(event_id):
        queued.again = True


def put_back(inbox: Inbox, first: Queued, policy: InboxPolicy) -> None:
    """Put the event that began the session anew into its place; its turn has not begun."""
    waiting = sorted([first, *inbox.queue.events], key=lambda queued: not queued.again)
    numbers = sorted(queued.n for queued in waiting)
    inbox.queue = EventQueue()
    inbox.dedup.note(first.event_id, "pending")
    sources = dict.fromkeys(queued.source for queued in waiting if queued.again and queued.numbered)
    behind = {id(queued) for source in sources for queued in _in_order(inbox, waiting, source, policy)}
    for n, queued in zip(numbers, waiting, strict=True):
        queued.n, queued.again = n, False
        room = len(inbox.sequencer.held) < policy.hold_capacity and inbox.sequencer.bytes + queued.size <= sizes.HELD
        if id(queued) in behind and room:
            inbox.dedup.note(queued.event_id, "held")
            inbox.sequencer.hold(queued)
        else:
            queued.joins = queued.mode == "merge" and inbox.queue.can_merge(queued, policy)
            inbox.queue.append(queued)


def _in_order(inbox: Inbox, waiting: list[Queued], source: str, policy: InboxPolicy) -> Sequence[Queued]:
    """Order a source's events among the places that they have; return those behind the first that is missing."""
    places = [place for place, queued in enumerate(waiting) if queued.numbered and queued.source == source]
    ordered = sorted((waiting[place] for place in places), key=lambda queued: queued.sequence)
    for place, queued in zip(places, ordered, strict=True):
        waiting[place] = queued
    told: list[Sequencing] = [queued.sequencing for queued in ordered if queued.sequencing]
    said = told[-1] if told else None
    if inbox.sequencer.sparse(source, policy, said):
        inbox.sequencer.go_on(source, ordered[-1].sequence, said)
        return []
    expected = ordered[0].sequence
    for place, queued in enumerate(ordered):
        if queued.sequence > expected:
            inbox.sequencer.go_on(source, expected, said)
            return ordered[place:]
        expected = queued.sequence + 1
    inbox.sequencer.go_on(source, expected, said)
    return []
