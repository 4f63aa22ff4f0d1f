"""How many tokens a part of a request will cost, before the model counts it.

Invariant: rather too many than too few, but for `least`, which no model counts below. Nothing here is exact: what an
answer counted is taken where there is one, and these guesses stand for what is new since.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Final

from inturn.models.encoding import Committed, encode
from inturn.models.facts import MODELS
from inturn.models.model import ModelRequest
from inturn.turns.blocks import IMAGE_TYPES, inside, reference_of
from inturn.turns.media import TEXT, pages

BYTES: Final = 3
"""Bytes of text that make a token, at worst."""
LONGEST: Final = 8
"""Bytes of text that make a token, at best: of words, that is; what is repeated is no matter of size."""
FRAME: Final = 500
"""Tokens that the API adds to a prompt of its own, for tools."""
IMAGE: Final = 1_600
PAGE: Final = 3_000
MOST_PAGES: Final = max(known.max_images for known in MODELS.values())
"""Of all documents of a request that any model takes."""


def of_messages(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens messages are."""
    return sum(map(of_message, messages))


def of_message(message: Mapping[str, Any]) -> int:
    """Return about how many tokens a message is."""
    size, shown = sizes(message)
    return size // BYTES + shown + 1


def of_request(request: ModelRequest) -> int:
    """Return about how many tokens a request's prompt is."""
    return FRAME + of_value(request.system) + of_value(request.tools) + of_messages(request.messages)


def least(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return how many tokens messages are at least: pictures and pages may be small, and words long."""
    return sum(size // LONGEST for size, _ in map(sizes, messages))


def of_value(value: Any) -> int:
    """Return about how many tokens a text, or tools, are."""
    return len(encode(value)) // BYTES + 1


def pages_of(document: Mapping[str, Any]) -> int:
    """Return how many pages a document shows; 0 of a text."""
    return _shown(document)[1] // PAGE


def sizes(message: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of what a message says, and the tokens of what it shows."""
    data = message.encoded if isinstance(message, Committed) else encode(message)
    content = message.get("content")
    shown = [_shown(block) for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return len(data) - sum(size for size, _ in shown), sum(tokens for _, tokens in shown)


def _shown(block: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of what a block shows, and the tokens that stand for them."""
    source = block.get("source")
    data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else None
    if isinstance(source, dict) and reference_of(block) is not None:
        return _referred(source)
    if block.get("type") == "image":
        return len(data or ""), IMAGE
    if block.get("type") == "document" and isinstance(data, str):
        return len(data), PAGE * _pages(data)
    if block.get("type") == "document" and isinstance(source, dict) and source.get("type") == "url":
        return 0, PAGE
    held = [_shown(item) for item in inside(block) if isinstance(item, dict)]
    return sum(size for size, _ in held), sum(tokens for _, tokens in held)


def _referred(source: Mapping[str, Any]) -> tuple[int, int]:
    """Return the same of what a reference names: a text is as many bytes more."""
    media, size, measure = source.get("media_type", ""), source.get("size", 0), source.get("measure", 1)
    if media == TEXT:
        return -size, 0
    return 0, IMAGE if media in IMAGE_TYPES else PAGE * min(max(1, measure), MOST_PAGES)


def _pages(data: str) -> int:
    try:
        return min(pages(base64.b64decode(data)), MOST_PAGES)
    except (binascii.Error, ValueError):
        return 1
