"""How large a picture or a document is, by its first bytes; nothing of it is decoded beyond those."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from inturn.turns.blocks import inside, reference_of
from inturn.turns.references import encoded_size

UNKNOWN: Final = 2_000
"""Pixels of a picture that lies elsewhere, or is of a format that is not known: more than most, less than too many."""
_START: Final = 64 * 1024
"""Characters of base64 that are looked at: a JPEG says its size behind what a camera says of itself."""


def longest_side(block: Mapping[str, Any]) -> int:
    """Return the pixels of the longer side of a block's picture, of the largest where it holds several; 0: none."""
    if block.get("type") != "image":
        return max(map(longest_side, _inside(block)), default=0)
    if reference_of(block) is not None:
        return int(block["source"].get("measure") or UNKNOWN)
    data = _data(block)
    return UNKNOWN if data is None else side_of(_decoded(data[:_START])) or UNKNOWN


def length(block: Mapping[str, Any]) -> int:
    """Return the characters of what a block shows; 0 where that lies elsewhere."""
    if reference_of(block) is not None:
        return encoded_size(block)
    return len(_data(block) or "") + sum(map(length, _inside(block)))


def _data(block: Mapping[str, Any]) -> str | None:
    source = block.get("source")
    data = source.get("data") if isinstance(source, dict) else None
    return data if isinstance(data, str) else None


def _inside(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [item for item in inside(block) if isinstance(item, dict)]


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def side_of(data: bytes) -> int:
    """Return the pixels of a picture's longer side; 0 where it does not say."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return max(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
    if data.startswith(b"GIF8") and len(data) >= 10:
        return max(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))
    if data.startswith(b"\xff\xd8"):
        return _side_of_jpeg(data)
    return _side_of_webp(data) if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30 else 0


def _side_of_jpeg(data: bytes) -> int:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame's header
            return max(int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9]))
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0


def _side_of_webp(data: bytes) -> int:
    match data[12:16]:
        case b"VP8X":
            return 1 + max(int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little"))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + max(bits & 0x3FFF, bits >> 14 & 0x3FFF)
        case b"VP8 ":
            sides = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
            return max(side & 0x3FFF for side in sides)
        case _:
            return 0
