"""An answer of Claude's as it streams in.

Invariant: blocks are kept as the API gives them, unknown fields and all, and count only once the stream has said
`message_stop`. Nothing of an answer that is whole can make it fail: what its writer got wrong is kept as it came.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json

from inturn.errors import ModelError
from inturn.models import DeltaKind, ModelMessage, OnDelta
from inturn.turns import arguments
from inturn.values import Usage
from inturn_activities.model.claude_errors import event_error

Event = dict[str, Any]

BYTES_PER_TOKEN: Final = 4
"""Of what streams: the API says how many tokens an answer has only when it ends."""
_USAGE: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}
_WITHIN: Final = {
    ("cache_creation", "ephemeral_1h_input_tokens"): "cache_write_1h_tokens",
    ("output_tokens_details", "thinking_tokens"): "thinking_tokens",
    ("server_tool_use", "web_search_requests"): "searches",
}
"""What stands within another field."""
_TEXTS: Final[dict[str, DeltaKind]] = {"text_delta": "text", "thinking_delta": "thinking"}


class BrokenStream(ModelError):
    """The stream ended, broke or went silent before its terminal event: nothing of it counts."""

    def __init__(self, message: str, *, place: int | None) -> None:
        """Make the error; `place` is how many bytes of the answer had come, `None` before it began."""
        super().__init__(message, kind="outage", place=place)


class Answer:
    """A message as it grows.

    Attributes:
        stopped: Whether it is whole: the stream has said `message_stop`.
    """

    def __init__(self, *, request_id: str | None, on_delta: OnDelta) -> None:
        """Begin an answer; tell of each piece as it comes."""
        self._request_id = request_id
        self._on_delta = on_delta
        self._message: Event = {}
        self._stop_reason: str | None = None
        self._stop_details: Any = None
        self._container: Any = None
        self.stopped = False
        self._blocks: dict[int, Event] = {}
        self._texts: dict[tuple[int, DeltaKind], list[str]] = {}
        self._json: dict[int, list[str]] = {}
        self._usage: Event = {}
        self._streamed = 0

    @property
    def place(self) -> int | None:
        """Bytes of the answer so far; `None` before it began."""
        return self._streamed if self._message else None

    def take(self, data: bytes) -> None:
        """Take the next event; what comes behind the end of the message is none of it.

        Raises:
            ModelError: It is an error, or none of the API's events.
        """
        if self.stopped:
            return
        try:
            self._take(_parsed(data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BrokenStream(f"the stream held what is no event: {type(error).__name__}", place=self.place) from error
        self._streamed += len(data)

    def _take(self, event: Event) -> None:
        match event["type"]:
            case "message_start":
                self._message = dict(event["message"])
                self._count(self._message.get("usage"))
            case "content_block_start":
                self._begin(int(event["index"]), dict(event["content_block"]))
            case "content_block_delta":
                self._grow(int(event["index"]), event["delta"])
            case "message_delta":
                self._stop_reason = event["delta"].get("stop_reason")
                self._stop_details = event["delta"].get("stop_details")
                self._container = event["delta"].get("container")
                self._count(event.get("usage"))
            case "message_stop":
                self.stopped = True
            case "error":
                wrong = event.get("error") or {}
                raise event_error(str(wrong.get("type")), str(wrong.get("message") or ""), self._request_id)
            case _:
                self._on_delta(0, "text", "")  # pings, ends of blocks, and what newer servers add

    def used(self) -> Usage:
        """Return what it has used so far; of an answer that is not whole, its tokens by their bytes."""
        told = self._usage
        counted = {ours: count for theirs, ours in _USAGE.items() if isinstance(count := told.get(theirs), int)}
        for (within, theirs), ours in _WITHIN.items():
            if isinstance(count := _field(told.get(within), theirs), int):
                counted[ours] = count
        if self._message and not self.stopped:
            counted["output_tokens"] = max(counted.get("output_tokens", 0), self._streamed // BYTES_PER_TOKEN)
        return Usage(**counted)

    def complete(self) -> ModelMessage:
        """Return the whole message.

        Raises:
            BrokenStream: It is not whole.
        """
        if not self.stopped:
            raise BrokenStream("the stream ended without message_stop", place=self.place)
        for (index, name), texts in self._texts.items():
            self._blocks[index][name] = "".join([self._blocks[index].get(name) or "", *texts])
        for index, parts in self._json.items():
            self._blocks[index]["input"] = arguments.parse("".join(parts))
        return ModelMessage(
            content=[_joined(self._blocks[index]) for index in sorted(self._blocks)],
            stop_reason=self._stop_reason,
            usage=self.used(),
            model=str(self._message.get("model") or ""),
            request_id=self._request_id,
            id=self._message.get("id"),
            stop_details=self._stop_details,
            raw_usage=self._usage or None,
            cache_missed=_field(_field(self._message.get("diagnostics"), "cache_miss_reason"), "type"),
            container=_container(self._container or self._message.get("container")),
        )

    def _begin(self, index: int, block: Event) -> None:
        self._blocks[index] = block
        kind: Any = block.get("type")
        if kind in ("tool_use", "server_tool_use") and isinstance(name := block.get("name"), str):
            self._on_delta(index, "input", name)
        elif kind in ("text", "thinking") and isinstance(said := block.get(kind), str):
            self._on_delta(index, kind, said)

    def _grow(self, index: int, delta: Event) -> None:
        block, kind = self._blocks[index], delta["type"]
        if kind in _TEXTS:
            name = _TEXTS[kind]
            piece = _text(delta[name])
            self._texts.setdefault((index, name), []).append(piece)
            self._on_delta(index, name, piece)
        elif kind == "signature_delta":
            block["signature"] = delta["signature"]
        elif kind == "input_json_delta":
            piece = _text(delta["partial_json"])
            self._json.setdefault(index, []).append(piece)
            self._on_delta(index, "input", piece)
        elif kind == "compaction_delta":
            block |= {name: delta[name] for name in ("content", "encrypted_content") if name in delta}
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            given: Event = usage
            self._usage |= {name: value for name, value in given.items() if value is not None}  # cumulative


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _container(told: Any) -> Event | None:
    """Return where code ran, and until when that is there; `None` where the API does not say so."""
    try:
        until = datetime.fromisoformat(told["expires_at"]).timestamp()
        return {"id": told["id"], "until": until}
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _parsed(data: bytes) -> Event:
    """Return an event; the quick parser leaves out half a surrogate pair, and what is nested deeply."""
    try:
        event: Event = from_json(data, cache_strings="keys")
    except ValueError:
        event = json.loads(data.decode())
    return event


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _joined(block: Event) -> Event:
    """Join characters whose halves came in two pieces; a half without the other is the answer's own."""
    return {name: _whole(value) if isinstance(value, str) else value for name, value in block.items()}


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
