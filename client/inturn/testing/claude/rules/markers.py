"""Rules about cache markers."""

from __future__ import annotations

from typing import Final

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Block, blocks_of
from inturn.testing.claude.rules.asked import Asked

MAX_MARKERS: Final = 4
_UNMARKED: Final = ("thinking", "redacted_thinking")


def markers(asked: Asked) -> None:
    """There are at most four markers, the long-lived first; the request's own shares the last block's slot."""
    blocks = _blocks(asked)
    found = [block["cache_control"] for block in blocks if block.get("cache_control")]
    top = asked.body.get("cache_control")
    if top:
        last = next((b for b in reversed(blocks) if b.get("type") not in _UNMARKED), {}).get("cache_control")
        if last and _ttl(last) != _ttl(top):
            raise Rejection("cache_control: the last block has a cache_control with another ttl")
        found += [] if last else [top]
    if len(found) > MAX_MARKERS:
        raise Rejection(f"A maximum of {MAX_MARKERS} blocks with cache_control may be provided. Found {len(found)}.")
    ttls = [_ttl(marker) for marker in found]
    if ttls != sorted(ttls):  # "1h" sorts before "5m"
        raise Rejection("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _blocks(asked: Asked) -> list[Block]:
    """Return all blocks that may be marked, in the order of the prompt; what a result holds comes before it."""
    blocks = [*(asked.body.get("tools") or []), *blocks_of(asked.body.get("system"))]
    for turn in asked.turns:
        for block in turn.blocks:
            inner = block.get("content") if block["type"] == "tool_result" else None
            blocks += [*(inner if isinstance(inner, list) else []), block]
    return blocks


def _ttl(marker: Block) -> str:
    return str(marker.get("ttl") or "5m")
