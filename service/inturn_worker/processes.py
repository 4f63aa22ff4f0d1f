"""`--processes N`: N worker processes under one supervisor.

Invariant: while the supervisor runs, N workers run or are about to be restarted, whatever one of them ended of; when it
ends, in whatever way, they end too, also one whose event loop users' code blocks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inturn_worker.parent import stop_with_parent
from inturn_worker.shutdown import OVER_GRACE, SAME_REQUEST, SUPERVISED

logger = logging.getLogger(__name__)

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 30.0
HEALTHY_AFTER: Final = 60.0
"""Seconds after which a process counts as well: its next crash starts with the shortest delay again."""
MISCONFIGURED: Final = 2
"""Ends all of them at a start alone: later the same may come of an outage, or of a tool that calls `exit(2)`."""
STUBBORN: Final = 5.0
"""Seconds after which a process is killed that should have ended by itself."""


class Supervisor:
    """Runs a command N times, and again where one crashes."""

    def __init__(self, command: Sequence[str], count: int, *, grace: float, cwd: Path | None = None) -> None:
        self._command = tuple(command)
        self._cwd = cwd
        self._count = count
        self._grace = grace
        self._stop = asyncio.Event()
        self._since = 0.0
        self._running: set[asyncio.subprocess.Process] = set()
        self._code = 0

    async def run(self) -> int:
        """Run until a signal comes or a process that starts finds itself misconfigured; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked, number)
        await asyncio.gather(*(self._keep(index) for index in range(1, self._count + 1)))
        return self._code

    async def _keep(self, index: int) -> None:
        delay, started = FIRST_DELAY, False
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            began = loop.time()
            code = await self._run_once(index)
            if self._stop.is_set():
                self._code = self._code or max(code, 0)
                return
            healthy = loop.time() - began > HEALTHY_AFTER
            if code == MISCONFIGURED and not (started or healthy):  # it would be again, and has said what to do
                self._code = code
                self._end_all()
                return
            started = True
            if healthy:
                delay = FIRST_DELAY
            logger.error("worker process %d of %d ended with code %d; restart in %g s", index, self._count, code, delay)
            await _first(self._stop.wait(), delay)
            delay = min(delay * 2, LONGEST_DELAY)

    async def _run_once(self, index: int) -> int:
        # A session of its own: the terminal's Ctrl-C reaches the supervisor alone, which passes it on once. The pipe
        # and, where the loop that looks at it is blocked, the kernel's signal: it ends with this process, however that
        # ends.
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                cwd=self._cwd,
                preexec_fn=stop_with_parent,
                env={**os.environ, SUPERVISED: f"{index}/{self._count}"},
            )
        except (OSError, subprocess.SubprocessError) as error:  # no memory, no process, no file to be had now
            logger.error("worker process %d of %d does not start: %s", index, self._count, error)
            return 1
        self._running.add(process)
        if self._stop.is_set():
            process.send_signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            self._running.discard(process)

    def _asked(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._stop.is_set() and now - self._since >= SAME_REQUEST:
            self._forward(signal.SIGKILL)
            os._exit(128 + number)
        if not self._stop.is_set():
            self._since = now
            self._end_all()

    def _end_all(self) -> None:
        self._forward(signal.SIGTERM)
        late = self._grace + OVER_GRACE + STUBBORN
        asyncio.get_running_loop().call_later(late, self._forward, signal.SIGKILL)

    def _forward(self, number: signal.Signals) -> None:
        self._stop.set()
        for process in self._running:
            if process.returncode is None:
                process.send_signal(number)


async def _first(waiting: object, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting  # type: ignore[misc]
    except TimeoutError:
        pass
