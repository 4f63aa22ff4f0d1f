"""The event loop of a worker, which no tool can stop, and the thread that notices when one blocks it.

Invariant: the loop ends with the worker's own main task and with nothing else: what a task of a tool's raises
(`SystemExit`), what a signal handler of its raises into the loop (`signal.alarm`), or a `stop()` that it calls, costs
that task alone. A copy of the process that a tool forked and let go on never runs it: the two would take each other's
messages.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from inturn_activities.limits.stuck import doing_in

logger = logging.getLogger("inturn.worker")

FORKED: Final = 70
"""Exit code of a copy that a tool forked, and that came back from it."""
EVERY: Final = 0.5
"""Seconds between two looks at the loop."""
BROKEN: Final = 1.0
"""Seconds within which a loop that raised twice is broken itself, as where somebody closed its files."""
STALLED: Final = 1.0
"""Seconds without an answer after which it is said who blocks it."""


class _OwnSelector(selectors.DefaultSelector):
    """Ends a forked copy of the process that waits for what the process itself does."""

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if os.getpid() != self._pid:
            os._exit(FORKED)
        return super().select(timeout)


class WorkerLoop(asyncio.SelectorEventLoop):
    """Runs on until its main task is done."""

    def __init__(self) -> None:
        """Make a loop of this process's."""
        super().__init__(_OwnSelector())

    _main: asyncio.Future[Any] | None = None

    def run_until_complete(self, future: Any) -> Any:
        """Run until the future is done; what else would end the loop is logged."""
        if self._main is not None and not self._main.done():
            return super().run_until_complete(future)
        main: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        self._main = main
        return super().run_until_complete(main)

    def run_forever(self) -> None:
        """Run until the main task is done; without one until `stop()`.

        Raises:
            RuntimeError: It runs already: Python 3.13 would forget the one that runs.
        """
        if self.is_running():
            raise RuntimeError("the event loop runs already")
        own, broke = os.getpid(), -BROKEN
        while True:
            try:
                super().run_forever()
            except BaseException as error:
                if self._main is None or self._main.done() or os.getpid() != own:
                    raise
                if not isinstance(error, SystemExit | KeyboardInterrupt):  # not a task's: those keep what they raise
                    if self.time() - broke < BROKEN:
                        raise
                    broke = self.time()
                logger.error("a task of a tool's raised %s: the worker goes on", type(error).__name__)
                continue
            if self._main is None or self._main.done():
                return
            logger.error("something stopped the worker's event loop: it goes on")


@contextmanager
def watched_loop() -> Generator[None, None, None]:
    """Say in the log who blocks the running loop, and for how long, while the block runs."""
    loop, ended, thread = asyncio.get_running_loop(), threading.Event(), threading.get_ident()
    watching = threading.Thread(target=_watch, args=(loop, thread, ended), name="inturn-loop-watch", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()


def _watch(loop: asyncio.AbstractEventLoop, thread: int, ended: threading.Event) -> None:
    while not ended.wait(EVERY):
        answered = threading.Event()
        asked = time.monotonic()
        try:
            loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # it is closed
            return
        if answered.wait(STALLED) or ended.is_set():
            continue
        logger.error("the event loop stands still: %s", _culprit(loop, thread))
        while not (answered.wait(EVERY) or ended.is_set()):
            pass
        logger.error("the event loop goes on after %.1f s", time.monotonic() - asked)


def _culprit(loop: asyncio.AbstractEventLoop, thread: int) -> str:
    """Return what runs on a loop now, as far as it can be seen from another thread."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)
    doing = doing_in(task) if task is not None else ""
    return f"{doing or 'nobody knows what'} at {_place(frame)}"


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "an unknown place"
    at = traceback.extract_stack(frame, limit=3)
    return " < ".join(f"{line.filename}:{line.lineno} in {line.name}" for line in reversed(at))
