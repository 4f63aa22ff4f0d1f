"""What the inbox costs: admit and take, with few and many events waiting, and with a full window of remembered ids.

Of each kind of arrival: plain ones, numbered ones of a source, those that merge, and duplicates of what waits.
"""

from __future__ import annotations

import statistics
import time
from functools import cache
from typing import Final, Literal, get_args

from bench import budgets
from bench.report import Book, shown
from bench.rig import Rig
from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.dedup import SIZE, DedupWindow
from inturn_workflows.inbox.events import Arrival, Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.sequencing import Sequencer, Source

Kind = Literal["queue", "numbered", "merge", "duplicate"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FEW: Final = 10
SOME: Final = 1_000
MANY: Final = 10_000
EVENTS: Final = 500
NOW: Final = 1_763_677_084.5
# More than a policy may allow: the question is how the cost grows.
POLICY: Final = InboxPolicy().model_copy(update={"capacity": 10**6, "capacity_bytes": 10**9})
BATCH: Final = POLICY.merge_limit
"""Events that are measured together: as many as one turn takes of those that merge."""


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the inbox's rows, in the same process and side by side; of the kinds, the one that grows most counts."""
    for _ in range(rounds):
        for name, waiting in ((budgets.ADMIT_SOME, SOME), (budgets.ADMIT_MANY, MANY)):
            grown = {kind: growth(kind, waiting) for kind in KINDS}
            book.add(name, max(grown.values()))
            book.note(name, "last: " + ", ".join(f"{kind} {shown(times, '×')}" for kind, times in grown.items()))
        book.add(budgets.WINDOW, 1_000 * (cost(waiting=FEW) - cost(waiting=FEW, remembered=0)))


def growth(kind: Kind, waiting: int) -> float:
    """Return the cost with so many waiting, against that with few.

    Where nothing has to be remembered, nothing is: what a full window adds would hide what grows.
    """
    remembered = SIZE if kind == "duplicate" else 0
    much = cost(waiting=waiting, remembered=remembered, kind=kind)
    return much / cost(waiting=FEW, remembered=remembered, kind=kind)


def cost(*, waiting: int, remembered: int = SIZE, kind: Kind = "queue") -> float:
    """Return the seconds of check, admit, take and finish for one event after another: the median batch's, per event.

    The window is full unless told otherwise, and the same whatever waits: its cost is another question.
    """
    inbox = _inbox(kind, waiting, remembered)
    ids = [queued.event_id for queued in inbox.queue.events]
    arriving = [_arriving(kind, number, ids) for number in range(EVENTS)]
    batches = [arriving[first : first + BATCH] for first in range(0, EVENTS, BATCH)]
    per_event = statistics.median(_seconds(inbox, batch) for batch in batches) / BATCH
    assert len(inbox.queue) == waiting, "each found the same depth"
    return per_event


def _inbox(kind: Kind, waiting: int, remembered: int) -> Inbox:
    """Make an inbox as continue-as-new restores it; the ids that wait are spread over those that the window holds."""
    queue: list[Queued] = []
    for number in range(waiting):
        event_id = f"waits{number * MANY // waiting}"
        event = {"event_id": event_id, "content": "x", **_fields(kind, number)}
        joins = kind == "merge" and number % BATCH > 0
        queue.append(Queued(turn=event_id, n=number, at=NOW, event=event, size=100, joins=joins))
    return Inbox(
        dedup=_window(remembered).model_copy(deep=True),
        queue=EventQueue(events=queue, bytes=100 * waiting),
        books=Books(accepted=waiting),
        sequencer=Sequencer(sources={"hook": Source(next=waiting)}),
    )


def _arriving(kind: Kind, number: int, waiting: list[str]) -> Event:
    if kind == "duplicate":
        if number % 2 == 0:  # what goes first moves all that waits, and leaves it
            return Event(event_id=f"e{number}", content="hello", when_busy="interrupt")
        # In the deeper half, and the same ids whatever waits: so the window finds them at the same cost.
        place = FEW - 1 - number // 2 % (FEW // 2)
        return Event(event_id=waiting[place * len(waiting) // FEW], content="x")
    return Event(event_id=f"e{number}", content="hello", **_fields(kind, len(waiting) + number))


def _fields(kind: Kind, number: int) -> dict[str, str | int]:
    if kind == "numbered":
        return {"source": "hook", "sequence": number}
    if kind == "merge":
        return {"source": "chat", "when_busy": "merge"}
    return {"source": f"s{number % 7}"}


def _seconds(inbox: Inbox, events: list[Event]) -> float:
    fresh = 0
    began = time.perf_counter()
    for event in events:
        arrival = Arrival(event, event.wire(), 100)
        assert inbox.check(arrival, NOW, POLICY, busy=False) is None
        fresh += inbox.admit(arrival, NOW, POLICY).receipt.status == "accepted"
    while fresh > 0:
        for taken in inbox.take(NOW, POLICY):
            inbox.endings.finish(taken.event_id, "applied")
            fresh -= 1
    return time.perf_counter() - began


@cache
def _window(remembered: int) -> DedupWindow:
    window = DedupWindow(salt="salt")
    for number in range(remembered):
        window.add(f"waits{number}", "pending")
    return window
