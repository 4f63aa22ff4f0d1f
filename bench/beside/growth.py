"""What a turn costs as the conversation grows: history, latency, CPU; by send, with the server's clock.

The ways take turns where turns are timed, and run beside each other in between. Histories are read only when all is
over, so that reading the large ones slows nobody down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.beside import rows
from bench.beside.mishaps import Numbers
from bench.beside.settling import turn
from bench.beside.sizes import Sizes
from bench.beside.ways import Way
from bench.curves.series import Curve, Series
from bench.machine import cpu_seconds
from bench.report import percentile

TEXT: Final = "x" * 480
NOTE: Final = (
    "One session of each, messages and answers of 500 characters, all of its runs together; what inturn keeps in its "
    "journal is no history, and has a row of its own."
)
UNHURRIED: Final = 0.05
"""Seconds between two looks at a session whose turns are not timed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, as the history tells it."""

    seconds: float
    """From the signal to the end of the turn's last workflow task."""
    events: int
    """In all runs until then."""
    bytes: int


@dataclass(slots=True)
class Aged:
    """A way's old sessions."""

    sessions: list[list[Turn]] = field(default_factory=list[list[Turn]])
    cpu: list[float] = field(default_factory=list[float])
    """Milliseconds of the worker per turn, in the early turns and in the last ones."""
    largest: int = 0
    """Bytes of the largest run."""

    def add(self, runs: Sequence[Sequence[HistoryEvent]]) -> None:
        """Take in a session."""
        self.sessions.append(turns(runs))
        self.largest = max(self.largest, *(sum(event.ByteSize() for event in events) for events in runs))


async def grow(ways: Sequence[Way], sizes: Sizes) -> dict[str, Aged]:
    """Age sessions of all ways."""
    found = {way.name: Aged() for way in ways}
    names = [f"g{n}" for n in range(sizes.sessions)]
    for way in ways:
        for name in names:
            await way.begin(name)
    late = sizes.turns - sizes.window + 1
    await _beside(ways, names, 1, sizes.early[0])
    await _in_turns(ways, names, range(sizes.early[0], sizes.early[1] + 1), found)
    await _beside(ways, names, sizes.early[1] + 1, late)
    await _in_turns(ways, names, range(max(late, sizes.early[1] + 1), sizes.turns + 1), found)
    for way in ways:
        for name in names:
            found[way.name].add(await way.runs(name))
    return found


async def _beside(ways: Sequence[Way], names: Sequence[str], first: int, end: int) -> None:
    async def run(way: Way, name: str) -> None:
        for n in range(first, end):
            await turn(way, name, f"e{n:04d}", TEXT, every=UNHURRIED)

    await asyncio.gather(*(run(way, name) for way in ways for name in names))


async def _in_turns(ways: Sequence[Way], names: Sequence[str], numbers: range, found: dict[str, Aged]) -> None:
    before = {way.name: cpu_seconds(way.worker.pid) for way in ways}
    for n in numbers:
        for shift in range(len(ways)):
            way = ways[(n + shift) % len(ways)]
            for name in names:
                await turn(way, name, f"e{n:04d}", TEXT)
    for way in ways:
        used = cpu_seconds(way.worker.pid) - before[way.name]
        found[way.name].cpu.append(used * 1000 / (len(numbers) * len(names)))


def turns(runs: Sequence[Sequence[HistoryEvent]]) -> list[Turn]:
    """Read the turns of a session, one after the other, out of the histories of its runs."""
    found: list[Turn] = []
    sent = count = size = 0
    answered = False
    for event in (event for events in runs for event in events):
        count, size = count + 1, size + event.ByteSize()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            sent, answered = event.event_time.ToNanoseconds(), False
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            answered = True
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and sent and answered:
            found.append(Turn((event.event_time.ToNanoseconds() - sent) / 1e9, count, size))
            sent = 0
    return found


def numbers(aged: Aged, sizes: Sizes) -> Numbers:
    """Return a way's numbers by the row that they belong to."""
    first, last = sizes.early
    early = [turn.seconds * 1000 for session in aged.sessions for turn in session[first - 1 : last]]
    late = [turn.seconds * 1000 for session in aged.sessions for turn in session[-sizes.window :]]
    return {
        rows.EARLY_P50: percentile(early, 50),
        rows.EARLY_P99: percentile(early, 99),
        rows.LATE_P50: percentile(late, 50),
        rows.LATE_P99: percentile(late, 99),
        rows.EARLY_CPU: aged.cpu[0],
        rows.LATE_CPU: aged.cpu[-1],
        rows.HISTORY_BYTES: aged.sessions[0][-1].bytes,
        rows.LARGEST_RUN: aged.largest,
        rows.HISTORY_EVENTS: aged.sessions[0][-1].events,
    }


def curves(found: dict[str, Aged], sizes: Sizes) -> list[Curve]:
    """Draw how the histories grew."""

    def drawn(key: str, title: str, y: str, scale: float) -> Curve:
        lines = [
            Series(name, [(float(n), getattr(aged.sessions[0][n - 1], key) / scale) for n in sizes.points])
            for name, aged in found.items()
        ]
        return Curve(f"beside-{key}", title, "turns", y, lines, log_x=False, note=NOTE)

    return [
        drawn("bytes", "History that a session has left after some turns", "KB", 1000),
        drawn("events", "History events that a session has left after some turns", "events", 1),
    ]
