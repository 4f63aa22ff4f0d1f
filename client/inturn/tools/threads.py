"""Threads for tools that are not async.

Invariant: at most so many run at once, and a thread that hangs keeps its slot until it really ends; so neither a
flood of calls nor a hanging tool exhausts the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

OnLate = Callable[[Any, BaseException | None], None]
"""Takes the result, or the error, of a thread whose caller was cancelled."""


class NoThread(Exception):
    """All slots were taken for the whole of the wait."""


class Threads:
    """Slots for threads. Threads are daemons: a hanging tool cannot keep a stopped worker alive."""

    def __init__(self, size: int) -> None:
        """Allow `size` at once."""
        self._size = size
        self._free = asyncio.Semaphore(size)

    @asynccontextmanager
    async def slot(self, *, wait: float) -> AsyncIterator[ThreadSlot]:
        """Hold a slot, after at most `wait` seconds.

        Raises:
            NoThread: None became free.
        """
        try:
            async with asyncio.timeout(wait):
                await self._free.acquire()
        except TimeoutError:
            raise NoThread(f"all {self._size} threads for tools are taken") from None
        slot = ThreadSlot(self._free)
        try:
            yield slot
        finally:
            slot.leave()


class ThreadSlot:
    """One slot; good for one run."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        """Hold a slot of the semaphore's."""
        self._free = free
        self._used = False

    async def run(self, fn: Callable[[], Any], on_late: OnLate | None = None) -> Any:
        """Run a function in a thread, with the caller's context variables.

        A cancel stops the wait, not the thread: what comes of it then goes to `on_late`.
        """
        self._used = True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def end(result: Any, error: BaseException | None) -> None:
            self._free.release()
            if done.cancelled():
                if on_late is not None:
                    on_late(result, error)
            elif error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def body() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(fn)
            except StopIteration as stop:  # a future cannot hold one
                error = RuntimeError(f"the tool raised StopIteration: {stop}")
            except BaseException as raised:  # whatever it was belongs to the caller
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
                loop.call_soon_threadsafe(end, result, error)

        threading.Thread(target=body, name="inturn-tool", daemon=True).start()
        return await done

    def leave(self) -> None:
        """Release the slot, if no thread took it over."""
        if not self._used:
            self._used = True
            self._free.release()
