"""JSON as the journal keeps it.

Invariant: whatever was accepted can be stored, read back and sent on. Stored text is always valid Unicode without NUL
(inside JSON a NUL is written as its escape), and what Unicode or JSON cannot say is replaced, never a reason to fail.
Keys keep their order: the model's own words go back to it as it gave them.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> str:
    """Return a value as compact JSON text.

    Lone surrogates become U+FFFD, numbers that are not finite become `null`, other values what `str` makes of them.
    """
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError):
        text = _encoder.encode(_plain(value))
    return whole(text)


def loads(text: str) -> Any:
    """Read a stored value."""
    return json.loads(text)


def copied(value: Any) -> Any:
    """Return a value as it is read back after it was stored."""
    return loads(dumps(value))


def whole(text: str) -> str:
    """Return a text with U+FFFD in the place of lone surrogates (halves of a character; no encoding can write them)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def column(text: str | None) -> str | None:
    """Return a text that every backend takes as a column's value."""
    return None if text is None else whole(text).replace("\0", _REPLACEMENT)


def _plain(value: Any) -> Any:
    """Return the nearest value that JSON has."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in cast("list[Any]", value)]
    return str(value)
