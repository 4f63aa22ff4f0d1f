"""Messages as the bytes that are sent.

Invariant: encoding is total (what the journal holds can be sent), and a message that is never changed is encoded once:
a session's thousandth request costs what is new of it.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from inturn.journal.log import codec


class Committed(dict[str, Any]):
    """A message that was sent or answered: nothing changes it any more, so its bytes are made once.

    Attributes:
        encoded: The message as JSON.
    """

    __slots__ = ("encoded",)

    encoded: bytes

    def __getattr__(self, name: str) -> bytes:
        """Make the bytes: asked for only where the slot is empty, so that a full one costs no call."""
        if name != "encoded":
            raise AttributeError(name)
        self.encoded = encode(self)
        return self.encoded


def encode_messages(messages: list[dict[str, Any]]) -> list[bytes]:
    """Return each message as JSON."""
    return [message.encoded if isinstance(message, Committed) else encode(message) for message in messages]


def encode(value: Any) -> bytes:
    """Return a value as JSON in UTF-8. What JSON cannot say becomes what it can: `null`, text, U+FFFD."""
    try:
        return to_json(value, inf_nan_mode="null")
    except (ValueError, RecursionError):
        return codec.dumps(value).encode()
