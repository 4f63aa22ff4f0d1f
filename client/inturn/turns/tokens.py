"""How many tokens a part of a request will cost, before the model counts it.

Invariant: rather too many than too few, but for `least`, which no model counts below. Nothing here is exact: what an
answer counted is taken where there is one, and these guesses stand for what is new since.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from inturn.models.encoding import Committed, encode
from inturn.turns.blocks import inside

BYTES: Final = 3
"""Bytes of text that make a token, at worst."""
LONGEST: Final = 8
"""Bytes of text that make a token, at best: of words, that is; what is repeated is no matter of size."""
IMAGE: Final = 1_600
PAGE: Final = 3_000
_PAGE: Final = re.compile(rb"/Type\s*/Page\b")
_PAGE_BYTES: Final = 100_000
"""Of a document whose pages cannot be counted."""


def of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens messages are."""
    return sum(map(of_message, messages))


def of_message(message: Mapping[str, Any]) -> int:
    """Return about how many tokens a message is."""
    size, shown = _sizes(message)
    return size // BYTES + shown + 1


def least(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return how many tokens messages are at least: pictures and pages may be small, and words long."""
    sizes = (_sizes(message) for message in messages)
    return sum(size // LONGEST for size, _ in sizes)


def of_value(value: Any) -> int:
    """Return about how many tokens a text, or tools, are."""
    return len(encode(value)) // BYTES + 1


def _sizes(message: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of what a message says, and the tokens of what it shows."""
    data = message.encoded if isinstance(message, Committed) else encode(message)
    content = message.get("content")
    shown = [_shown(block) for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return len(data) - sum(size for size, _ in shown), sum(tokens for _, tokens in shown)


def _shown(block: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of what a block shows, and the tokens that stand for them."""
    source = block.get("source")
    data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else None
    if block.get("type") == "image":
        return len(data or ""), IMAGE
    if block.get("type") == "document" and isinstance(data, str):
        return len(data), PAGE * _pages(data)
    if block.get("type") == "document" and isinstance(source, dict) and source.get("type") == "url":
        return 0, PAGE
    held = [_shown(item) for item in inside(block) if isinstance(item, dict)]
    return sum(size for size, _ in held), sum(tokens for _, tokens in held)


def _pages(data: str) -> int:
    try:
        pdf = base64.b64decode(data)
    except (binascii.Error, ValueError):
        return 1
    return max(1, len(_PAGE.findall(pdf)), len(pdf) // _PAGE_BYTES)
