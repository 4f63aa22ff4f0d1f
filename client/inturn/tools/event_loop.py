"""From wherever a tool runs to its worker's event loop.

Invariant: what a tool asks of its context runs on the loop that owns the journal, whether the tool calls from that
loop, from another one, or from a thread without any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


class _Done:
    """Something that was done already; awaiting it does nothing."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def is_cancelled() -> bool:
    """Return whether the running task itself is being cancelled, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def run_on(home: asyncio.AbstractEventLoop | None, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """Run work on a loop (`None`: the caller's), and return what an async caller awaits; else it is done already."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not None and home in (None, here):
        return work
    if home is None:
        asyncio.run(work)
        return _Done()
    sent = asyncio.run_coroutine_threadsafe(work, home)
    if here is not None:
        return asyncio.wrap_future(sent)
    sent.result()
    return _Done()
