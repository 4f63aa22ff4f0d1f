"""An answer of the model as the session keeps it.

Invariant: whatever a model answered, what is kept of it can be sent back, and each of its calls has an id that no other
call of the session has. What is the model's mistake (a name that no tool can have, arguments that are no object, too
many calls) is a call that does not run and says so; nothing here fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

from pydantic_core import to_json

from inturn.journal.log import codec
from inturn.keys import StepKey
from inturn.turns import arguments, server_blocks
from inturn.turns.blocks import Block, text
from inturn.turns.stop_reasons import Stop, interpret

MAX_CALLS: Final = 64
"""Calls of one answer that run; each of the others gets an error result."""
MAX_PAUSES: Final = 10
"""Times that a turn goes on from where the model paused."""
MAX_NAME: Final = 200
"""Characters of an impossible name that are kept."""
PREVIEW: Final = 200

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FIELDS: Final = {
    "text": {"type", "text", "citations"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input", "caller", "toolset_name"},
}
_SAID: Final = {"text": "text", "thinking": "signature", "redacted_thinking": "data"}
"""Without this field, or with a blank one, the API takes no such block."""
THINKING: Final = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of an answer.

    Attributes:
        id: Its id in the session.
        own_id: What the model called it, where that is something else.
        error: Why it does not run; its result then.
    """

    id: str
    tool: str
    input: dict[str, Any]
    own_id: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Read it back from its journal entry."""
        return cls(str(body["call_id"]), str(body["tool"]), body["args"], body.get("own_id"), body.get("error"))

    def body(self, index: int) -> dict[str, Any]:
        """Return the body of its journal entry."""
        body: dict[str, Any] = {"call_id": self.id, "tool": self.tool, "args": self.input, "index": index}
        more = {"own_id": self.own_id, "error": self.error}
        return body | {name: value for name, value in more.items() if value is not None}


@dataclass(slots=True)
class KeptAnswer:
    """What is kept of an answer.

    Attributes:
        stop: What it means for the turn.
        content: Its blocks, as they can be sent back.
        calls: Its calls that get to run, those that end in an error at once included.
        said: The ids of calls that stand in the content as text, as do their results.
        changed: It is not what the model sent, block by block.
        made: Some of it is of the provider's own making.
        nudge: The model is asked to go on by a message of the application's.
        words: What that says, where it is about this answer.
    """

    stop: Stop = "unknown"
    content: list[Block] = field(default_factory=list[Block])
    calls: list[ToolUse] = field(default_factory=list[ToolUse])
    said: list[str] = field(default_factory=list[str])
    changed: bool = False
    made: bool = False
    nudge: bool = False
    words: str | None = None
    cut: bool = False
    """Not all of its calls get to run."""
    count: int = 0
    """All of its calls."""

    @property
    def says_nothing(self) -> bool:
        """Whether it ends the turn without a word."""
        return self.stop == "end_turn" and all(block["type"] in THINKING for block in self.content)

    def body(self) -> dict[str, Any]:
        """Return what its journal entry says of it."""
        body: dict[str, Any] = {"content": self.content}
        if self.said:
            body["said"] = self.said
        if self.nudge:
            body["nudge"] = True
        if self.words:
            body["words"] = self.words
        if self.count > MAX_CALLS or self.cut:
            body["ran"] = len({call.id for call in self.calls} - set(self.said))
        return body

    def run_at_most(self, calls: int) -> None:
        """Let no more of its calls run; the others get an error result."""
        if calls < len(self.calls):
            self.calls, self.cut = self.calls[:calls], True

    def correct(self, words: str) -> None:
        """Have the model answer again, as these words say."""
        self.stop, self.nudge, self.words = "pause_turn", True, words

    def bound(self, *, pauses: int, nudged: bool, after_tools: bool) -> None:
        """End a turn that would pause for ever; have one go on once that says nothing about its tools' results."""
        if self.stop == "pause_turn":
            self.nudge = self.changed or not self.content  # it cannot be sent back as it came
            self.stop = "pause_turn" if pauses < MAX_PAUSES else "budget_reached"
        elif self.says_nothing and after_tools and not nudged:
            self.stop, self.nudge = "pause_turn", True


