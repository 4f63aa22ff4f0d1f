"""What a turn costs as its session grows old: events, bytes and latency, by either way to send."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.history import advance
from bench.report import percentile
from bench.rig import Lane, Rig
from bench.sides import TEXT, Inturn, quiet
from inturn import Client

WAYS: Final = ("send", "ask")


@dataclass(slots=True)
class Found:
    """What the turns from one age on cost."""

    events: list[float] = field(default_factory=list[float])
    bytes: list[float] = field(default_factory=list[float])
    ms: list[float] = field(default_factory=list[float])
    carried: list[float] = field(default_factory=list[float])
    """Bytes of the input of their run: what continue-as-new carried."""


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Age a session, and measure a few of its turns from each age on, one by send and one by ask."""
    lane = rig.lane("turns")
    found = {how: {age: Found() for age in sizes.turns} for how in WAYS}
    async with lane.running(), lane.client() as client:
        for number in range(sizes.window):  # as many first turns as later ones: each of a session of its own
            for how in WAYS:
                await _turn(lane, client, f"{how}-{number}", 1, how, found[how][1])
        old, turn = "send-0", 2
        for age in sizes.turns[1:]:
            await advance(Inturn(lane, client), old, turn, age)
            turn = age + sizes.window * len(WAYS)
            for number in range(age, turn):
                how = WAYS[number % len(WAYS)]
                await _turn(lane, client, old, number, how, found[how][age])
    return _curves(found)


async def _turn(lane: Lane, client: Client, name: str, turn: int, how: str, found: Found) -> None:
    """Run a turn, and note what it left behind.

    One whose run continued as new does not count: part of its cost is that of the new run.
    """
    handle = Inturn(lane, client).handle(name)
    session = client.session(name, agent="bench" if turn == 1 else None)
    before = (0, 0) if turn == 1 else await quiet(handle)
    began = time.perf_counter()
    await (session.ask if how == "ask" else session.send)(TEXT, event_id=f"event-{turn:06d}")
    asked = time.perf_counter() - began
    after = await quiet(handle)
    history = [event async for event in handle.fetch_history_events()]
    if after > before:
        found.events.append(after[0] - before[0])
        found.bytes.append(after[1] - before[1])
        found.ms += [1000 * seconds for seconds in ([asked] if how == "ask" else by_server(history, turn))]
        found.carried.append(carried(history))


def by_server(history: Sequence[HistoryEvent], first: int) -> list[float]:
    """Return the seconds of turns by send, from a turn on: from the signal to the turn's last workflow task."""
    found, sent, answered = [], 0, False
    for event in history:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = json.loads(_data(event.workflow_execution_signaled_event_attributes.input))
            counts = signal["event_id"] >= f"event-{first:06d}"
            sent, answered = event.event_time.ToNanoseconds() if counts else 0, False
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            answered = True
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and sent and answered:
            found.append((event.event_time.ToNanoseconds() - sent) / 1e9)
            sent = 0
    return found


def carried(history: Sequence[HistoryEvent]) -> int:
    """Return the bytes of a run's input."""
    return len(_data(history[0].workflow_execution_started_event_attributes.input))


def _data(payloads: Payloads) -> bytes:
    return b"".join(payload.data for payload in payloads.payloads)


def _curves(found: dict[str, dict[int, Found]]) -> list[Curve]:
    def lines(of: Callable[[Found], float], name: str = "") -> list[Series]:
        """Draw a line for each way to send; without the ages at which every run continued as new."""
        return [
            Series(f"{name}by {how}", [(age, of(each)) for age, each in by_age.items() if each.ms])
            for how, by_age in found.items()
        ]

    first = "Turn 1 is the start of the session too."
    latency = [*lines(lambda f: percentile(f.ms, 50), "p50 "), *lines(lambda f: percentile(f.ms, 99), "p99 ")]
    clocks = "By send on the server's clock, by ask on the caller's."
    return [
        Curve(
            "turn-events",
            "History events of a turn, by its number",
            "turns",
            "events",
            lines(lambda f: statistics.median(f.events)),
            note=first,
        ),
        Curve(
            "turn-bytes",
            "History bytes of a turn, by its number",
            "turns",
            "bytes",
            lines(lambda f: statistics.median(f.bytes)),
            note=f"A message and a reply of 500 characters. {first}",
        ),
        Curve("turn-latency", "Latency of a turn, by its number", "turns", "ms", latency, note=f"{clocks} {first}"),
        Curve(
            "turn-carried",
            "Bytes that continue-as-new carries, by turn",
            "turns",
            "bytes",
            lines(lambda f: statistics.median(f.carried)),
            note="The input of the run in which the turn ran.",
        ),
    ]
