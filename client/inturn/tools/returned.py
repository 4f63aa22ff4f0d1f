"""What a tool returned, made finite: a tool that yields is run to its end, and its result is the list of what it gave.

Invariant: nothing of it runs after the call has its result, and it ends: by its own end, at the call's timeout, or
where it gave more than a result may hold. A body that has returned has worked: what its result raises where it is
looked at (a proxy out of its context, an object half made) leaves it unshown, and no error.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_json

from inturn.errors import ToolError
from inturn.tools.results import as_text, unshown

MAX_ITEMS: Final = 10_000
MAX_YIELDED: Final = 4 * 1024 * 1024
"""Bytes, of all that it yields."""
MAX_LOOKED_AT: Final = 100_000
"""Values in a result; the iterators of a larger one are not run."""
SMALL: Final = 1_000
"""Values in a result that is written down where it is; so few cost less than the way to a thread."""
SMALL_TEXT: Final = 1_000
"""Characters of such a result that cost as much as a value."""
MAX_BLOCK_VALUES: Final = 10_000
"""Values in content blocks; their texts are no more than are sent, whatever their length."""
MAX_SMALL_DEPTH: Final = 20
"""Levels of such a result."""
_END: Final = object()


def finite(value: Any, given_up: Callable[[], bool]) -> Any:
    """Return a result without iterators: lists of what they gave, and as text where it is no small plain value.

    For the tool's own thread: what writes the result down may be the author's code, too.

    Raises:
        ToolError: It gave too much.
        BaseException: An iterator's own.
    """
    walk = _Walk(given_up)
    try:
        return _finite(value, walk)
    except BaseException as error:
        if isinstance(error, ToolError) or error is walk.failed:
            raise
        return unshown(value)


def _finite(value: Any, walk: _Walk) -> Any:
    if isinstance(value, Iterator):
        value = walk.drained(value)
    if is_small(value):
        return value
    walked = value
    try:
        walked = walk.without_iterators(value)
    except RecursionError as error:
        if error is walk.failed:
            raise
        walk.left = -1
    if walk.left >= 0:
        return as_text(walked)
    if holds_iterator(value):  # the encoder would run it, without an end, and let nothing else run meanwhile
        return f"(a result of type {type(value).__name__} that is too large to run the iterators in it)"
    # It is large, or holds itself: only this encoder notices.
    return to_json(value, fallback=str).decode(errors="replace")


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
    """Whether a result is a text, content blocks, or holds few values, and none but plain ones."""
    if type(value) is list and value and all(type(block) is dict and "type" in block for block in value):
        return _count(value, MAX_BLOCK_VALUES, text=sys.maxsize) >= 0
    return type(value) is str or _count(value, SMALL) >= 0


def is_awaitable(value: Any) -> bool:
    """Whether a result is to be awaited. An object that raises where it is asked what it is, is none; so for all."""
    return _says(inspect.isawaitable, value)


def is_async_iterator(value: Any) -> bool:
    """Whether a result is an async iterator."""
    return _says(lambda value: isinstance(value, AsyncIterator), value)


def is_iterator(value: Any) -> bool:
    """Whether a result is an iterator."""
    return _says(lambda value: isinstance(value, Iterator), value)


def _says(question: Callable[[Any], bool], value: Any) -> bool:
    try:
        return question(value)
    except Exception:
        return False


def holds_iterator(value: Any) -> bool:
    """Whether an encoder that looks into a value would run an iterator."""
    seen, left = set[int](), [value]
    while left:
        value = left.pop()
        if isinstance(value, Iterator):
            return True
        inner = _inner(value)
        if inner and id(value) not in seen:
            seen.add(id(value))
            left += inner.values() if isinstance(inner, dict) else inner
    return False


def _inner(value: Any) -> dict[Any, Any] | Collection[Any]:
    """Return what an encoder finds in a value; nothing where it is none that holds others."""
    if isinstance(value, dict | list | tuple | set | frozenset | deque):
        return value
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return getattr(value, "__dict__", None) or {field.name: getattr(value, field.name) for field in _fields(value)}
    return ()


def _fields(value: Any) -> Sequence[Any]:
    return fields(value) if is_dataclass(value) else ()


class _Walk:
    """Goes through a result once; one that is larger than may be looked at, or holds itself, is left as it is."""

    def __init__(self, given_up: Callable[[], bool]) -> None:
        self._given_up = given_up
        self._ran = 0
        self.left = MAX_LOOKED_AT
        self.failed: BaseException | None = None
        """What an iterator raised: it is part of the body."""

    def without_iterators(self, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            return value
        if isinstance(value, Iterator):
            return self.drained(value)
        inner, ran = _inner(value), self._ran
        if not isinstance(inner, dict):
            return [self.without_iterators(part) for part in inner] if inner else value
        made = {key: self.without_iterators(part) for key, part in inner.items()}
        return made if isinstance(value, dict) or self._ran > ran else value  # an object says itself how it is written

    def drained(self, values: Iterator[Any]) -> list[Any]:
        """Return what an iterator gives."""
        self._ran += 1
        size, items = _Size(), list[Any]()
        while (item := self._next(values)) is not _END:
            items.append(self.without_iterators(item))
            size.add(items[-1])
        return items

    def _next(self, values: Iterator[Any]) -> Any:
        try:
            if self._given_up():
                raise ToolError("its call has ended")
            return next(values, _END)
        except BaseException as error:
            self.failed = error
            raise


def _count(value: Any, left: int, depth: int = 0, text: int = SMALL_TEXT) -> int:
    """Return how many values may be looked at after this one; below 0 where there are too many, or other ones."""
    if left <= 0 or depth > MAX_SMALL_DEPTH:
        return -1
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**64):
        return left - 1
    if type(value) is str:
        return left - 1 - len(value) // text
    if type(value) is dict:
        inner: Any = (part for pair in value.items() for part in pair)
    elif type(value) is list:
        inner = value
    else:
        return -1
    left -= 1
    for part in inner:
        left = _count(part, left, depth + 1, text)
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
    if holds_iterator(item):
        return 1_000
    try:
        return len(to_json(item, fallback=lambda value: str(type(value))))
    except Exception:
        return 1_000
