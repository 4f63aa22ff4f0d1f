"""Transactions that no cancel cuts short.

Invariant: once the last one of a step began, its result is what the step returns: a cancel that comes in between
changes nothing, and a journal that is away for a moment does not cost an answer that was paid for, or an effect that
happened. Any other one only puts the cancel off: a cancel comes once, and who misses it goes on to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from inturn.journal.retries import retry_while_unavailable

T = TypeVar("T")


async def committed(transaction: Callable[[], Awaitable[T]], *, patience: float) -> T:
    """Run a transaction to its end, whatever cancels the caller, and return its result.

    Args:
        transaction: Running it again must be safe.
        patience: Seconds to try, while the journal cannot be reached.

    Raises:
        JournalUnavailable: It could not be reached all that time.
        asyncio.CancelledError: The caller was cancelled and the transaction failed.
    """
    return await uncancelled(retry_while_unavailable(transaction, patience=patience))


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end whatever cancels the caller, and return the result.

    Raises:
        asyncio.CancelledError: The caller was cancelled and the work failed.
    """
    task, cancelled = await _run_out(work)
    if cancelled is not None and _failed(task):
        raise cancelled
    return task.result()


async def before_cancelled(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, and return the result; who was cancelled meanwhile is cancelled then.

    Raises:
        asyncio.CancelledError: The caller was cancelled, whatever became of the work.
    """
    task, cancelled = await _run_out(work)
    if cancelled is not None:
        _failed(task)  # looked at: asyncio would complain
        raise cancelled
    return task.result()


async def _run_out(work: Coroutine[Any, Any, T]) -> tuple[asyncio.Task[T], asyncio.CancelledError | None]:
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return task, cancelled


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
