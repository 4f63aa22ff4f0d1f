"""Claude by the anthropic SDK.

Invariant: an answer counts only when the stream said `message_stop`. A stream that ends, breaks, or goes silent
before that raises, whatever came through it; and the SDK repeats nothing on its own, since every repeat is paid.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent

from inturn.models import ModelMessage, ModelRequest, OnText
from inturn.values import Usage
from inturn_activities.failures import BrokenStream

CONNECT_TIMEOUT: Final = 5.0
STALL_TIMEOUT: Final = 60.0
"""Seconds without a byte from the model (it sends pings while it thinks)."""

_CACHE: Final[Mapping[str, str]] = {"type": "ephemeral"}
_USAGE: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


class Claude:
    """The Messages API as an `inturn.models.Model`; settings as every Anthropic client (`ANTHROPIC_*`)."""

    def __init__(
        self, *, api_key: str | None = None, base_url: str | None = None, stall_timeout: float = STALL_TIMEOUT
    ) -> None:
        """Make the client; no I/O. The stall timeout is in seconds."""
        timeout = httpx2.Timeout(stall_timeout, connect=CONNECT_TIMEOUT)
        self._client = anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, timeout=timeout)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def respond(self, request: ModelRequest, on_text: OnText) -> ModelMessage:
        """Answer a request.

        Raises:
            anthropic.APIError: The API refused it or failed.
            httpx2.TransportError: The connection broke on the way.
            BrokenStream: The stream ended too early.
        """
        stream = await self._client.messages.create(**_parameters(request), stream=True)
        try:
            answer = _Answer(request_id=stream.response.headers.get("request-id"))
            async for event in _events(stream):
                answer.take(event)
                on_text(answer.fresh_text())
            return answer.complete()
        finally:
            await stream.close()


def _parameters(request: ModelRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": request.messages,
        "cache_control": dict(_CACHE),  # moves with the conversation's tail
    }
    if request.system:
        # Covers the tools too, which come before the system prompt.
        parameters["system"] = [{"type": "text", "text": request.system, "cache_control": dict(_CACHE)}]
    if request.tools:
        parameters["tools"] = request.tools
    if request.user_id:
        parameters["metadata"] = {"user_id": request.user_id}
    return parameters


async def _events(stream: anthropic.AsyncStream[RawMessageStreamEvent]) -> AsyncIterator[RawMessageStreamEvent]:
    """Return the stream's events; bytes that are no event (cut in the middle of one) are a broken stream."""
    try:
        async for event in stream:
            yield event
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenStream("the stream was cut in the middle of an event") from error


class _Answer:
    """A message as it grows. Blocks are kept as the API gives them, unknown fields and all."""

    def __init__(self, *, request_id: str | None) -> None:
        self._request_id = request_id
        self._model = ""
        self._stop_reason: str | None = None
        self._stopped = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._json: dict[int, list[str]] = {}
        self._usage: dict[str, int] = {}
        self._fresh = ""

    def take(self, event: Any) -> None:
        """Take the next event."""
        match event.type:
            case "message_start":
                self._model = event.message.model
                self._count(event.message.usage)
            case "content_block_start":
                self._blocks[event.index] = event.content_block.to_dict(mode="json")
            case "content_block_delta":
                self._grow(event.index, event.delta.to_dict(mode="json"))
            case "message_delta":
                self._stop_reason = event.delta.stop_reason
                self._count(event.usage)
            case "message_stop":
                self._stopped = True
            case _:
                pass  # pings, ends of blocks, and what newer servers add

    def fresh_text(self) -> str:
        """Return the text that came since the last call."""
        fresh, self._fresh = self._fresh, ""
        return fresh

    def complete(self) -> ModelMessage:
        """Return the whole message.

        Raises:
            BrokenStream: It is not whole.
        """
        if not self._stopped:
            raise BrokenStream("the stream ended without message_stop")
        for index, parts in self._json.items():
            self._blocks[index]["input"] = self._input("".join(parts))
        return ModelMessage(
            content=[self._blocks[index] for index in sorted(self._blocks)],
            stop_reason=self._stop_reason,
            usage=Usage(**{_USAGE[name]: count for name, count in self._usage.items()}),
            model=self._model,
            request_id=self._request_id,
        )

    def _grow(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
                self._fresh += delta["text"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "input_json_delta":
                self._json.setdefault(index, []).append(delta["partial_json"])
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case _:
                pass

    def _input(self, text: str) -> Any:
        try:
            return json.loads(text) if text else {}
        except ValueError:
            if self._stop_reason == "tool_use":
                raise BrokenStream("a tool call's arguments are no JSON") from None
            return {}  # cut off by max_tokens: the call never runs, and the block must be valid to be sent back

    def _count(self, usage: Any) -> None:
        for name in _USAGE:
            count = getattr(usage, name, None)
            if count is not None:
                self._usage[name] = count  # cumulative: the last one counts
