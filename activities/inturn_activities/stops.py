"""The steps that run here, and the notices that one of them is being stopped.

Invariant: a notice makes the step that it names beat early, and does nothing else: only the server's answer ends a
step. It may come before the step does, or name one that runs in another process: that one finds it in the journal, or
hears of the stop with its next beat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final

from inturn.client.hub import Hub
from inturn.errors import JournalUnavailable
from inturn.journal import Journal
from inturn.keys import StepKey
from inturn.per_loop import PerLoop
from inturn_activities.heartbeat import Heartbeat

KEPT: Final = 10.0
"""Seconds for which the notice for a step that does not run here is kept: it may be about to start."""
LOOKED_FOR: Final = 0.1
"""Seconds for which a step runs before the journal is looked at for its stop: most are done by then."""


class Stops:
    """Who runs here, by step; attempts of one step may overlap."""

    def __init__(self, journal: Journal) -> None:
        """Find in this journal, and write there, what workflows of other processes and of this one stop."""
        self._journal = journal
        self._hub = PerLoop(lambda: Hub.of(journal))
        self._running: dict[StepKey, set[Heartbeat]] = {}
        self._kept: dict[StepKey, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def running(self, step: StepKey, beating: Heartbeat) -> Generator[None]:
        """Have a step that runs in the block beat early where it is stopped."""
        loop, hub = asyncio.get_running_loop(), self._hub.get()
        self._running.setdefault(step, set()).add(beating)
        if self._kept.get(step, 0.0) > loop.time():
            beating.hurry()
        looking = loop.call_later(LOOKED_FOR, hub.on_stops, self.seen)
        try:
            yield
        finally:
            looking.cancel()
            self._running[step].discard(beating)
            if not self._running[step]:
                del self._running[step]
            if not self._running:
                hub.off_stops(self.seen)

    def listener(self) -> Callable[[StepKey], None]:
        """Return what hears of stops by workflows of this process, in whichever thread."""
        loop = asyncio.get_running_loop()

        def hear(step: StepKey) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs here any more
                loop.call_soon_threadsafe(self._heard, step)

        return hear

    def seen(self, step: StepKey) -> None:
        """Note a stop."""
        now = asyncio.get_running_loop().time()
        for passed in [step for step, until in self._kept.items() if until <= now]:
            del self._kept[passed]
        self._kept[step] = now + KEPT
        for beating in self._running.get(step, ()):
            beating.hurry()

    def _heard(self, step: StepKey) -> None:
        self.seen(step)
        if step not in self._running:
            self._spawn(self._write(step))

    async def _write(self, step: StepKey) -> None:
        with contextlib.suppress(JournalUnavailable):  # then its next beat finds it out
            await self._journal.stop(step)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
