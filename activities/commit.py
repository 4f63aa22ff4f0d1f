"""The last transaction of a step.

Invariant: once it began, its result is what the step returns: a cancel that comes in between changes nothing, and a
journal that is away for a moment does not cost an answer that was paid for, or an effect that happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from inturn.errors import JournalUnavailable

T = TypeVar("T")

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0


async def committed(transaction: Callable[[], Awaitable[T]], *, patience: float) -> T:
    """Run a transaction to its end, whatever cancels the caller, and give its result.

    Args:
        transaction: Running it again must be safe.
        patience: Seconds to try, while the journal cannot be reached.

    Raises:
        JournalUnavailable: It could not be reached all that time.
        asyncio.CancelledError: The caller was cancelled and the transaction failed.
    """
    return await uncancelled(persistently(transaction, patience=patience))


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end whatever cancels the caller, and give the result.

    Raises:
        asyncio.CancelledError: The caller was cancelled and the work failed.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and (task.cancelled() or task.exception() is not None):
        raise cancelled
    return task.result()


async def persistently(transaction: Callable[[], Awaitable[T]], *, patience: float) -> T:
    """Run a transaction, again while the journal cannot be reached, for at most so many seconds.

    Raises:
        JournalUnavailable: It could not be reached all that time.
    """
    loop = asyncio.get_running_loop()
    end, delay = loop.time() + patience, FIRST_DELAY
    while True:
        try:
            return await transaction()
        except JournalUnavailable:
            if loop.time() + delay > end:
                raise
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)
