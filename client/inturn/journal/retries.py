"""Transactions that are tried again while the journal is away.

Invariant: what is run here may be run twice: an answer that was lost is no different from a journal that is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from inturn.errors import JournalUnavailable

T = TypeVar("T")

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0


async def retry_while_unavailable(transaction: Callable[[], Awaitable[T]], *, patience: float) -> T:
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
