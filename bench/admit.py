"""What the inbox costs: admit and take, with few and many events waiting, and with a full window of remembered ids."""

from __future__ import annotations

import statistics
import time
from functools import cache
from typing import Final

from bench import budgets
from bench.report import Book
from bench.rig import Rig
from inturn.agents import InboxPolicy
from inturn.events import Event
from workflows.inbox import Inbox
from workflows.queued import Queued
from workflows.window import SIZE, Window

FEW: Final = 10
SOME: Final = 1_000
MANY: Final = 10_000
EVENTS: Final = 500
NOW: Final = 1_763_677_084.5
# More than a policy may allow: the question is how the cost grows.
POLICY: Final = InboxPolicy().model_copy(update={"capacity": 10**6, "capacity_bytes": 10**9})


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the inbox's rows, in the same process and side by side."""
    for _ in range(rounds):
        few = cost(waiting=FEW)
        book.add(budgets.ADMIT_SOME, cost(waiting=SOME) / few)
        book.add(budgets.ADMIT_MANY, cost(waiting=MANY) / few)
        book.add(budgets.WINDOW, 1_000 * (few - cost(waiting=FEW, remembered=0)))


def cost(*, waiting: int, remembered: int = SIZE) -> float:
    """Give the median seconds of check, admit, take and finish, for one event after another.

    The window is full unless told otherwise: what waits is in it, and its cost is another question.
    """
    inbox = Inbox(window=_window(remembered).model_copy(deep=True))
    for number in range(waiting):
        turn = f"waits{number}"
        inbox.queue.append(Queued(turn=turn, n=number, at=NOW, event={"event_id": turn, "content": "x"}, size=100))
    inbox.accepted, inbox.queued_bytes = waiting, 100 * waiting
    events = [Event(event_id=f"e{number}", content="hello", source=f"s{number % 7}") for number in range(EVENTS)]
    return statistics.median(_seconds(inbox, event) for event in events)


def _seconds(inbox: Inbox, event: Event) -> float:
    began = time.perf_counter()
    assert inbox.check(event, 100, POLICY, busy=False) is None
    inbox.admit(event, 100, NOW, POLICY)
    [taken] = inbox.take(NOW, POLICY)
    inbox.finish(taken.event_id, "applied")
    return time.perf_counter() - began


@cache
def _window(remembered: int) -> Window:
    window = Window(salt="salt")
    for number in range(remembered):
        window.add(f"old{number}", "applied")
    return window
