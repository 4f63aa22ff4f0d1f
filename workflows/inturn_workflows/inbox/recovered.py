"""The queue of a session that began anew after a run of it was ended from outside.

Invariant: what that run had accepted comes before what came since, the event that began the session anew included, and
all are numbered in this order: it is their order of acceptance.
"""

from __future__ import annotations

from inturn_workflows.inbox.events import Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue


def mark(inbox: Inbox, event_id: str) -> None:
    """Note that an event which was queued just now had been accepted before."""
    for queued in inbox.queue.find(event_id):
        queued.again = True


def put_back(inbox: Inbox, first: Queued) -> None:
    """Put the event that began the session anew into its place; its turn has not begun."""
    waiting = [first, *inbox.queue.events]
    numbers = sorted(queued.n for queued in waiting)
    queue = EventQueue()
    for n, queued in zip(numbers, sorted(waiting, key=lambda queued: not queued.again), strict=True):
        queued.n, queued.again = n, False
        queue.append(queued)
    inbox.queue = queue
    inbox.dedup.note(first.event_id, "pending")
