"""Locks among the calls of one turn, in the test's own process.

Invariant: as in a worker: one writer or any number of readers, first come, first served, and every grant has a higher
fence. Only a circle of waiters is not broken: the timeouts of their tools end it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from inturn.tools import lock_name

POLL: Final = 0.001
"""Seconds between two looks: whoever waits may be on another thread's loop."""


@dataclass(eq=False, slots=True)
class _Request:
    holder: object
    names: Mapping[str, bool]
    """The locks, and whether each is only read."""
    granted: bool = False

    def conflicts(self, other: _Request) -> bool:
        shared = self.names.keys() & other.names.keys()
        return self.holder is not other.holder and not all(self.names[n] and other.names[n] for n in shared)


class LockTable:
    """The locks of one turn's calls."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._fences = itertools.count(1)

    @asynccontextmanager
    async def hold(self, holder: object, names: Mapping[str, bool]) -> AsyncIterator[int]:
        """Hold some locks within the block, which gets the grant's fence; 0 where there are none.

        Args:
            holder: The call; it never waits for itself.
            names: The locks, and whether each is only read.
        """
        if not names:
            yield 0
            return
        request = _Request(holder, names)
        with self._lock:
            self._requests.append(request)
        try:
            while True:
                if self._grant(request):
                    break
                await asyncio.sleep(POLL)
            yield next(self._fences)
        finally:
            with self._lock:
                self._requests.remove(request)

    def _grant(self, request: _Request) -> bool:
        with self._lock:
            before = self._requests[: self._requests.index(request)]
            held = {
                name for other in before if other.granted and other.holder is request.holder for name in other.names
            }
            # Who holds them all already does not stand behind others that wait for them.
            ahead = [o for o in self._requests if o.granted] if request.names.keys() <= held else before
            request.granted = not any(request.conflicts(other) for other in ahead)
            return request.granted


class CallLocks:
    """The locks that one call's body takes."""

    def __init__(self, table: LockTable, holder: object) -> None:
        """Take locks of a table for a call."""
        self._table = table
        self._holder = holder
        self._held: dict[str, AbstractAsyncContextManager[int]] = {}
        self._parts = itertools.count()

    async def acquire(self, name: str, *, read: bool) -> tuple[str, int]:
        """Wait for a lock, and return what `release` takes, and its fence."""
        part = str(next(self._parts))
        held = self._table.hold(self._holder, {lock_name(name): read})
        fence = await held.__aenter__()
        self._held[part] = held
        return part, fence

    async def release(self, part: str) -> None:
        """Release it."""
        await self._held.pop(part).__aexit__(None, None, None)
