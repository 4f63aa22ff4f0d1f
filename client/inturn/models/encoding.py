"""Messages as the bytes that are sent.

Invariant: encoding is total (what the journal holds can be sent), and a message that is never changed is encoded once:
a session's thousandth request costs what is new of it.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from inturn.journal.log import codec


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
        return codec.dumps(value).encode()
