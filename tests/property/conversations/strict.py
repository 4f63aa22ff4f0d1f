"""The strict Claude in memory, behind the provider's own bytes: what it refuses, and how often.

Invariant: a request passes the same rules as over HTTP, in the bytes that would be sent; an answer comes in the events
that would stream.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from typing import Any

from pydantic_core import from_json

from inturn.errors import ModelError
from inturn.journal.views.requests import is_block
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.facts import facts
from inturn.testing.claude import streaming
from inturn.testing.claude.answering import Api, Judged
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.script import Reply
from inturn_activities.model.claude import COMPACTION
from inturn_activities.model.claude_answer import Answer, BrokenStream
from inturn_activities.model.claude_request import encoded
from inturn_activities.model.event_stream import EventStream
from tests.property.conversations.plans import Said, Summary


class Strict:
    """A model that answers as planned.

    Attributes:
        api: What judges and answers.
        said: What it is to say next; nothing: plain texts.
        refusals: Why it refused requests, since the last look.
        repeated: Requests for an answer that it refused more than once.
        withheld: How often it refused to answer although nobody planned that: what it refused before is still there.
        answers: How many it gave.
        summaries: What becomes of requests for a summary; nothing: they are fine.
        summarised: How many of those it answered.
    """

    def __init__(self) -> None:
        """Begin without a plan."""
        self.api = Api()
        self.said: deque[Said] = deque()
        self.refusals: list[str] = []
        self.repeated: list[str] = []
        self.withheld = 0
        self.answers = 0
        self.summaries: deque[Summary] = deque()
        self.summarised = 0
        self._seen: Counter[str] = Counter()
        self._failed = 0

    def forget(self) -> None:
        """Take requests that were refused for new: another event, or a person, asks for them."""
        self._seen.clear()

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer a request.

        Raises:
            ModelError: It is refused, or a failure was planned.
        """
        asked = self._judged(request, encoded(request))
        if request.settings.tool_choice == "none":
            return self._summarised(asked)
        planned = self.said[0] if self.said and request.max_tokens > 1 else None
        if planned is not None and self._failed < len(planned.failures):
            self._failed += 1
            raise _failure(planned.failures[self._failed - 1])
        return self._answered(asked, planned, probes=request.max_tokens <= 1)

    async def compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        """Summarise a conversation, where the model does.

        Raises:
            ModelError: It is refused, or a failure was planned.
        """
        if not facts(request.model).compaction:
            return None
        asked = {} if instructions is None else {"instructions": instructions}
        return self._summarised(self._judged(request, encoded(request, compaction=asked)))

    def _judged(self, request: ModelRequest, raw: bytes) -> Judged:
        """Return a request that passes; `encoded` is what would be sent."""
        asks = _read(raw)
        betas = {COMPACTION} if b'"compaction":{"type"' in raw or is_block(request.messages[0]) else set[str]()
        try:
            return self.api.judge(asks, betas=betas)
        except Rejection as rejection:
            self._refused(raw, rejection.message, probes=request.max_tokens <= 1)
            raise ModelError(rejection.message, kind="own") from None

    def _summarised(self, asked: Judged) -> ModelMessage:
        planned, own = self.summaries.popleft() if self.summaries else "fine", not asked.body.get("compaction")
        if planned in ("outage", "unknown", "stopped"):
            raise _failure(planned)
        if planned == "400":
            raise ModelError("no summary today", kind="own")
        stop = {"refusal": "refusal", "max_tokens": "max_tokens"}.get(planned)
        content = {"null": [{"type": "compaction", "content": None}], "odd": [{"type": "text", "text": " "}]}.get(
            planned
        )
        text = "A summary." if own else ""
        reply = Reply(
            content=[] if stop else content, stop=stop, compacts=not own, text="" if stop or content else text
        )
        self.api.replies.extend([reply])
        self.summarised += 1
        return _read_back(self.api.answer(asked)[0])

    def _answered(self, asked: Judged, planned: Said | None, *, probes: bool) -> ModelMessage:
        if planned is not None:
            self.said.popleft()
            self._failed = 0
            self.api.replies.extend([Reply(content=planned.content, stop=planned.stop)])
        elif not probes:
            self.api.replies.extend([Reply(text="Well.")])
        message, _ = self.api.answer(asked)
        self.answers += 1
        if message["stop_reason"] == "refusal" and (planned is None or planned.stop != "refusal"):
            self.withheld += 1
        if planned is not None and planned.stop is None and message["stop_reason"] == "end_turn":
            message["stop_reason"] = None
        return _read_back(message)

    def _refused(self, raw: bytes, why: str, *, probes: bool) -> None:
        digest = hashlib.sha256(raw).hexdigest()
        self._seen[digest] += 1
        self.refusals.append(why)
        if self._seen[digest] > 1 and not probes:  # a later attempt may look once more for what is to blame
            self.repeated.append(why)


def _read_back(message: dict[str, Any]) -> ModelMessage:
    """Return a message as it is read from its stream."""
    answer, events = Answer(request_id="req_1", on_delta=lambda *piece: None), EventStream()
    for event in streaming.events(message):
        for data in events.take(streaming.encode(event)):
            answer.take(data)
    return answer.complete()


def _read(raw: bytes) -> object:
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Rejection(f"The request body is not valid JSON: {error}") from None


def _failure(kind: str) -> BaseException:
    if kind == "stopped":
        return asyncio.CancelledError()
    if kind == "outage":
        return ModelError("overloaded", kind="outage")
    if kind == "cut":
        return BrokenStream("cut", place=100)
    return RuntimeError("nobody knows")
