"""Waiting for a condition, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], *, within: float = 30.0, every: float = 0.05) -> T:
    """Poll until the condition gives something true; returns it.

    Raises:
        TimeoutError: It did not within `within` seconds.
    """
    end = time.monotonic() + within
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"still {value!r} after {within} s")
        await asyncio.sleep(every)


def eventually(condition: Callable[[], object], *, within: float = 30.0, every: float = 0.01) -> None:
    """Poll until the condition holds, where no loop runs.

    Raises:
        TimeoutError: It did not within `within` seconds.
    """
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within} s")
        time.sleep(every)
