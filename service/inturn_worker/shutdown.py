"""Stopping: the first signal drains, the second ends at once.

Invariant: a worker that was told to stop takes no new work, and is gone when its grace is over, whatever hangs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from types import FrameType
from typing import Final

logger = logging.getLogger(__name__)

SUPERVISED: Final = "INTURN_SUPERVISED"
"""Set for a process of `--processes` and of `inturn dev`: its standard input ends with its supervisor."""

OVER_GRACE: Final = 10.0
"""Seconds after the grace in which cancelled steps report back."""
SAME_REQUEST: Final = 0.5
"""Signals within so many seconds are one: `timeout` and terminals send to the process and to its group."""


class Shutdown:
    """The request to stop, by SIGTERM, SIGINT or the end of the supervisor."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._requested = asyncio.Event()
        self._since = 0.0
        self._end: threading.Timer | None = None
        self._starting: asyncio.Task[object] | None = asyncio.current_task()

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._requested.is_set()

    def listen(self) -> None:
        """Handle signals from now on. Until `started`, the first one cancels the current task."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked, number)
            signal.signal(number, self._heard)  # the loop hears it as well, unless somebody's code blocks it
        if os.environ.get(SUPERVISED):
            loop.add_reader(0, self._orphaned)

    def started(self) -> None:
        """Drain instead of cancelling the start, from now on."""
        self._starting = None

    def request(self, reason: str) -> None:
        """Ask for the stop as a signal does."""
        if not self.requested:
            self._begin(reason)

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._requested.wait()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._end_in_time()

    def _asked(self, number: int) -> None:
        if self.requested and asyncio.get_running_loop().time() - self._since < SAME_REQUEST:
            return
        if self.requested:
            logger.warning(
                "second signal: ending at once; open steps are repeated elsewhere after their heartbeat timeout"
            )
            os._exit(128 + number)
        self._begin(signal.Signals(number).name)

    def _orphaned(self) -> None:
        asyncio.get_running_loop().remove_reader(0)
        if not self.requested:
            self._begin("the supervisor's end")

    def _begin(self, reason: str) -> None:
        logger.info("%s: draining, for at most %g s; a second signal ends at once", reason, self._grace)
        self._requested.set()
        self._since = asyncio.get_running_loop().time()
        self._end_in_time()
        if self._starting is not None:
            self._starting.cancel()

    def _end_in_time(self) -> None:
        """End the process when its time is over; in a thread, which nobody blocks."""
        if self._end is None:
            self._end = threading.Timer(self._grace + OVER_GRACE, self._too_late)
            self._end.daemon = True
            self._end.start()

    def _too_late(self) -> None:
        logger.error("a step ignores its cancellation, or blocks the event loop: ending without it")
        os._exit(1)
