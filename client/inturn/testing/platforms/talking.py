"""A terminal to talk in with a strict platform: each line is said, and what the bot says is printed.

Invariant: what is shown anew or otherwise is printed once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

LOOK: Final = 0.1
"""Seconds between two looks."""


async def talk(told: str, say: Callable[[str], Awaitable[str]], shown: Callable[[], Mapping[str, str]]) -> None:
    """Talk until standard input ends.

    Args:
        told: The first line.
        say: Says a line; gives what there is to tell of it.
        shown: What the bot says, by the messages' ids.
    """
    _print(told)
    looking = asyncio.create_task(_look(shown))
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() and (answer := await say(line.strip())):
            _print(answer)
    looking.cancel()


async def _look(shown: Callable[[], Mapping[str, str]]) -> None:
    known = dict[str, str]()
    while True:
        for name, text in shown().items():
            if known.get(name) != text:
                known[name] = text
                _print(f"bot: {text}")
        await asyncio.sleep(LOOK)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
