"""An answer as server-sent events.

Invariant: the events of a whole answer end with `message_stop`, and nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from inturn.models.scripted_answers import pieces

MAX_PIECES: Final = 32
"""Deltas of one block."""

Event = dict[str, Any]


def events(message: dict[str, Any]) -> list[Event]:
    """Return the events in which a whole message streams."""
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    start["usage"] = {**message["usage"], "output_tokens": 1}
    made: list[Event] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    cut_calls = message["stop_reason"] == "max_tokens"
    for index, block in enumerate(message["content"]):
        last = index == len(message["content"]) - 1
        made.append({"type": "content_block_start", "index": index, "content_block": _empty(block)})
        for delta in _deltas(block, cut=cut_calls and last):
            made.append({"type": "content_block_delta", "index": index, "delta": delta})
        made.append({"type": "content_block_stop", "index": index})
    ending = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    ending |= {"container": message["container"]} if message.get("container") else {}
    made.append({"type": "message_delta", "delta": ending, "usage": message["usage"]})
    made.append({"type": "message_stop"})
    return made


def encode(event: Event) -> bytes:
    """Return an event as bytes."""
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


_BLANK: Final[dict[str, dict[str, Any]]] = {
    "text": {"text": "", "citations": []},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
    "compaction": {"content": None},
}
"""What of a block comes in deltas; all else comes at its start."""


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    blank = _BLANK.get(block["type"], {})
    return {key: blank.get(key, value) if value is not None else None for key, value in block.items()}


def _deltas(block: dict[str, Any], *, cut: bool) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for piece in grouped(pieces(block["text"])):
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif block["type"] == "thinking":
        for piece in grouped(pieces(block["thinking"])):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif block["type"] == "compaction":
        yield {"type": "compaction_delta", "content": block["content"]}
    elif block["type"] in ("tool_use", "server_tool_use"):
        yield {"type": "input_json_delta", "partial_json": ""}
        text = json.dumps(block["input"])
        for piece in grouped(pieces(text[: len(text) // 2] if cut else text)):
            yield {"type": "input_json_delta", "partial_json": piece}


def grouped(cut: Sequence[str], most: int = MAX_PIECES) -> list[str]:
    """Join pieces so that there are at most `most` of them."""
    size = -(-len(cut) // most) or 1
    return ["".join(cut[at : at + size]) for at in range(0, len(cut), size)]
