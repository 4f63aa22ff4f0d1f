"""How long a turn takes, against the bare workflow: turn by turn, one side after the other."""

from __future__ import annotations

from typing import Final

from bench import budgets
from bench.report import Book, percentile
from bench.rig import Rig
from bench.sides import Bare, Inturn, Side
from bench.turns import ByAsk, BySend, Timer

TURNS: Final = 60
"""Of each kind in a round, on each side."""
WARM_UP: Final = 10


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of latency."""
    lane = rig.lane("latency")
    async with lane.workers(), lane.client() as client:
        sides: tuple[Side, Side] = (Inturn(lane, client), Bare(lane))
        for number in range(rounds):
            by_send = await _round(sides, f"send-{number}", BySend)
            book.add(budgets.SEND_P50, _ratio(by_send, 50))
            book.add(budgets.SEND_P99, _ratio(by_send, 99))
            by_ask = await _round(sides, f"ask-{number}", ByAsk)
            book.add(budgets.ASK_P50, _ratio(by_ask, 50))
            book.add(budgets.ASK_P99, _ratio(by_ask, 99))
            _note(book, by_send, (budgets.SEND_P50, budgets.SEND_P99))
            _note(book, by_ask, (budgets.ASK_P50, budgets.ASK_P99))


async def _round(sides: tuple[Side, Side], session_id: str, timer: type[Timer]) -> tuple[list[float], list[float]]:
    """Run turns on both sides, taking turns; return their seconds."""
    timers = []
    for side in sides:
        await side.begin(session_id)
        timers.append(timer(side, session_id))
    found: tuple[list[float], list[float]] = ([], [])
    for n in range(WARM_UP + TURNS):
        for index in (n % 2, 1 - n % 2):
            seconds = await timers[index].turn(f"event-{n:06d}")
            if n >= WARM_UP:
                found[index].append(seconds)
    return found


def _ratio(found: tuple[list[float], list[float]], percent: float) -> float:
    return percentile(found[0], percent) / percentile(found[1], percent)


def _note(book: Book, found: tuple[list[float], list[float]], names: tuple[str, str]) -> None:
    for name, percent in zip(names, (50, 99), strict=True):
        ours, bare = (percentile(each, percent) * 1000 for each in found)
        book.note(name, f"last: {ours:.1f} ms against {bare:.1f} ms")
