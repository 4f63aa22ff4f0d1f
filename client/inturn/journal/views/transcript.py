"""The transcript: a session's journal as the messages of the API.

Invariants (each request this gives is one that the API takes, and none contradicts an answered one):
  1. Messages are only ever appended. What an `agent.message` answered is committed in the same shape as it was sent.
  2. What came since is pending. It becomes at most one user message, results first and in call order, and behind it at
     most one system message (the API takes those right after a user message only).
  3. Each tool_use of the last answer has exactly one result in the user message behind it: its own, or a synthetic
     error.
  4. `turn.failed` takes back what is pending of its event. Nothing takes back what is committed.

An `agent.message` may name in `seen` the seq up to which its request had read the journal: what was written between
request and answer then stays pending, as it was no part of what was answered. In `without` it may name events whose
turns were stopped before an answer: the model refused the request that held what they had said, and took the one that
did not; so nothing holds it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, cast

from inturn.models.encoding import Committed
from inturn.values import Entry

Block = dict[str, Any]
Message = dict[str, Any]

TYPES: Final = (
    "session.started",
    "user.message",
    "agent.message",
    "agent.tool_result",
    "system.message",
    "turn.failed",
)
"""The entries that matter here: a cold read needs no others."""

UNANSWERED: Final = "interrupted: this call has no result"
NO_MESSAGE: Final = "(no message)"
NO_ANSWER: Final = "(no answer)"
"""Ends an answer without text: the API refuses assistant messages that are empty or end in thinking."""

_PENDING: Final = frozenset({"user.message", "agent.tool_result", "system.message", "turn.failed"})
_SENDABLE: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
_TAKEN: Final = frozenset({"text", "image", "document"})


class Transcript:
    """A session's transcript so far. Apply entries in order of seq; keep it, and apply only what is new.

    Attributes:
        manifest: What the session froze (`agent`, `model`, `system`, `tools`), `None` before `session.started`.
        manifest_hash: The hash of the manifest that the model was last given.
        seq: The last applied entry.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Begin with some entries."""
        self.manifest: dict[str, Any] | None = None
        self.manifest_hash: str | None = None
        self.seq = 0
        self._committed: list[Message] = []
        self._calls: list[str] = []  # the tool_use ids of the last answer, in order
        self._pending: list[Entry] = []
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> None:
        """Take the next entry. One that was applied before changes nothing."""
        if entry.seq <= self.seq:
            return
        self.seq = entry.seq
        if entry.type == "agent.message":
            self._commit(entry)
        elif entry.type in _PENDING:
            self._pending.append(entry)
        if entry.type == "session.started" and self.manifest is None:
            self.manifest = {name: entry.body.get(name) for name in ("agent", "model", "system", "tools")}
        if entry.type in ("session.started", "system.message"):
            self.manifest_hash = entry.body.get("manifest", self.manifest_hash)

    def awaits(self, event_id: str) -> bool:
        """Return whether what an event asks is yet to be answered."""
        return any(entry.type == "user.message" and entry.event_id == event_id for entry in self._pending)

    def others(self, event_id: str) -> list[str]:
        """Return the events, but this one, that a request made now would hold something unanswered of."""
        kept = [e for e in _without_failed(self._pending) if e.type != "system.message"]
        return list(dict.fromkeys(e.event_id for e in kept if e.event_id and e.event_id != event_id))

    def request_messages(self, *, without: Collection[str] = ()) -> list[Message]:
        """Return the messages of a request made now; `without`: events whose unanswered entries it leaves out.

        The list is the caller's; the messages in it are shared with later requests: copy one before changing it.
        """
        messages, _ = _tail(self._calls, _left(self._pending, without))
        return self._committed + messages

    def _commit(self, answer: Entry) -> None:
        seen = answer.body.get("seen")
        upto = seen if isinstance(seen, int) else answer.seq
        asked = _left([e for e in self._pending if e.seq <= upto], answer.body.get("without") or ())
        messages, left = _tail(self._calls, asked)
        if not self._committed and not messages:
            messages = [_user([_text(NO_MESSAGE)])]
        message, self._calls = _assistant(answer.body.get("content"))
        self._committed += [Committed(m) for m in (*messages, message)]
        self._pending = left + [e for e in self._pending if e.seq > upto]


def _tail(calls: list[str], pending: list[Entry]) -> tuple[list[Message], list[Entry]]:
    """Return what is pending as messages, and the entries that cannot be sent yet: system messages without a user's."""
    kept = _without_failed(pending)
    system = [e for e in kept if e.type == "system.message"]
    asked = [block for e in kept if e.type == "user.message" for block in _asked(e.body.get("content"))]
    blocks = [*_results(calls, kept), *asked]
    if not blocks:
        return [], system
    texts = [_text(e.text) for e in system if e.text and e.text.strip()]
    return [_user(blocks), *([{"role": "system", "content": texts}] if texts else [])], []


def _left(pending: list[Entry], without: Collection[str]) -> list[Entry]:
    return [e for e in pending if e.type == "system.message" or e.event_id not in without] if without else pending


def _without_failed(pending: list[Entry]) -> list[Entry]:
    """Leave out what failed turns take back: what their events, or events that joined them, put in before."""
    kept: list[Entry] = []
    failed: set[str | None] = set()
    for entry in reversed(pending):
        if entry.type == "turn.failed":
            failed |= {entry.event_id, entry.body.get("turn")} - {None}
        elif entry.type == "system.message" or not failed & {entry.event_id, entry.body.get("turn")}:
            kept.append(entry)
    return kept[::-1]


def _results(calls: list[str], pending: list[Entry]) -> list[Block]:
    """Return one result per call, in call order; the first one counts."""
    given: dict[Any, Entry] = {}
    for entry in pending:
        if entry.type == "agent.tool_result":
            given.setdefault(entry.body.get("call_id"), entry)
    return [_result(call, given[call].body if call in given else None) for call in calls]


def _result(call: str, body: dict[str, Any] | None) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": call}
    if body is None:
        return {**block, "content": UNANSWERED, "is_error": True}
    failed = body.get("status") != "ok"
    # The API takes nothing but text in an error's result.
    content = _blocks(body.get("content"), ("text",) if failed else _TAKEN)
    block["content"] = content or str(body.get("text") or "")
    return {**block, "is_error": True} if failed else block


def _asked(content: Any) -> list[Block]:
    return _blocks(content, _TAKEN) or [_text(NO_MESSAGE)]


def _assistant(content: Any) -> tuple[Message, list[str]]:
    """Return an answer's message, and the ids of its calls."""
    blocks: list[Block] = []
    calls: list[str] = []
    for block in _blocks(content, _SENDABLE):
        if block["type"] == "tool_use":
            if block.get("id") in calls:
                continue
            calls.append(str(block.get("id")))
        blocks.append(block)
    if not blocks or blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        blocks.append(_text(NO_ANSWER))
    return {"role": "assistant", "content": blocks}, calls


def _blocks(content: Any, types: Collection[str]) -> list[Block]:
    """Return the content's blocks of some types, without blank texts (the API refuses them)."""
    if isinstance(content, str):
        content = [_text(content)]
    if not isinstance(content, list):
        return []
    items: list[Any] = content  # pyright: ignore[reportUnknownVariableType]
    found: list[Block] = []
    for block in items:
        if not isinstance(block, dict):
            continue
        made = cast("Block", block)
        if made.get("type") in types and (made["type"] != "text" or str(made.get("text") or "").strip()):
            found.append(made)
    return found


def _user(blocks: list[Block]) -> Message:
    return {"role": "user", "content": blocks}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
