"""A process of `inturn dev`: its lines go to the output, under its name.

Invariant: it ends with `inturn dev`, however that ends: the kernel ends it (Linux), or its standard input does.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from inturn_worker.dev.output import Output

_LONGEST_LINE: Final = 1 << 20
_KILL_AFTER: Final = 60.0
"""Seconds for an end in good order; a worker bounds its own end by its grace, which is shorter."""


class Child:
    """One process, from its start to its end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Output, ready_prefix: str) -> None:
        self._name = name
        self._process = process
        self._output = output
        self._ready_prefix = ready_prefix
        self.ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """The line by which it says that it is ready; `None`: it ended before."""
        self.last_line = ""
        self._lines = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        output: Output,
        *,
        ready_prefix: str,
        with_parent: Callable[[], None],
    ) -> Child:
        """Start a process.

        Args:
            name: What its lines are shown under.
            command: What to run.
            env: Its whole environment.
            output: Where its lines go.
            ready_prefix: How the line begins by which it says that it is ready; that line is not shown.
            with_parent: What the kernel does to it when this process ends, as a `preexec_fn`.
        """
        # A session of its own: the terminal's Ctrl-C reaches this program alone, which ends the others in order.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=with_parent,
            env=env,
            limit=_LONGEST_LINE,
        )
        return cls(name, process, output, ready_prefix)

    async def ended(self) -> int:
        """Wait for its end; returns its exit code."""
        code = await self._process.wait()
        await asyncio.shield(self._lines)
        return code

    async def stop(self) -> None:
        """End it in good order, or at last outright."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(_KILL_AFTER):
                await self.ended()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.ended()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _follow(self) -> None:
        lines = self._process.stdout
        assert lines is not None
        while True:
            try:
                raw = await lines.readline()
            except ValueError:  # longer than any line that people read
                continue
            if not raw:
                break
            self._take(raw.decode(errors="replace").rstrip("\n"))
        if not self.ready.done():
            self.ready.set_result(None)

    def _take(self, line: str) -> None:
        if line.startswith(self._ready_prefix) and not self.ready.done():
            self.ready.set_result(line)
        elif line.strip():
            self.last_line = line
            self._output.line(self._name, line)
