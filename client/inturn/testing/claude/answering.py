"""The API without its wire: it judges a request, and answers it by script or by rule.

Invariant: what is answered passed every rule; and what the server says itself it takes back later, in its place.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from inturn.models import ModelSettings
from inturn.models.scripted_answers import Answer, by_rule, last_text
from inturn.models.scripted_samples import obeying
from inturn.testing.claude import diagnosing, rules, signing
from inturn.testing.claude.caching import Cache
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.memory import Memory
from inturn.testing.claude.prefix import Block, Position, extend, positions
from inturn.testing.claude.rules.calls import container_id, is_code
from inturn.testing.claude.script import Queue, Reply
from inturn.testing.claude.shapes import check_shape
from inturn.testing.claude.summaries import Summary

CONTAINER_LIVES: Final = timedelta(minutes=20)
CONTEXT_WINDOW: Final = 1_000_000
"""Tokens, as the server estimates them."""
_REFUSED: Final = Answer(stop="refusal")
_PAUSES: Final = ("pause_turn", "compaction")
"""Behind these the conversation goes on with the answer at its end."""
_CUT_SHORT: Final = Answer(stop="max_tokens")


@dataclass(frozen=True, slots=True)
class Judged:
    """A request that passed: its body, its blocks, whose it is, and what its user said last."""

    body: dict[str, Any]
    line: Sequence[Position]

    @property
    def session(self) -> str | None:
        """Whose it is: `metadata.user_id`."""
        user: str | None = (self.body.get("metadata") or {}).get("user_id")
        return user

    @property
    def text(self) -> str:
        """What the user said last."""
        return last_text(self.body["messages"])[0]


class Api:
    """The API: its script, its cache and its memory.

    Attributes:
        replies: Answers to come.
        memory: What the server did before.
    """

    def __init__(self, *, context_window: int = CONTEXT_WINDOW, min_cache_tokens: int = 0) -> None:
        """Make one without a script."""
        self.replies: Queue[Reply] = Queue()
        self.memory = Memory()
        self._cache = Cache(min_cache_tokens)
        self._window = context_window

    def reset(self) -> None:
        """Forget script and cache; what sessions that go on rely on stays."""
        self.replies.clear()
        self._cache.clear()

    def judge(self, body: object, *, betas: Set[str] = frozenset()) -> Judged:
        """Return a request that passes every rule.

        Raises:
            Rejection: It breaks one.
        """
        if gone := sorted(betas & self.memory.withdrawn):
            raise Rejection(f"Unexpected value(s) `{'`, `'.join(gone)}` for the `anthropic-beta` header.")
        checked = check_shape(body, betas=betas)
        line = positions(checked)
        rules.check(checked, line, memory=self.memory, window=self._window)
        signing.verify(line, checked["model"])
        return Judged(checked, line)

    def count(self, body: object, *, betas: Set[str] = frozenset()) -> int:
        """Return the tokens of a request.

        Raises:
            Rejection: Its shape is wrong.
        """
        line = positions(check_shape(body, betas=betas, counting=True))
        return line[-1].tokens if line else 0

    def answer(self, asked: Judged) -> tuple[dict[str, Any], float]:
        """Return the message that answers a request, and the seconds over which it streams."""
        body, line = asked.body, asked.line
        if body.get("compaction"):
            return self._compacted(asked), 0.0
        reply, answer = self._next(asked)
        again = self._refuses_still(asked)
        if again or body["max_tokens"] == 0:
            answer, content = _REFUSED if again else _CUT_SHORT, []
        elif reply is not None and reply.is_cut_short(body["max_tokens"]):
            answer, content = _CUT_SHORT, [{"type": "text", "text": reply.text[: len(reply.text) // 2]}]
        elif reply is not None and reply.content is not None:
            content = _blocks(body, line, reply.content)
        else:
            content = _said(body, line, answer)
        details = reply.stop_details if reply is not None else None
        return self._message(asked, content, answer.stop_reason, details), answer.delay

    def _compacted(self, asked: Judged) -> dict[str, Any]:
        reply = self.replies.take(asked.session, asked.text, compacts=True)
        if reply is not None and reply.is_cut_short(asked.body["max_tokens"]):
            return self._message(asked, [{"type": "compaction", "content": "Summary of"}], "max_tokens", None)
        if reply is None or (reply.content is None and reply.stop is None):
            return self._message(
                asked, [_summary(asked.body, asked.line, reply.text if reply else None)], "compaction", None
            )
        return self._message(asked, [dict(b) for b in reply.content or ()], reply.stop or "compaction", None)

    def _next(self, asked: Judged) -> tuple[Reply | None, Answer]:
        probes = asked.body["max_tokens"] <= 1  # whoever asks for no more than a token only looks whether it passes
        reply = None if probes else self.replies.take(asked.session, asked.text)
        return reply, reply.answer() if reply else _by_rule(asked.body)

    def _message(
        self, asked: Judged, content: list[Block], stop: str, details: dict[str, Any] | None
    ) -> dict[str, Any]:
        body, line = asked.body, asked.line
        self._remember(asked, content, stop)
        made = _extended(line, len(body["messages"]), content)
        usage = {**self._cache.count(body, line), "output_tokens": made[-1].tokens - line[-1].tokens if made else 0}
        usage.update(service_tier="standard", server_tool_use=_server_usage(content))
        if stop == "refusal":
            details = details or {"type": "refusal", "category": None, "explanation": None}
        message_id = f"msg_{secrets.token_hex(12)}"
        return {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "stop_details": details,
            "usage": usage,
            **self._container(body),
            **diagnosing.diagnosed(self.memory.messages, message_id, body, line),
        }

    def _container(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return where the answer's code ran, where it may run any."""
        if not any(is_code(tool) for tool in body.get("tools") or ()):
            return {}
        container = container_id(body) or f"container_{secrets.token_hex(12)}"
        self.memory.containers.add(container)
        expires = datetime.now(UTC) + CONTAINER_LIVES
        return {"container": {"id": container, "expires_at": expires.isoformat(), "skills": None}}

    def _remember(self, asked: Judged, content: Sequence[Block], stop: str) -> None:
        declared = {tool.get("name") for tool in asked.body.get("tools") or ()}
        calls = (block for block in content if block["type"] == "tool_use")
        self.memory.invented.update(str(call.get("id")) for call in calls if call.get("name") not in declared)
        if stop in _PAUSES and content:
            self.memory.paused.add(_extended(asked.line, len(asked.body["messages"]), content)[-1].digest)
        if (
            stop == "refusal" and not asked.body.get("compaction") and asked.line[-1].role != "assistant"
        ):  # not of an answer that it paused itself
            self.memory.refused.add((asked.body["model"], asked.line[-1].digest))

    def _refuses_still(self, asked: Judged) -> bool:
        """Return whether a request still holds what was refused."""
        refused, model = self.memory.refused, asked.body["model"]
        return bool(refused) and any((model, position.digest) in refused for position in asked.line)


