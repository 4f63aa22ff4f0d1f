"""Signatures of thinking blocks.

Invariant: a thinking block is valid for the model that made it only, and, where the model binds it, in one place only:
behind the system prompt, the tools and the messages that it answered. Changing anything before it is an error in every
later request; only the API's own summary may stand for what it summarised.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, Final

from inturn.models.facts import facts, family
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Position

# The same in every process: a server that restarts in the middle of a test still knows its own signatures.
_KEY: Final = b"inturn.testing.claude: signs thinking, protects nothing"
_TEXT_BYTES: Final = 15


def sign(prefix: bytes, thinking: str, model: str) -> str:
    """Sign a thinking text of a model in its place behind `prefix`."""
    return base64.b64encode(_text_mac(thinking, model) + _place_mac(prefix, thinking)).decode()


def redacted(prefix: bytes, model: str) -> dict[str, Any]:
    """Return a block of thinking that nobody can read, in its place behind `prefix`."""
    hidden = secrets.token_hex(8)
    return {"type": "redacted_thinking", "data": f"{hidden}.{sign(prefix, hidden, model)}"}


def verify(line: Sequence[Position], model: str) -> None:
    """Check every thinking block of a request.

    Raises:
        Rejection: One was altered, never came from here, is another model's, or stands behind something else than what
            it answered.
    """
    before = b""
    binds = facts(model).binds_thinking
    for position in line:
        if position.role == "assistant" and position.block["type"] in ("thinking", "redacted_thinking"):
            _verify(position, before if binds else None, model)
        before = position.digest


def _verify(position: Position, before: bytes | None, model: str) -> None:
    place = f"messages.{position.message}.content.{position.index}"
    kind = position.block["type"]
    if kind == "thinking":
        thinking, signature, name = position.block["thinking"], position.block["signature"], "signature"
    else:
        thinking, _, signature = position.block["data"].partition(".")
        name = "data"
    given = _decoded(signature)
    if not hmac.compare_digest(given[:_TEXT_BYTES], _text_mac(thinking, model)):
        raise Rejection(f"{place}: Invalid `{name}` in `{kind}` block")
    if before is not None and not hmac.compare_digest(given[_TEXT_BYTES:], _place_mac(before, thinking)):
        raise Rejection(
            f"{place}: this `{kind}` block is bound to a different conversation: "
            "`system`, `tools` or an earlier message has changed since it was generated"
        )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _text_mac(thinking: str, model: str) -> bytes:
    maker = family(model) or model
    return hmac.digest(_KEY, b"text" + maker.encode() + b"\0" + thinking.encode(), "sha256")[:_TEXT_BYTES]


def _place_mac(prefix: bytes, thinking: str) -> bytes:
    return hmac.digest(_KEY, prefix + thinking.encode(), "sha256")
