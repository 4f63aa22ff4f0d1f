"""A session's metrics, by Temporal's own meter: silent in a replay, and free without a listener.

Invariant: nothing here can change what the workflow does. No metric names a session: there may be a million of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

QUEUE_DEPTH: Final = "inturn.queue.depth"
"""Histogram, events: how many wait behind it when a turn starts."""
QUEUE_WAIT: Final = "inturn.queue.wait"
"""Histogram, duration: from an event's acceptance to the start of its turn."""
TURN_DURATION: Final = "inturn.turn.duration"
"""Histogram, duration, by `disposition`: from a turn's start to its end."""
PARKED: Final = "inturn.parked"
"""Counter: events set aside with their error."""
CONTINUED: Final = "inturn.continued_as_new"
"""Counter: runs that continued as new."""


def turn_started(*, waiting: int, waited: float) -> None:
    """Note that a turn starts after `waited` seconds, with `waiting` events behind it."""
    meter = workflow.metric_meter()
    meter.create_histogram(QUEUE_DEPTH, "Events waiting when a turn starts.", "{event}").record(waiting)
    wait = meter.create_histogram_timedelta(QUEUE_WAIT, "From acceptance to the turn's start.", "duration")
    wait.record(timedelta(seconds=max(waited, 0.0)))


def turn_ended(disposition: str, *, lasted: float) -> None:
    """Note that a turn ends after `lasted` seconds."""
    meter = workflow.metric_meter()
    duration = meter.create_histogram_timedelta(TURN_DURATION, "From a turn's start to its end.", "duration")
    duration.record(timedelta(seconds=max(lasted, 0.0)), {"disposition": disposition})


def parked(count: int) -> None:
    """Note that so many events were set aside."""
    if count:
        workflow.metric_meter().create_counter(PARKED, "Events set aside with their error.", "{event}").add(count)


def continued() -> None:
    """Note that the run continues as new."""
    workflow.metric_meter().create_counter(CONTINUED, "Runs continued as new.", "{run}").add(1)
