"""OpenAI's Chat Completions over sessions, for what speaks nothing else.

Invariant: the journal is the history. Of a request only the last user message is an event, and its id comes of the
session, its content and what the caller has before it: the same request again finds the same turn, and "yes" is another
event than the "yes" of before also where a caller sends the end of the conversation alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, cast
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from pydantic import Field, SkipValidation
from pydantic_core import to_json
from starlette.responses import Response

from inturn.channels import ident
from inturn.client.session import Session
from inturn.errors import InvalidEvent, TurnTimeout
from inturn.events import Content
from inturn.values import Delta, Entry
from inturn_gateway import bounds
from inturn_gateway.auth.caller import Caller
from inturn_gateway.problems import Json, Problem, as_json
from inturn_gateway.service import Needs, service_of
from inturn_gateway.v1.incoming import Incoming
from inturn_gateway.v1.stream import EventStream, Reading

Sender = Annotated[Caller, Depends(Needs("send"))]
_SESSION_HEADERS: Final = ("x-session-id", "x-openwebui-chat-id")
_SAID: Final = ("user", "assistant")
"""Of whom the conversation is: callers change what the others say from request to request."""
_FINISHED: Final = {"max_tokens": "length", "refusal": "content_filter"}


class ChatMessage(Incoming):
    """One message of the conversation as the caller has it."""

    role: str
    content: Annotated[str | list[dict[str, Any]] | None, SkipValidation] = None


class ChatRequest(Incoming):
    """What is asked for; what sets the model is the agent's own business here."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    user: str | None = None
    metadata: dict[str, Any] | None = None

    def session_id(self, headers: Mapping[str, str]) -> str:
        """Return the session that is meant."""
        named = [headers.get(name) for name in _SESSION_HEADERS]
        named += [(self.metadata or {}).get("session_id"), self.user]
        found = next((name for name in named if isinstance(name, str) and name), None)
        return ident("chat", found) if found else f"chat:{uuid4().hex}"

    def said(self, session_id: str) -> tuple[str, Content]:
        """Return the last user message, and the id of its event.

        Raises:
            InvalidEvent: There is none, or it holds what no event can.
        """
        users = [message for message in self.messages if message.role == "user"]
        if not users:
            raise InvalidEvent("there is no user message")
        content = _content(users[-1].content)
        earlier = [[each.role, each.content] for each in self.messages if each.role in _SAID and each is not users[-1]]
        try:
            said = to_json([session_id, len(users), content]) + as_json(earlier)
            digest = hashlib.blake2b(said, digest_size=12).hexdigest()
        except (ValueError, RecursionError) as error:
            raise InvalidEvent("the message is not valid Unicode, or nested too deeply") from error
        return f"chat:{digest}", content


def routes(models: Sequence[str]) -> APIRouter:
    """Return the routes, for these agents."""

    async def listed(caller: Sender) -> Response:
        """List the agents, as models."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "inturn"} for name in models]
        return Json({"object": "list", "data": data})

    async def completed(request: Request, caller: Sender, asked: ChatRequest) -> Response:
        """Answer the last user message."""
        if asked.model not in models:
            raise Problem(404, "there is no such model here", kind="model_not_found")
        return await _answered(request, caller, asked)

    router = APIRouter(prefix="/openai/v1")
    router.add_api_route("/models", listed, methods=["GET"], response_model=None)
    router.add_api_route("/chat/completions", completed, methods=["POST"], response_model=None)
    return router


async def _answered(request: Request, caller: Caller, asked: ChatRequest) -> Response:
    service = service_of(request)
    session_id = asked.session_id(request.headers)
    session = service.session(caller, session_id, agent=asked.model)
    await service.check_agent(caller, session_id)
    service.sent.take((caller.tenant, session_id), "events of this session")
    event_id, content = asked.said(session_id)
    await session.submit(content, event_id=event_id, source="chat", sender=caller.who)
    if asked.stream:
        told = Told(asked.model, event_id)
        news = cast("AsyncGenerator[Entry | Delta]", session.stream(event_id, deltas=True))
        reading = Reading(news, told.of, told.chunk({"role": "assistant", "content": ""}), b"data: [DONE]\n\n")
        return EventStream(reading, service.streaming(caller), service.closing, bounds.STREAM)
    with service.streaming(caller):
        return await _whole(session, asked.model, event_id)


async def _whole(session: Session, model: str, event_id: str) -> Response:
    try:
        turn = await session.wait(event_id, timeout=bounds.CHAT_WITHIN)
    except TurnTimeout as error:
        raise Problem(503, "the turn goes on; the same request again finds its answer", retry_after=5) from error
    usage = {"prompt_tokens": turn.usage.input_tokens, "completion_tokens": turn.usage.output_tokens}
    message = {"role": "assistant", "content": turn.text}
    return Json(
        {
            **_head(model, event_id, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": _FINISHED.get(turn.stop_reason, "stop")}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }
    )


@dataclass
class Told:
    """What a streaming caller was told of a turn: nothing can be taken back there.

    Attributes:
        model: The agent.
        event_id: The turn.
    """

    model: str
    event_id: str
    _shown: str = field(default="", init=False)
    _replaced: bool = field(default=False, init=False)
    """Another attempt says something else than what was shown: its answer is waited for."""

    def of(self, new: Entry | Delta) -> bytes:
        """Return what the caller is sent of an entry, or of a piece of an answer."""
        if isinstance(new, Delta):
            return self._piece(new)
        if new.type == "agent.message":
            return self._message(new.text or "")
        if new.type in ("turn.completed", "turn.interrupted"):
            return self.chunk({}, _FINISHED.get(str(new.body.get("stop")), "stop"))
        if new.type in ("turn.failed", "event.parked", "event.rejected", "event.expired", "event.cancelled"):
            return b"data: " + as_json({"error": {"type": "api_error", "message": "the turn failed"}}) + b"\n\n"
        return b""

    def chunk(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        """Return a piece of the answer as the stream has it."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        document = {**_head(self.model, self.event_id, "chat.completion.chunk"), "choices": [choice]}
        return b"data: " + as_json(document) + b"\n\n"

    def _piece(self, delta: Delta) -> bytes:
        if delta.kind == "start":
            self._replaced = bool(self._shown)
        if delta.kind != "text" or self._replaced:
            return b""
        self._shown += delta.text
        return self.chunk({"content": delta.text})

    def _message(self, text: str) -> bytes:
        rest = text[len(self._shown) :] if text.startswith(self._shown) else f"\n\n{text}"
        self._shown, self._replaced = "", False
        return self.chunk({"content": rest}) if rest else b""


def _head(model: str, event_id: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{event_id}", "object": kind, "created": int(time.time()), "model": model}


def _content(content: object) -> Content:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidEvent("the last user message has no content")
    return [_block(part) for part in content[: bounds.PARTS + 1]]


def _block(part: object) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            if not url.startswith("data:"):
                return {"type": "image", "source": {"type": "url", "url": url}}
            media, comma, data = url.removeprefix("data:").partition(";base64,")
            if comma:
                return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
        case _:
            pass
    raise InvalidEvent("a part of the message is neither text nor an image")
