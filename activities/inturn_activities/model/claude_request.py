"""A request to Claude, as the bytes that are sent.

Invariant: each committed message is encoded once in its life, and the answer's request finds the last one's in the
cache however much came in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inturn.models import ModelRequest
from inturn.models.encoding import encode, encode_messages
from inturn.turns.answers import THINKING

Message = dict[str, Any]

LOOKBACK: Final = 15
"""Blocks behind a marker in which the API is relied on to find what it cached; it looks through 20."""
_CACHE: Final = {"type": "ephemeral"}


def encoded(request: ModelRequest, *, compaction: Mapping[str, Any] | None = None) -> bytes:
    """Return the request's body; `compaction`: it asks for a summary."""
    head: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "stream": True,
        "cache_control": _CACHE,  # moves with the conversation's tail
    }
    if request.system:
        # Covers the tools too, which come before the system prompt.
        head["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHE}]
    if request.tools:
        head["tools"] = request.tools
        if not request.calls_tools:
            head["tool_choice"] = {"type": "none"}
    if compaction is not None:
        head["compaction"] = {"type": "summarize", **compaction}
    if request.user_id:
        head["metadata"] = {"user_id": request.user_id}
    messages = encode_messages(request.messages)
    if (at := last_tail(request.messages)) is not None:
        messages[at] = encode(_marked(request.messages[at]))
    return b'%b,"messages":[%b]}' % (encode(head)[:-1], b",".join(messages))


def last_tail(messages: list[Message]) -> int | None:
    """Return the message that the last answer's request ended with, where the API would not find it by itself.

    All of that request is cached up to there. From the tail of this one the API looks back 20 blocks: behind many
    parallel calls, or many events in one message, it would find nothing and write the whole conversation anew.
    """
    blocks = 0
    for at in range(len(messages) - 1, 0, -1):
        content = messages[at].get("content")
        blocks += len(content) if isinstance(content, list) else 1
        if messages[at].get("role") == "assistant":
            return at - 1 if blocks > LOOKBACK and _markable(messages[at - 1]) is not None else None
    return None


def _markable(message: Message) -> int | None:
    """Return the last block of a message that takes a marker."""
    content = message.get("content")
    blocks: list[Any] = content if isinstance(content, list) else []
    takes = [n for n, block in enumerate(blocks) if isinstance(block, dict) and block.get("type") not in THINKING]
    return takes[-1] if takes else None


def _marked(message: Message) -> Message:
    at, blocks = _markable(message), list(message["content"])
    if at is not None:
        blocks[at] = {**blocks[at], "cache_control": _CACHE}
    return {**message, "content": blocks}
