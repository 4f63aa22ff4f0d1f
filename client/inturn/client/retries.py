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

from inturn.client.rpc_errors import cancelled, digest
from inturn.errors import Unavailable

T = TypeVar("T")
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0


async def persist(
    call: Callable[[], Awaitable[T]],
    *,
    patience: float,
    session: str = "",
    within: float | None = None,
    alive: Callable[[], Awaitable[bool]] | None = None,
) -> T:
    """Make a call, again and again while that may help.

    Args:
        call: Makes it; must carry the same ids every time.
        patience: Seconds in all.
        session: The session that is called, for messages.
        within: Seconds for one try. No answer in that time means that no worker is there, and ends it.
        alive: Tells whether a worker is there after all: then it is only crowded, and the next try follows.

    Raises:
        InturnError: What the last error means; the error itself is its cause.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    delay = FIRST_DELAY
    while True:
        bound = min(deadline - clock(), within or patience)
        try:
            async with asyncio.timeout(bound), truthful():
                return await call()
        except TimeoutError as error:
            if alive is not None and clock() < deadline and await alive():
                continue
            raise Unavailable(
                f"session {session}: no worker took the call within {bound:.3g} s; the same event_id again is safe"
            ) from error
        except TemporalError as error:
            digested = digest(error, session)
            if not digested.again or clock() + delay >= deadline:
                raise digested.error from error
        await asyncio.sleep(jittered(delay))
        delay = min(delay * 2, LONGEST_DELAY)


@asynccontextmanager
async def truthful() -> AsyncIterator[None]:
    """Let a cancel through as what it is: the SDK words it as a timeout when it comes in the middle of an update."""
    try:
        yield
    except TemporalError as error:
        if cancelled(error):
            raise asyncio.CancelledError from error
        raise


def jittered(delay: float) -> float:
    """Spread a delay, so that callers who were turned away together do not come back together."""
    return delay * random.uniform(0.5, 1.5)
