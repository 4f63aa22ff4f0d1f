"""References: content blocks that show what was uploaded, without holding it.

Invariant: a reference is the hash of its bytes, and what its block may be shown as is settled in the entry that says
it, once and for all: later requests show the same, whoever uploads or deletes what meanwhile. A reference that cannot
be shown is a text that says why, so it costs nobody more than the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from inturn.turns.blocks import Block, inside, reference_of, text


def references(blocks: object) -> Iterator[Block]:
    """Yield the blocks of a content that show references, also those within others."""
    for block in cast("list[object]", blocks) if isinstance(blocks, list) else []:
        if not isinstance(block, dict):
            continue
        if reference_of(block) is not None:
            yield block
        else:
            yield from references(inside(block))


def replaced(blocks: list[Any], by: Callable[[Block], Block]) -> list[Any]:
    """Return a content with each block that shows a reference replaced; itself where there is none."""
    return [_replaced(block, by) for block in blocks] if any(references(blocks)) else blocks


def _replaced(block: Any, by: Callable[[Block], Block]) -> Any:
    if not isinstance(block, dict):
        return block
    if reference_of(block) is not None:
        return by(block)
    made: Block = dict(block)
    if isinstance(block.get("content"), list):
        made["content"] = replaced(block["content"], by)
    source = block.get("source")
    if isinstance(source, dict) and isinstance(source.get("content"), list):
        made["source"] = {**source, "content": replaced(source["content"], by)}
    return made


def not_shown(block: Mapping[str, Any], why: str) -> Block:
    """Return what the model sees where a reference cannot be shown."""
    return text(f"[{block.get('type')}: {why}]")


def encoded_size(block: Mapping[str, Any]) -> int:
    """Return the bytes that a block with a reference has in a request."""
    size = block["source"].get("size")
    return (size + 2) // 3 * 4 if isinstance(size, int) else 0
