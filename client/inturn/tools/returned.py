"""What a tool returned, made finite: a tool that yields is run to its end, and its result is the list of what it gave.

Invariant: nothing of it runs after the call has its result, and it ends: by its own end, at the call's timeout, or
where it gave more than a result may hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from pydantic_core import to_json

from inturn.errors import ToolError
from inturn.tools.results import as_text

MAX_ITEMS: Final = 10_000
MAX_YIELDED: Final = 4 * 1024 * 1024
"""Bytes, of all that it yields."""
SMALL: Final = 1_000
"""Values in a result that is written down where it is; so few cost less than the way to a thread."""


def finite(value: Any, given_up: Callable[[], bool]) -> Any:
    """Return a result without iterators: lists of what they gave, and as text where it is no small plain value.

    For the tool's own thread: what writes the result down may be the author's code, too.

    Raises:
        ToolError: It gave too much.
    """
    if isinstance(value, Iterator):
        value = _drained(value, given_up)
    if is_small(value) or _is_list_of_blocks(value):
        return value
    return as_text(_without_iterators(value, given_up, 0))


async def finite_async(value: AsyncIterator[Any]) -> list[Any]:
    """Return a list of what an async iterator gives.

    Raises:
        ToolError: It gave too much.
    """
    size, items = _Size(), list[Any]()
    async for item in value:
        size.add(item)
        items.append(item)
        await asyncio.sleep(0)  # one that never waits must not keep the loop to itself
    return items


def is_small(value: Any) -> bool:
    """Whether a result is a text, or holds few values, and none but plain ones."""
    return isinstance(value, str) or _count(value, SMALL) >= 0


def _drained(values: Iterator[Any], given_up: Callable[[], bool]) -> list[Any]:
    size, items = _Size(), list[Any]()
    for item in values:
        if given_up():
            raise ToolError("its call has ended")
        size.add(item)
        items.append(item)
    return items


def _without_iterators(value: Any, given_up: Callable[[], bool], depth: int) -> Any:
    if depth > 100:
        return value
    if isinstance(value, Iterator):
        return _drained(value, given_up)
    if type(value) is dict:
        return {key: _without_iterators(inner, given_up, depth + 1) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return [_without_iterators(inner, given_up, depth + 1) for inner in value]
    return value


def _is_list_of_blocks(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(b, dict) and "type" in b for b in value)


def _count(value: Any, left: int) -> int:
    """Return how many values may be looked at after this one; below 0 where there are too many, or other ones."""
    if left <= 0:
        return -1
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**64):
        return left - 1
    if type(value) is str:
        return left - 1 - len(value) // 1_000
    if type(value) is dict:
        inner: Any = (part for pair in value.items() for part in pair)
    elif type(value) is list:
        inner = value
    else:
        return -1
    left -= 1
    for part in inner:
        left = _count(part, left)
        if left < 0:
            return -1
    return left


class _Size:
    """What was yielded so far."""

    def __init__(self) -> None:
        self._items = 0
        self._bytes = 0

    def add(self, item: Any) -> None:
        self._items += 1
        self._bytes += _bytes(item)
        if self._items > MAX_ITEMS or self._bytes > MAX_YIELDED:
            raise ToolError(
                f"The tool was stopped: it yields more than {MAX_ITEMS:,} values or {MAX_YIELDED // 2**20} MiB. "
                f"What it did until then is done."
            )


def _bytes(item: Any) -> int:
    if isinstance(item, str | bytes):
        return len(item)
    try:
        return len(to_json(item, fallback=lambda value: str(type(value))))
    except Exception:
        return 1_000
