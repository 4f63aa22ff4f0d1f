"""The prefix: a request as one line of blocks, and a digest of everything up to each of them.

Invariant: two requests share the digest at a block if, and only if, system, tools and all blocks up to it say the
same. Cache markers move from request to request and say nothing; a text and a list with that one text say the same.
Thinking is bound by these digests, and the cache is keyed by them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic_core import to_json

from inturn.journal.log import codec
from inturn.testing.claude.summaries import summary_of

Block = dict[str, Any]

_IMAGE: Final = 1_600 * 4
"""Bytes of text that cost as much as an image."""


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
    """Return every block of a request with its digest; a summary of the API's has the digest of what it stands for."""
    line = list(_line(body))
    first = next((at for at, (_, message, _, _) in enumerate(line) if message >= 0), len(line))
    if first == len(line) or line[first][3].get("type") != "compaction":
        return list(extend(b"", 0, line))
    head = list(extend(b"", 0, line[:first]))
    digest, tokens = (head[-1].digest, head[-1].tokens) if head else (b"", 0)
    whole = next(extend(digest, tokens, line[first : first + 1]))
    summary, kept = summary_of(whole.block), line[first + 1][0] if first + 1 < len(line) else None
    if summary is not None and summary.follows(digest, kept):
        whole = replace(whole, digest=summary.end)
    return [*head, whole, *extend(whole.digest, whole.tokens, line[first + 1 :])]


def extend(digest: bytes, tokens: int, line: Iterable[tuple[str, int, int, Block]]) -> Iterator[Position]:
    """Continue a digest over more blocks."""
    for role, message, index, block in line:
        data = _canonical(role, block)
        digest = hashlib.sha256(digest + data).digest()
        tokens += max(1, (len(data) - _shown(block)) // 4)
        yield Position(role, message, index, block, digest, tokens)


def _line(body: dict[str, Any]) -> Iterator[tuple[str, int, int, Block]]:
    for index, tool in enumerate(body.get("tools") or ()):
        yield "tools", -1, index, tool
    for index, block in enumerate(blocks_of(body.get("system"))):
        yield "system", -1, index, block
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(blocks_of(message["content"])):
            yield message["role"], number, index, block


def _shown(block: Block) -> int:
    """Return by how many bytes a block's data exceeds what the model sees of it."""
    source, content = block.get("source"), block.get("content")
    data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else None
    inner = content if isinstance(content, list) and block.get("type") == "tool_result" else ()
    return max(0, len(data or "") - _IMAGE) + sum(_shown(each) for each in inner)


_HALF: Final = re.compile(r"\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}")
"""Half a character, as JSON escapes it; it says what its replacement says."""
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _canonical(role: str, block: Block) -> bytes:
    items = sorted((key, value) for key, value in block.items() if key != "cache_control" and value is not None)
    if all(isinstance(value, str) for _, value in items):  # most blocks; a long session has thousands
        return to_json([role, [(key, codec.whole(value)) for key, value in items]])
    return _HALF.sub(r"\\ufffd", _sorted([role, items])).encode()
