"""Committed blocks that the API takes no more, and what stands in their place.

Invariant: a block is replaced where it stands, by one of the same kind that says nothing: no call loses its result and
no message its place. What was found is an entry of its own, so every worker leaves out the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, cast

from inturn.turns.blocks import Block, text
from inturn.values import Entry

Place = tuple[int, int]
"""The seq of the entry that holds a block, and which of its blocks it is."""

LEFT_OUT: Final = "(left out)"


def doubt(places: Collection[Place], why: str) -> dict[str, Any]:
    """Return the body of a `transcript.doubted` entry."""
    ordered = sorted(places)
    return {"seqs": sorted({seq for seq, _ in ordered}), "blocks": [list(place) for place in ordered], "why": why}


def doubted_places(entry: Entry) -> set[Place]:
    """Return the blocks that an entry leaves out."""
    given = entry.body.get("blocks")
    pairs: list[Any] = given if isinstance(given, list) else []
    return {(pair[0], pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2}


def has_address(block: Block) -> bool:
    """Return whether what a block shows lies outside, where it may be gone."""
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "url":
        return True
    return any(has_address(inner) for inner in _inside(block))


def is_shown(block: Block) -> bool:
    """Return whether a block is, or holds, an image or a document: what may be refused for what it shows."""
    return block["type"] in ("image", "document") or any(is_shown(inner) for inner in _inside(block))


def _inside(block: Block) -> list[Block]:
    inside: object = block.get("content")
    return cast("list[Block]", inside) if isinstance(inside, list) else []  # a tool's result


def replaced(block: Block, *, shown: bool = False) -> Block:
    """Return what stands in a block's place; `shown`: of a result only in the place of what it shows."""
    if shown and block["type"] == "tool_result":
        return {**block, "content": [replaced(inner) if is_shown(inner) else inner for inner in _inside(block)]}
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    if block["type"] == "tool_result":
        return {"type": "tool_result", "tool_use_id": block["tool_use_id"], "content": LEFT_OUT}
    return text(LEFT_OUT)
