"""What belongs to an event loop: one of it for each loop that uses an object.

Invariant: nothing that waits in one loop is waited for in another; asyncio's locks refuse that with a bare error, or
hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each running loop, made when it is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Make values by a function."""
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the running loop's value."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]
