"""Rules about images, documents and addresses."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Block
from inturn.testing.claude.rules.asked import Asked

MAX_IMAGE: Final = 5 * 1024 * 1024
"""Bytes of an image."""
MAX_PIXELS: Final = 8_000
MANY_IMAGES: Final = 20
MAX_PIXELS_OF_MANY: Final = 2_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PAGE: Final = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")


def images(asked: Asked) -> None:
    """Images are not too many and not too large."""
    found = [block for block in _media(asked) if block["type"] == "image"]
    if len(found) > asked.facts.max_images:
        raise Rejection(f"messages: too many images: {len(found)} > {asked.facts.max_images} maximum")
    for block in found:
        if block["source"]["type"] != "base64":
            continue
        data = _decoded(block["source"]["data"])
        if len(data) > MAX_IMAGE:
            raise Rejection(f"messages: image exceeds 5 MB maximum: {len(data)} bytes > {MAX_IMAGE} bytes")
        most = MAX_PIXELS_OF_MANY if len(found) > MANY_IMAGES else MAX_PIXELS
        if max(_dimensions(data)) > most:
            raise Rejection(f"messages: image dimensions exceed max allowed size: {most} pixels")


def documents(asked: Asked) -> None:
    """Documents have not too many pages, and all of them may be cited or none."""
    found = [block for block in _media(asked) if block["type"] in ("document", "search_result")]
    pages = sum(_pages(block) for block in found)
    if pages > asked.facts.max_images:
        raise Rejection(f"messages: A maximum of {asked.facts.max_images} PDF pages may be provided. Found {pages}.")
    cited = {bool((block.get("citations") or {}).get("enabled")) for block in found}
    if len(cited) > 1:
        raise Rejection("messages: citations must be enabled on all documents or none of them")


def addresses(asked: Asked) -> None:
    """What stands behind an address can be fetched: not where it is gone, nor under `.invalid`."""
    for block in _media(asked):
        source = block["source"]
        url = source.get("url") if isinstance(source, dict) and source["type"] == "url" else None
        if url and (url in asked.memory.gone or _unreachable(url)):
            raise Rejection("Unable to download the file. Please verify the URL and try again.")


def _media(asked: Asked) -> Iterator[Block]:
    for turn in asked.turns:
        if turn.role == "user":
            yield from _within(turn.blocks)


def _within(blocks: list[Block]) -> Iterator[Block]:
    for block in blocks:
        if block["type"] in ("image", "document", "search_result"):
            yield block
        inner = block.get("content") if block["type"] == "tool_result" else None
        parts = block["source"].get("content") if block["type"] == "document" else None
        for more in (inner, parts):
            if isinstance(more, list):
                yield from _within(more)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError):
        return b""


def _dimensions(data: bytes) -> tuple[int, int]:
    """Return width and height of a PNG; of other formats nothing is known here."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    return 0, 0


def _pages(block: Block) -> int:
    source = block["source"]
    return len(_PAGE.findall(_decoded(source["data"]))) if block["type"] == "document" and "data" in source else 0


def _unreachable(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return True
    return host is None or host.endswith(".invalid")
