"""Repeating a call until it lands.

Invariant: every repetition carries the same ids, so it can do nothing twice; it ends within its patience, with the
reason.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from temporalio.exceptions import TemporalError

from inturn.client.temporal.rpc_errors import cancelled, translate_error
from inturn.errors import Unavailable

T = TypeVar("T")
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0


async def retry_rpc(
    call: Callable[[], Awaitable[T]],
    *,
    patience: float,
    session: str = "",
    within: float | None = None,
    alive: Callable[[], Awaitable[bool]] | None = None,
) -> T:
    """Return a call's result, made again and again while that may help.

    Args:
        call: Makes it; must carry the same ids every time.
        patience: Seconds in all.
        session: The session that is called, for messages.
        within: Seconds for one try. No answer in that time means that no worker is there, and ends it.
        alive: Returns whether a worker is there after all: then it is only busy, and the next try follows.

    Raises:
        InturnError: What the last error means; the error itself is its cause.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    delay = FIRST_DELAY
    while True:
        bound = min(deadline - clock(), within or patience)
        try:
            async with asyncio.timeout(bound), reraise_cancellation():
                return await call()
        except TimeoutError as error:
            if alive is not None and clock() < deadline and await alive():
                continue
            raise Unavailable(
                f"session {session}: no worker took the call within {bound:.3g} s; the same event_id again is safe"
            ) from error
        except TemporalError as error:
            translated = translate_error(error, session)
            if not translated.retryable or clock() + delay >= deadline:
                raise translated.error from error
        await asyncio.sleep(jittered(delay))
        delay = min(delay * 2, LONGEST_DELAY)


@asynccontextmanager
async def reraise_cancellation() -> AsyncIterator[None]:
    """Raise `CancelledError` for a cancel that the SDK words as a timeout: one in the middle of an update."""
    try:
        yield
    except TemporalError as error:
        if cancelled(error):
            raise asyncio.CancelledError from error
        raise


def jittered(delay: float) -> float:
    """Return a delay spread by half, so that callers who were turned away together do not come back together."""
    return delay * random.uniform(0.5, 1.5)
