"""Signatures of thinking blocks.

Invariant: a thinking block is valid in one place only: behind the system prompt, the tools and the messages that it
answered. Changing anything before it is an error in every later request.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Position

# The same in every process: a server that restarts in the middle of a test still knows its own signatures.
_KEY: Final = b"inturn.testing.claude: signs thinking, protects nothing"
_TEXT_BYTES: Final = 15


def sign(prefix: bytes, thinking: str) -> str:
    """Sign a thinking text in its place behind `prefix`."""
    return base64.b64encode(_text_mac(thinking) + _place_mac(prefix, thinking)).decode()


def verify(line: Sequence[Position]) -> None:
    """Check every thinking block of a request.

    Raises:
        Rejection: One was altered, never came from here, or stands behind something else than what it answered.
    """
    before = b""
    for position in line:
        kind = position.block.get("type")
        if position.role == "assistant" and kind in ("thinking", "redacted_thinking"):
            _verify(position, before)
        before = position.digest


def _verify(position: Position, before: bytes) -> None:
    place = f"messages.{position.message}.content.{position.index}"
    if position.block["type"] == "redacted_thinking":
        raise Rejection(f"{place}: Invalid `data` in `redacted_thinking` block")
    thinking = position.block["thinking"]
    try:
        given = base64.b64decode(position.block["signature"], validate=True)
    except (binascii.Error, ValueError):
        given = b""
    if not hmac.compare_digest(given[:_TEXT_BYTES], _text_mac(thinking)):
        raise Rejection(f"{place}: Invalid `signature` in `thinking` block")
    if not hmac.compare_digest(given[_TEXT_BYTES:], _place_mac(before, thinking)):
        raise Rejection(
            f"{place}: this `thinking` block is bound to a different conversation: "
            "`system`, `tools` or an earlier message has changed since it was generated"
        )


def _text_mac(thinking: str) -> bytes:
    return hmac.digest(_KEY, b"text" + thinking.encode(), "sha256")[:_TEXT_BYTES]


def _place_mac(prefix: bytes, thinking: str) -> bytes:
    return hmac.digest(_KEY, prefix + thinking.encode(), "sha256")