def provided(kept: KeptAnswer, provider: str | None, *, container: Any, native: Any) -> dict[str, Any]:
    """Return what an answer's entry says of what its provider alone takes back.

    Args:
        kept: What is kept of the answer.
        provider: Whose model gave it.
        container: Where its code ran.
        native: The provider's own state.
    """
    given = {
        "provider": provider if kept.made or native is not None else None,
        "native": native,
        "container": {**container, "provider": provider} if container else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def keep(
    content: object, stop_reason: object, *, step: StepKey, taken: Collection[str], declared: Collection[str]
) -> KeptAnswer:
    """Return what is kept of an answer.

    Args:
        content: Its blocks, as the model gave them.
        stop_reason: Why it stopped, as the model gave it.
        step: The step that it answers.
        taken: The ids of the session's calls so far.
        declared: The names of the tools that the request declared.
    """
    blocks: list[object] = cast("list[object]", content) if isinstance(content, list) else []
    keeper = _Keeper(step, taken, declared)
    for block in blocks:
        keeper.take(block)
    kept = keeper.kept
    # Only a pause goes back as it came, and only where nothing of it was changed.
    kept.changed = kept.changed or not isinstance(content, list) or stop_reason == "compaction"
    kept.stop = interpret(stop_reason, kept.count > 0)
    return kept


class _Keeper:
    def __init__(self, step: StepKey, taken: Collection[str], declared: Collection[str]) -> None:
        self._step = step
        self._taken = taken
        self._declared = declared
        self._ids: set[str] = set()
        self.kept = KeptAnswer()

    def take(self, item: object) -> None:
        block = cast("Block", codec.copied(item)) if isinstance(item, dict) else {}
        self.kept.changed = self.kept.changed or block != item or not _is_whole(block)
        kind = block.get("type")
        if server_blocks.is_made(block):
            self.kept.content.append(block)  # as it came: what comes behind it may be bound to it
            self.kept.made = True
        elif not isinstance(kind, str) or kind not in _FIELDS:
            self.kept.changed = True
        elif kind == "tool_use":
            self._call(block, cast("Block", item).get("input"))
        else:
            self._said(kind, block, same=block == item)

    def _said(self, kind: str, block: Block, *, same: bool) -> None:
        value = block.get(_SAID[kind])
        sendable = isinstance(value, str) and bool(value.strip())
        if kind == "thinking":
            sendable = sendable and isinstance(block.get("thinking"), str)
        # What later thinking was bound to has changed: it would be refused.
        if sendable and not (kind in THINKING and self.kept.changed):
            self._append(block)
            self.kept.changed = self.kept.changed or not same
        else:
            self.kept.changed = True

    def _call(self, block: Block, given: object) -> None:
        kept, own, name = self.kept, block.get("id"), block.get("name")
        place = kept.count
        kept.count += 1
        call_id = self._id(own, place)
        error = _error(name, given)
        input = {} if error else cast("dict[str, Any]", block["input"])
        tool = name if isinstance(name, str) else str(name)
        if place < MAX_CALLS:
            own_id = None if call_id == own else str(own)[:MAX_NAME]
            kept.calls.append(ToolUse(call_id, tool[:MAX_NAME], input, own_id, error))
        if _can_be_sent(name) and (call_id == own or name in self._declared):
            kept.changed = kept.changed or call_id != own or input != block.get("input")
            self._append({**block, "id": call_id, "input": input})
        else:  # no tool_use of this name would be taken
            kept.changed = True
            kept.said.append(call_id)
            kept.content.append(text(f"(called {tool[:MAX_NAME]!r} with {codec.dumps(given)[:PREVIEW]})"))

    def _append(self, block: Block) -> None:
        given = {name: value for name, value in block.items() if value is not None}
        sent = {name: value for name, value in given.items() if name in _FIELDS[block["type"]]}
        if "citations" in sent and not isinstance(sent["citations"], list):
            del sent["citations"]
        self.kept.content.append(sent)
        self.kept.changed = self.kept.changed or sent != given

    def _id(self, own: object, place: int) -> str:
        """Return the model's id where it can be this call's alone; else one that is made of the call's key."""
        made = own if isinstance(own, str) and _ID.fullmatch(own) else ""
        key, turn = f"{self._step.within_session}/{place}", _digest(self._step.turn.turn)[:6]
        while not made or made in self._ids or made in self._taken:
            made, key = f"call_{turn}{_digest(key)[:16]}", f"{key}/"
        self._ids.add(made)
        return made


def _is_whole(block: Block) -> bool:
    """Return whether a block can be sent as it is: half a character is replaced when it is written."""
    try:
        to_json(block)
    except ValueError:
        return False
    return True


def _error(name: object, given: object) -> str | None:
    if not _can_be_sent(name):
        return f"There is no tool named {str(name)[:MAX_NAME]!r}."
    wrong = arguments.fault(given)
    return None if wrong is None else f"The arguments do not fit: {wrong}. The call did not run."


def _can_be_sent(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
