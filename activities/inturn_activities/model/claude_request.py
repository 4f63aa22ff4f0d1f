"""A request to Claude, as the bytes that are sent.

Invariant: each committed message is encoded once in its life, and the answer's request finds the last one's in the
cache however much came in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anthropic

from inturn.models import ModelRequest, ModelSettings
from inturn.models.encoding import encode, encode_messages
from inturn.models.facts import facts
from inturn.models.settings import FREE, MIN_THINKING
from inturn.turns.answers import THINKING

Message = dict[str, Any]

PIECE: Final = 256 * 1024
"""Bytes of a body that are sent at once."""
LOOKBACK: Final = 15
"""Blocks behind a marker in which the API is relied on to find what it cached; it looks through 20."""
CODE: Final = "code_execution_"
MAX_THINKING: Final = 32_000
"""Tokens that a model may think whose thinking has a budget."""


def encoded(request: ModelRequest, *, compaction: Mapping[str, Any] | None = None, diagnosed: bool = True) -> bytes:
    """Return the request's body.

    Args:
        request: The request.
        compaction: It asks for a summary, in this way.
        diagnosed: Ask why its beginning is not found in the cache, where it is not.
    """
    cache = _marker(request.settings)
    head: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "stream": True,
        "cache_control": cache,  # moves with the conversation's tail
        **answered_as(request),
    }
    if request.system:
        # Covers the tools too, which come before the system prompt.
        head["system"] = [{"type": "text", "text": request.system, "cache_control": cache}]
    if request.tools:
        head["tools"] = request.tools
    if compaction is not None:
        head["compaction"] = {"type": "summarize", **compaction}
    if diagnosed:
        head["diagnostics"] = {"previous_message_id": request.previous}
    if request.container is not None and any(is_code(tool) for tool in request.tools):
        head["container"] = request.container
    if request.user_id:
        head["metadata"] = {"user_id": request.user_id}
    messages = encode_messages(request.messages)
    if (at := last_tail(request.messages)) is not None:
        messages[at] = encode(_marked(request.messages[at], cache))
    return b'%b,"messages":[%b]}' % (encode(head)[:-1], b",".join(messages))


def is_code(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool of the API's runs code in a container."""
    return str(tool.get("type")).startswith(CODE)


def answered_as(request: ModelRequest) -> dict[str, Any]:
    """Return the fields that say how a request is to be answered."""
    settings = request.settings
    output: dict[str, Any] = {} if settings.effort is None else {"effort": settings.effort}
    if settings.output is not None:
        output["format"] = {"type": "json_schema", "schema": anthropic.transform_schema(dict(settings.output))}
    fields = {
        "thinking": None if settings.thinking is None else _thinking(request),
        "output_config": output,
        "tool_choice": _choice(settings) if request.tools else None,
    }
    return {**settings.extra, **{name: value for name, value in fields.items() if value}}


def _thinking(request: ModelRequest) -> dict[str, Any]:
    known = facts(request.model)
    if not request.settings.thinking:
        return {"type": "disabled"}
    if "adaptive" in known.thinking or not known.known:
        return {"type": "adaptive"}
    if request.max_tokens <= MIN_THINKING:  # whoever asks for so little wants to know something else
        return {"type": "disabled"}
    return {"type": "enabled", "budget_tokens": max(MIN_THINKING, min(request.max_tokens // 2, MAX_THINKING))}


def _choice(settings: ModelSettings) -> dict[str, Any] | None:
    choice = settings.tool_choice or "auto"
    if choice == "none":
        return {"type": choice}
    chosen = {"type": choice} if choice in (*FREE, "any") else {"type": "tool", "name": choice}
    if not settings.parallel:
        return {**chosen, "disable_parallel_tool_use": True}
    return None if choice == "auto" else chosen


def _marker(settings: ModelSettings) -> dict[str, str]:
    """Return what marks the end of what is to be cached."""
    return {"type": "ephemeral"} | ({"ttl": settings.cache_ttl} if settings.cache_ttl != "5m" else {})


@dataclass(frozen=True, slots=True)
class Pieces:
    """A large body in pieces: to send all of it at once would keep the event loop from everybody else."""

    body: bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield it; from its start each time it is sent."""
        for start in range(0, len(self.body), PIECE):
            yield self.body[start : start + PIECE]


def sent(body: bytes) -> tuple[bytes | Pieces, dict[str, str]]:
    """Return a body as it is sent, with the headers that say how."""
    headers = {"content-type": "application/json"}
    if len(body) <= PIECE:
        return body, headers
    return Pieces(body), {**headers, "content-length": str(len(body))}


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


def _marked(message: Message, cache: Mapping[str, str]) -> Message:
    at, blocks = _markable(message), list(message["content"])
    if at is not None:
        blocks[at] = {**blocks[at], "cache_control": cache}
    return {**message, "content": blocks}
