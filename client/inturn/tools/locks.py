"""Locks that a tool takes on its way: `async with ctx.lock("order:17")`.

Invariant: a lock belongs to the tenant and is held by the call: taking it again inside is fine, and whatever way the
block or the call ends, it is given back.
"""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Protocol, Self


class Locks(Protocol):
    """Where locks come from."""

    async def acquire(self, name: str, *, read: bool) -> tuple[str, int]:
        """Wait for a lock; returns what to give back, and the grant's fence.

        Raises:
            ToolError: It was not granted in time, or waiting for it would never end.
        """
        ...

    async def release(self, part: str) -> None:
        """Release it."""


class NullLocks:
    """Locks that are always free: the default outside a worker."""

    def __init__(self) -> None:
        """Count the grants: each has a higher fence."""
        self._fences = itertools.count(1)

    async def acquire(self, name: str, *, read: bool) -> tuple[str, int]:
        """Grant it at once."""
        return name, next(self._fences)

    async def release(self, part: str) -> None:
        """Do nothing: nothing is held."""


class Lock:
    """`async with lock:` holds it.

    Attributes:
        name: Its name within the tenant.
        fence: Higher than that of every earlier grant of this lock; 0 before it is held.
    """

    def __init__(self, locks: Locks, name: str, *, read: bool) -> None:
        """Name a lock; nothing is taken yet."""
        self._locks = locks
        self._read = read
        self._parts: list[str] = []
        self.name = name
        self.fence = 0

    async def __aenter__(self) -> Self:
        """Wait for it, in place."""
        part, self.fence = await self._locks.acquire(self.name, read=self._read)
        self._parts.append(part)  # it may be entered again before it is left
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        await self._locks.release(self._parts.pop())
