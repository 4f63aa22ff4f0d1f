"""An earlier conversation, as a journal would hold it.

Invariant: what was said before a turn is the transcript's like all else: what a refusal names of it is found, and it is
sent in the form that the API takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from inturn.events import Content
from inturn.journal.log import codec
from inturn.turns.blocks import Block, text
from inturn.values import Entry

Message = dict[str, Any]


def earlier_entries(messages: Sequence[Message]) -> list[Entry]:
    """Return the entries that make these messages; they are no event's."""
    at = datetime.now(UTC)
    said = [each for message in messages for each in _said(message["role"], _blocks(message["content"]))]
    return [
        Entry(seq=seq, type=type_, at=at, body=codec.copied(body), hash="", prev="")
        for seq, (type_, body) in enumerate(said, 1)
    ]


def _said(role: str, blocks: list[Block]) -> Iterator[tuple[str, dict[str, Any]]]:
    if blocks and blocks[0].get("type") == "compaction":
        yield "session.compacted", {"by": "claude", "block": blocks[0], "kept_from": None}
        blocks = blocks[1:]
    if role != "user" and blocks:
        yield ("agent.message" if role == "assistant" else "system.message"), {"content": blocks}
        return
    for block in blocks:
        if block.get("type") == "tool_result":
            yield "agent.tool_result", _result(block)
    if asked := [block for block in blocks if block.get("type") != "tool_result"]:
        yield "user.message", {"content": asked}


def _result(block: Block) -> dict[str, Any]:
    content = block.get("content")
    said = {"text": content} if isinstance(content, str) else {"content": content}
    return {"call_id": block.get("tool_use_id"), "status": "failed" if block.get("is_error") else "ok", **said}


def _blocks(content: Content) -> list[Block]:
    return [text(content)] if isinstance(content, str) else content
