"""JSON as the journal keeps it.

Invariant: whatever was accepted can be stored, read back and sent on. Stored text is always valid Unicode without NUL
(inside JSON a NUL is written as its escape), and what Unicode or JSON cannot say is replaced, never a reason to fail.
Keys keep their order: the model's own words go back to it as it gave them.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

MAX_DEPTH: Final = 200
"""Lists and objects within each other, where a value has more than can be written."""
MAX_BITS: Final = 13_000
"""Of a number: longer ones Python reads and writes no more (4,300 digits)."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> str:
    """Return a value as compact JSON text.

    Lone surrogates become U+FFFD, numbers that are not finite become `null`, other values what `str` makes of them;
    what is too long or too deep to be written is named.
    """
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        text = _encoder.encode(_plain(value, MAX_DEPTH))
    return whole(text)


def loads(text: str) -> Any:
    """Read a stored value."""
    return json.loads(text)


def copied(value: Any) -> Any:
    """Return a value as it is read back after it was stored."""
    return loads(dumps(value))


def whole(text: str) -> str:
    """Return a text whose halves of characters are joined where both are there, and U+FFFD where one is missing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def column(text: str | None) -> str | None:
    """Return a text that every backend takes as a column's value."""
    return None if text is None else whole(text).replace("\0", _REPLACEMENT)


def _plain(value: Any, depth: int) -> Any:
    """Return the nearest value that JSON has."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= MAX_BITS else f"(a number of {value.bit_length():,} bits)"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        if depth == 0:
            return "(nested too deeply)"
        return {_text(key): _plain(item, depth - 1) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth - 1) for item in cast("list[Any]", value)] if depth else "(nested too deeply)"
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a value of a user's, or a number that is too long to be written
        return f"(a {type(value).__name__})"
