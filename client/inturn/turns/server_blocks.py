"""What a provider ran itself within an answer: its calls, and what they gave.

Invariant: the provider that made them gets them back as they came and in order, each call with its one result, for it
takes nothing else; any other one is told of them in words. A file that an answer names is none of them: its id may be
any tenant's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from inturn.journal.log import codec
from inturn.turns.blocks import Block, text

CALL: Final = "server_tool_use"
MAX_TOLD: Final = 2_000
"""Characters of a call, or of its result, that another provider is told."""
_RESULT: Final = "_tool_result"
_RESULTS: Final = {"tool_search_tool_regex": "tool_search", "tool_search_tool_bm25": "tool_search"}
"""Tools whose results are not named after them."""


def is_call(block: Mapping[str, Any]) -> bool:
    """Return whether a block is a call that the provider ran."""
    return block.get("type") == CALL


def is_result(block: Mapping[str, Any]) -> bool:
    """Return whether a block is what such a call gave."""
    return str(block.get("type")).endswith(_RESULT)


def is_made(block: Mapping[str, Any]) -> bool:
    """Return whether a block is of a provider's own making, and whole enough to be sent back."""
    if is_call(block):
        return _is_id(block.get("id")) and _is_id(block.get("name")) and isinstance(block.get("input"), dict)
    return is_result(block) and _is_id(block.get("tool_use_id")) and isinstance(block.get("content"), dict | list)


def still_open(blocks: Iterable[Mapping[str, Any]], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the calls that have no result yet, by id, each with its tool; `before`: those of what came before."""
    left = dict(before or {})
    for block in blocks:
        if is_call(block):
            left[str(block["id"])] = str(block["name"])
        elif is_result(block):
            left.pop(str(block["tool_use_id"]), None)
    return left


def closed(calls: Mapping[str, str]) -> list[Block]:
    """Return results for calls that will get no other one: an answer that nobody goes on with must have them."""
    made: list[Block] = []
    for call, tool in calls.items():
        kind = f"{_RESULTS.get(tool, tool)}{_RESULT}"
        made.append(
            {"type": kind, "tool_use_id": call, "content": {"type": f"{kind}_error", "error_code": "unavailable"}}
        )
    return made


def in_words(block: Block) -> Block:
    """Return a block of a provider's own making as another one takes it."""
    if is_call(block):
        return text(f"(used {block['name']}: {_told(block['input'])})")
    return text(f"(it gave: {_told(block['content'])})")


def _told(value: Any) -> str:
    said = codec.dumps(_readable(value))
    return said if len(said) <= MAX_TOLD else f"{said[:MAX_TOLD]}…"


def _readable(value: Any) -> Any:
    """Leave out what only the provider itself can read."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, dict):
        items = value.items()
        return {name: _readable(item) for name, item in items if not str(name).startswith("encrypted")}
    return value


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value)
