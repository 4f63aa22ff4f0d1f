"""The prefix: a request as one line of blocks, and a digest of everything up to each of them.

Invariant: two requests share the digest at a block if, and only if, system, tools and all blocks up to it say the
same. Cache markers move from request to request and say nothing; a text and a list with that one text say the same.
Thinking is bound by these digests, and the cache is keyed by them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """A block in its place.

    Attributes:
        role: `tools`, `system` or the message's role.
        message: The message's index; -1 before the first.
        index: The block's index within its message.
        block: The block.
        digest: Of everything up to this block, itself included.
        tokens: Up to this block, itself included; estimated.
    """

    role: str
    message: int
    index: int
    block: Block
    digest: bytes
    tokens: int


def blocks_of(content: Any) -> list[Block]:
    """Return a content as blocks."""
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def positions(body: dict[str, Any]) -> list[Position]:
    """Return every block of a request with its digest."""
    return list(extend(b"", 0, _line(body)))


def extend(digest: bytes, tokens: int, line: Iterable[tuple[str, int, int, Block]]) -> Iterator[Position]:
    """Continue a digest over more blocks."""
    for role, message, index, block in line:
        data = _canonical(role, block)
        digest = hashlib.sha256(digest + data).digest()
        tokens += max(1, len(data) // 4)
        yield Position(role, message, index, block, digest, tokens)


def _line(body: dict[str, Any]) -> Iterator[tuple[str, int, int, Block]]:
    for index, tool in enumerate(body.get("tools") or ()):
        yield "tools", -1, index, tool
    for index, block in enumerate(blocks_of(body.get("system"))):
        yield "system", -1, index, block
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(blocks_of(message["content"])):
            yield message["role"], number, index, block


_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _canonical(role: str, block: Block) -> bytes:
    items = sorted((key, value) for key, value in block.items() if key != "cache_control" and value is not None)
    if all(isinstance(value, str) for _, value in items):  # most blocks; a long session has thousands
        return to_json([role, items])
    return _sorted([role, items]).encode()
