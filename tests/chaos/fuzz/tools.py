"""Tools that return, raise and take anything, and the worker that serves them: `python -m tests.chaos.fuzz.tools`."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any

from inturn import Agent, Budget, Retry, ToolError, tool
from inturn.journal import open_journal
from inturn_worker import app
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.chaos.fuzz.answers import model


class Unwilling:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _deep() -> Any:
    value: Any = 1
    for _ in range(5_000):
        value = [value]
    return value


_RESULTS: tuple[Any, ...] = (
    None,
    "",
    " \n",
    "\ud800",
    "z" * 400_000,
    b"\xff\xfe",
    10**5_000,
    math.nan,
    {1: 2, None: 3},
    [{"type": "text", "value": "42 rows"}],
    [{"type": "document", "id": 1}],
    [{"type": "image", "source": {"type": "url", "url": "https://x.invalid/expired.png"}}],
    [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    [],
    {},
    object(),
    Unwilling(),
    _cycle(),
    _deep(),
    set(),
)
_ERRORS: tuple[BaseException, ...] = (
    ToolError("\ud800"),
    ToolError("e" * 400_000),
    RuntimeError("raised"),
    ExceptionGroup("many", [ToolError("inside")]),
    RecursionError("deep"),
    MemoryError("much"),
    StopIteration(),
    Retry("later", after=0.05),
    SystemExit(3),
    KeyboardInterrupt(),
)


@tool(retries=0, timeout=5)
def odd(kind: int) -> Any:
    """Do something odd."""
    if kind % 3 == 0:
        raise _ERRORS[kind // 3 % len(_ERRORS)]
    return _RESULTS[kind % len(_RESULTS)]


@tool(idempotent=True, timeout=5)
async def pay(cents: int) -> str:
    """Pay."""
    return f"paid {cents}"


agents = [
    Agent(
        "fuzzed",
        model="scripted-fuzz",
        instructions="Answer.",
        tools=[odd, pay],
        budget=Budget(steps=5, approval_timeout=5),
    )
]


async def serve(address: str, task_queue: str, journal_url: str) -> None:
    """Serve until the process is told to end."""
    settings = Settings(address=address, task_queue=task_queue, grace=1, limits={"max_steps": None})
    journal = open_journal(journal_url)
    await journal.open()
    try:
        built = app.build_worker(await connect(settings), agents, journal=journal, model=model, settings=settings)
        async with built:
            print("ready", flush=True)
            await asyncio.Event().wait()
    finally:
        await journal.close()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