def _by_rule(body: dict[str, Any]) -> Answer:
    """Return the answer by rule, as the request asks for it."""
    choice = body.get("tool_choice") or {}
    kind = choice.get("type")
    form = (body.get("output_config") or {}).get("format")
    settings = ModelSettings(
        tool_choice=choice["name"] if kind == "tool" else kind,
        parallel=not choice.get("disable_parallel_tool_use"),
        output=form["schema"] if form else None,
    )
    return obeying(by_rule(body["messages"]), settings, body.get("tools") or [])


def _extended(line: Sequence[Position], message: int, content: Sequence[Block]) -> list[Position]:
    """Return an answer's blocks in their places behind a request."""
    added = (("assistant", message, index, block) for index, block in enumerate(content))
    return list(extend(line[-1].digest, line[-1].tokens, added))


def _said(body: dict[str, Any], line: Sequence[Position], answer: Answer) -> list[Block]:
    """Return an answer of text and calls as blocks; the model's thinking stands before them."""
    content = answer.content([f"toolu_{secrets.token_hex(12)}" for _ in answer.calls])
    if rules.thinks(body):
        thinking = answer.thinking or "I read what was said and answer it."
        signature = signing.sign(line[-1].digest, thinking, body["model"])
        content.insert(0, {"type": "thinking", "thinking": thinking, "signature": signature})
    return content


def _blocks(body: dict[str, Any], line: Sequence[Position], given: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return scripted blocks with what only the server can fill in: signatures in their places, and ids."""
    made: list[Block] = []
    last, call = line[-1], ""
    for scripted in given:
        block = dict(scripted)
        match block.get("type"):
            case "thinking" if "signature" not in block:
                block["signature"] = signing.sign(last.digest, block["thinking"], body["model"])
            case "redacted_thinking" if "data" not in block:
                block = signing.redacted(last.digest, body["model"])
            case "tool_use":
                block.setdefault("id", f"toolu_{secrets.token_hex(12)}")
            case "server_tool_use":
                call = block.setdefault("id", f"srvtoolu_{secrets.token_hex(12)}")
            case str(kind) if kind.endswith("_tool_result"):
                block.setdefault("tool_use_id", call)
            case _:
                pass
        made.append(block)
        last = next(extend(last.digest, last.tokens, [("assistant", last.message, last.index, block)]))
    return made


def _summary(body: dict[str, Any], line: Sequence[Position], said: str | None) -> Block:
    """Return the API's summary of a conversation: how long it was, and what the user said last."""
    text, _ = last_text(body["messages"])
    content = said or f"Summary of {len(body['messages'])} messages; the user said last: {text[:200]}"
    head = next((p.digest for p in reversed(line) if p.message < 0), b"")
    signed = Summary.of(content, head=head, end=line[-1].digest, role=line[-1].role)
    return {"type": "compaction", "content": content, "signature": signed.signature()}


def _server_usage(content: Sequence[Block]) -> dict[str, int] | None:
    names = [block["name"] for block in content if block["type"] == "server_tool_use"]
    if not names:
        return None
    return {"web_search_requests": names.count("web_search"), "web_fetch_requests": names.count("web_fetch")}
