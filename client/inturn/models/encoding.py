"""Messages as the bytes that are sent.

Invariant: encoding is total (what the journal holds can be sent), and a message that is never changed is encoded once:
a session's thousandth request costs what is new of it.
"""

from __future__ import annotations

import math
from typing import Any, Final

from pydantic_core import to_json

MAX_DEPTH: Final = 200
"""Levels of a value that the encoder goes down; deeper ones are named and left out."""


class Committed(dict[str, Any]):
    """A message that was sent or answered: nothing changes it any more, so its bytes are made once."""

    __slots__ = ("_encoded",)

    @property
    def encoded(self) -> bytes:
        """The message as JSON."""
        try:
            return self._encoded
        except AttributeError:
            self._encoded: bytes = encode(self)
            return self._encoded


def encode_message(message: dict[str, Any]) -> bytes:
    """Return a message as JSON."""
    return message.encoded if isinstance(message, Committed) else encode(message)


def encode(value: Any) -> bytes:
    """Return a value as JSON in UTF-8. What JSON cannot say becomes what it can: `null`, text, U+FFFD."""
    try:
        return to_json(value, inf_nan_mode="null")
    except (ValueError, RecursionError):
        return to_json(_plain(value, MAX_DEPTH))


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return joined_surrogates(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0 or not isinstance(value, dict | list | tuple):
        return joined_surrogates("(nested too deeply)" if depth == 0 else str(value))
    if isinstance(value, dict):
        items: dict[Any, Any] = value
        return {joined_surrogates(str(key)): _plain(item, depth - 1) for key, item in items.items()}
    listed: list[Any] = list(value)
    return [_plain(item, depth - 1) for item in listed]


def joined_surrogates(text: str) -> str:
    """Return a text whose halves of characters are joined where both are there, and replaced where one is missing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
