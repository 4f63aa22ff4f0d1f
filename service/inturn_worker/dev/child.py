"""A process of `inturn dev`: its lines go to the output, under its name.

Invariant: it ends with `inturn dev`, however that ends: the kernel ends it (Linux), or its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from inturn_worker.dev.output import Output

_LONGEST_LINE: Final = 1 << 20
_LAST_LINES: Final = 1.0
"""Seconds to read on behind its end, where a process of another session holds its output open."""
_KILL_AFTER: Final = 60.0
"""Seconds for an end in good order; a worker bounds its own end by its grace, which is shorter."""


_Lines = tuple[asyncio.StreamReader, asyncio.ReadTransport]


class Child:
    """One process, from its start to its end."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, lines: _Lines, output: Output, ready_prefix: str
    ) -> None:
        self._name = name
        self._process = process
        self._output = output
        self._ready_prefix = ready_prefix
        self.ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """What it says behind the words by which it is ready; `None`: it ended before."""
        self.last_line = ""
        self._lines = asyncio.create_task(self._follow(lines))

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
            ready_prefix: The words by which it says that it is ready; they and what follows are not shown.
            with_parent: What the kernel does to it when this process ends, as a `preexec_fn`.
        """
        # A pipe of our own: asyncio would wait for whoever else holds its, before it tells that the process has ended.
        lines, write = await _pipe()
        try:
            # A session of its own: the terminal's Ctrl-C reaches this program alone, which ends the others in order.
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=write,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=with_parent,
                env=env,
            )
        finally:
            os.close(write)
        return cls(name, process, lines, output, ready_prefix)

    async def ended(self) -> int:
        """Wait for its end; returns its exit code. Nothing of its session is left then."""
        code = await self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it started and left behind
        await asyncio.wait([self._lines], timeout=_LAST_LINES)
        self._lines.cancel()
        if not self.ready.done():
            self.ready.set_result(None)
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

    async def _follow(self, lines: _Lines) -> None:
        try:
            await self._read(lines[0])
        finally:
            lines[1].close()

    async def _read(self, lines: asyncio.StreamReader) -> None:
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
        before, prefix, ready = line.partition(self._ready_prefix)
        if prefix and not self.ready.done():
            line = before  # of somebody who ends no line
            self.ready.set_result(ready)
        if line.strip():
            self.last_line = line
            self._output.line(self._name, line)


async def _pipe() -> tuple[_Lines, int]:
    """Return what reads a new pipe, and the end to write to."""
    read, write = os.pipe()
    reader = asyncio.StreamReader(_LONGEST_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0)
    )
    return (reader, transport), write
