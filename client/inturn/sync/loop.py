"""The loop in which a process's calls run: one thread, started by the first of them.

Invariant: a call ends where it was made: with its result, with its error, or cancelled with its caller. A process that
was forked has no thread of its parent's, and starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
_NAME: Final = "inturn.sync"
_ENDS_WITHIN: Final = 1.0
"""Seconds for the thread to end when its process does."""


class LoopThread:
    """A loop that runs in a daemon thread."""

    def __init__(self) -> None:
        """Start it."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns.

        Raises:
            RuntimeError: It was called in the loop's own thread, where it would wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a call of inturn.sync in its own loop would wait for itself: await the async one there")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:  # such as Ctrl-C, which only this thread heard of
            future.cancel()
            raise

    def stop(self) -> None:
        """End it, so that nothing of it runs in an interpreter that is going away."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_ENDS_WITHIN)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


class _Process:
    """What this process has of it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: LoopThread | None = None
        self.forked = False
        self.left: list[object] = []
        """What the parent's threads served: to let go of it would wait for them."""


_process = _Process()


def call(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, run in the process's loop."""
    return _running().call(work)


def _running() -> LoopThread:
    if (thread := _process.thread) is not None:
        return thread
    with _process.lock:
        if _process.thread is None:
            if _process.forked:
                _renew_core()
            _process.thread = LoopThread()
            atexit.register(_process.thread.stop)
    return _process.thread


def _renew_core() -> None:
    """Give Temporal's Core threads again, where the parent had used it: they did not come along."""
    if "temporalio.runtime" in sys.modules:
        from temporalio.runtime import Runtime, TelemetryConfig  # not before somebody connects

        _process.left.append(Runtime.default())
        Runtime.set_default(Runtime(telemetry=TelemetryConfig()), error_if_already_set=False)


def _forget() -> None:
    global _process
    before = _process
    _process = _Process()
    _process.left, _process.forked = [*before.left, before], True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
