"""Steps that make no progress.

Invariant: they are reported, with what they do or wait for, and never ended for it: timeouts do that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

from inturn.journal import ResourceWait
from inturn.keys import StepKey
from inturn_activities import heartbeat
from inturn_activities.telemetry.meters import count_stuck

logger = logging.getLogger("inturn.worker")


class Watch:
    """How long a running step has made no progress. Looked at with each heartbeat, so it costs no timer."""

    def __init__(self, step: StepKey, doing: str, *, every: float) -> None:
        """Report the step after `every` seconds without progress, and again after each as many."""
        self._step = step
        self._doing = doing
        self._every = every
        self._since = time.monotonic()
        self._reports = 0

    def __str__(self) -> str:
        """Return what runs, for people."""
        return f"{self._doing} ({self._step})"

    def note_progress(self) -> None:
        """Note progress."""
        self._since, self._reports = time.monotonic(), 0

    def look(self) -> None:
        """Report it, if it is time to."""
        idle = time.monotonic() - self._since
        if int(idle / self._every) > self._reports:
            self._reports = int(idle / self._every)
            _report(self._step, idle, self._doing, "body")


_running: Final[WeakKeyDictionary[asyncio.Task[Any], Watch]] = WeakKeyDictionary()
_watch: ContextVar[Watch | None] = ContextVar("inturn_watch", default=None)


@contextmanager
def watched(step: StepKey, doing: str, *, every: float) -> Generator[Watch]:
    """Watch what runs in the block."""
    watch = Watch(step, doing, every=every)
    token, task = _watch.set(watch), asyncio.current_task()
    if task is not None:
        _running[task] = watch
    if (beating := heartbeat.current()) is not None:
        beating.look = watch.look
    try:
        yield watch
    finally:
        if beating is not None:
            beating.look = None
        _watch.reset(token)
        if task is not None:
            _running.pop(task, None)


def doing_in(task: asyncio.Task[Any]) -> str:
    """Return what step a task is part of, for people; "" where it is none's. May be asked from any thread."""
    context = getattr(task, "get_context", None)  # from Python 3.12 on; before, only the step's own task is known
    watch = _running.get(task) or (context().get(_watch) if context is not None else None)
    return "" if watch is None else str(watch)


def note_progress(waiting: str = "") -> None:
    """Note that the step that runs here made progress, or what it waits for: a waiter reports itself."""
    watch = _watch.get()
    if watch is not None:
        watch.note_progress()
        heartbeat.waits_for(waiting)


def report_waiting(step: StepKey, waiting: ResourceWait, *, every: float) -> None:
    """Report a step that waits for a limit, once in `every` seconds, whichever worker it visits then."""
    if int(waiting.waited / every) > int(waiting.waited_before / every):
        _report(step, waiting.waited, str(waiting), "limit")


def _report(step: StepKey, idle: float, doing: str, on: str) -> None:
    logger.warning("%s makes no progress since %.0f s: %s", step, idle, doing)
    count_stuck(on)
