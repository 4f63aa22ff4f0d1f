"""Workers one after the other: a save is a deploy.

Invariant: while the saved code cannot start, the worker that serves goes on; it is told to drain only once its
successor is ready. One that dies is started again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from watchfiles import Change, DefaultFilter, awatch

from inturn.errors import Misconfigured
from inturn_worker.dev.agents import Choice
from inturn_worker.dev.child import Child
from inturn_worker.dev.output import Output
from inturn_worker.processes import FIRST_DELAY, LONGEST_DELAY

_DEBOUNCE: Final = 200
"""Milliseconds in which saves count as one: editors write more than once."""

_LONG_START: Final = 10.0
"""Seconds of a start after which it is told of."""


class Deployments:
    """The worker that serves, and the one that is to replace it."""

    def __init__(
        self,
        choose: Callable[[], Choice],
        start: Callable[[Sequence[str]], Awaitable[Child]],
        ready: Callable[[Mapping[str, str]], None],
        output: Output,
    ) -> None:
        self._choose = choose
        self._start = start
        self._ready = ready
        self._output = output
        self._serving: Child | None = None
        self._starting: asyncio.Task[None] | None = None
        self._children: dict[Child, asyncio.Task[None]] = {}
        self._delay = FIRST_DELAY
        self._stopped = False

    def begin(self) -> None:
        """Start a worker with the code as it is saved."""
        self._starting = asyncio.create_task(self._deploy())

    async def follow(self, saves: AsyncIterator[list[str]]) -> None:
        """Deploy what is saved; a save during a start begins that anew."""
        try:
            await self._follow(saves)
        except (OSError, RuntimeError) as error:  # such as the system's limit of watched files
            self._output.say(f"saves cannot be followed ({error}): start again to deploy", event="unwatched")

    async def _follow(self, saves: AsyncIterator[list[str]]) -> None:
        async for files in saves:
            if self._starting is not None:
                self._starting.cancel()
                await asyncio.wait([self._starting])
            self._output.say(f"{', '.join(files)} saved: starting the new code", event="saved", files=files)
            self.begin()

    async def stop(self) -> None:
        """End all workers, in good order."""
        self._stopped = True
        self._serving = None
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await asyncio.gather(*(child.stop() for child in self._children))

    def kill(self) -> None:
        """End all workers at once."""
        for child in self._children:
            child.send(signal.SIGKILL)

    async def _deploy(self) -> None:
        try:
            child = await self._started(self._choose().specs)
        except (Misconfigured, OSError) as error:
            self._broken(str(error))
            return
        try:
            line = await self._ready_line(child)
        except asyncio.CancelledError:
            child.send(signal.SIGKILL)
            raise
        if line is None:
            self._broken(await _reason(child))
            return
        before, self._serving = self._serving, child
        if before is not None:
            before.send(signal.SIGTERM)
        self._ready(dict(word.split("=", 1) for word in line.split() if "=" in word))

    async def _started(self, specs: Sequence[str]) -> Child:
        child = await self._start(specs)
        self._children[child] = asyncio.create_task(self._guard(child))
        return child

    async def _ready_line(self, child: Child) -> str | None:
        """Wait until a worker is ready, or has ended; says so where that takes long."""
        try:
            async with asyncio.timeout(_LONG_START):
                return await asyncio.shield(child.ready)
        except TimeoutError:
            text = f"not ready after {_LONG_START:g} s: what the modules do when they are imported has not ended"
            self._output.say(text, event="slow")
        return await asyncio.shield(child.ready)

    async def _guard(self, child: Child) -> None:
        """Wait for a worker's end; starts another where it was the one that serves."""
        began = asyncio.get_running_loop().time()
        code = await child.ended()
        del self._children[child]
        if child is not self._serving:
            return
        self._serving = None
        lived = asyncio.get_running_loop().time() - began
        self._delay = FIRST_DELAY if lived > LONGEST_DELAY else self._delay
        self._output.say(
            f"the worker ended ({_named(code)}); another starts in {self._delay:g} s", event="crashed", code=code
        )
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, LONGEST_DELAY)
        nobody_else = self._serving is None and (self._starting is None or self._starting.done())
        if nobody_else and not self._stopped:
            self.begin()

    def _broken(self, why: str) -> None:
        goes_on = "the worker with the old code goes on" if self._serving else "no worker serves"
        text = f"{why.removeprefix('worker: ')}\n{goes_on}; correct it and save"
        self._output.say(text, event="broken", serving=self._serving is not None)


async def _reason(child: Child) -> str:
    """Return why a worker ended before it was ready."""
    code, said = await child.ended(), child.last_line
    return said if said.startswith("worker: ") else f"the worker ended ({_named(code)}) before it was ready: {said}"


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class _Sources(DefaultFilter):
    """Python files, and what else a worker reads when it starts."""

    ignore_dirs = (*DefaultFilter.ignore_dirs, ".inturn", "site-packages")

    def __call__(self, change: Change, path: str) -> bool:
        read = path.endswith((".py", "/.env", "/pyproject.toml"))
        return read and super().__call__(change, path)


async def saves(directory: Path) -> AsyncIterator[list[str]]:
    """Yield the files that were saved, by their names in the directory."""
    changes: Any = awatch(directory, watch_filter=_Sources(), debounce=_DEBOUNCE, step=50)
    async for changed in changes:
        yield sorted({str(Path(path).relative_to(directory)) for _, path in changed})
