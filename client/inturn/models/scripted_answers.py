"""Answers: what a model without a mind says, and the rule by which it answers when nobody scripted it.

Invariant: the rule depends on the conversation alone. The same messages get the same answer in every process, so a
test can expect it and a demonstration can show it.

A user's text may hold directives; all else is echoed:

    [[tool NAME {"an": "argument"}]]   call that tool; several make parallel calls
    [[then]]                           what follows is for the model's next step of this turn
    [[say TEXT]]                       answer this instead of the echo
    [[delay SECONDS]]                  stream the answer over that time
    [[stop REASON]]                    end with this stop reason: refusal, max_tokens, pause_turn ...
    [[fault KIND key=value ...]]       (server only) fail the first time; see `inturn.testing.claude.faults`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Block = dict[str, Any]
Messages = Sequence[Mapping[str, Any]]

SUMMARY_CHARACTERS: Final = 400
"""How much of one tool's result an answer repeats."""

_OPEN = re.compile(r"\[\[\s*(tool|say|delay|stop|fault|then)\b[ \t]*")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True, init=False)
class ToolCall:
    """A call of a tool, as a model asks for it: `ToolCall("send_refund", order_id="o1", cents=500)`."""

    name: str
    args: dict[str, Any]

    def __init__(self, name: str, /, **args: Any) -> None:
        """Make a call of the tool `name` with these arguments."""
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "args", args)

    @classmethod
    def of(cls, name: str, args: Mapping[str, Any]) -> ToolCall:
        """Make a call of arguments that are a mapping already."""
        call = cls(name)
        call.args.update(args)
        return call


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model.

    Attributes:
        text: What it says.
        calls: The tools it calls, in parallel.
        stop: Its stop reason; `None`: `tool_use` with calls, else `end_turn`.
        delay: Seconds over which it streams.
        thinking: What it thinks first, where the model thinks.
        blocks: Its content as it is, instead of text and calls: what a provider's own tools leave in it, for one.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    stop: str | None = None
    delay: float = 0.0
    thinking: str | None = None
    blocks: tuple[Block, ...] = ()

    @property
    def stop_reason(self) -> str:
        """The stop reason as the API gives it."""
        calls = self.calls or any(block.get("type") == "tool_use" for block in self.blocks)
        return self.stop or ("tool_use" if calls else "end_turn")

    def content(self, ids: Sequence[str]) -> list[Block]:
        """Return its text and calls as content blocks; the calls take these ids in order."""
        if self.blocks:
            return [dict(block) for block in self.blocks]
        blocks: list[Block] = [{"type": "text", "text": self.text}] if self.text else []
        for call_id, call in zip(ids, self.calls, strict=True):
            blocks.append({"type": "tool_use", "id": call_id, "name": call.name, "input": call.args})
        return blocks


@dataclass(slots=True)
class Directives:
    """What one step's part of a user's text asks for."""

    plain: str = ""
    say: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    delay: float = 0.0
    stop: str | None = None
    faults: list[str] = field(default_factory=list)


def parse(text: str) -> list[Directives]:
    """Read a user's text: one part for each step. What is no directive, or a broken one, stays plain text."""
    parts = [Directives()]
    position = 0
    while found := _OPEN.search(text, position):
        parts[-1].plain += text[position : found.start()]
        end = _directive(parts, found[1], text, found.end())
        if end is None:
            parts[-1].plain += found[0]
            end = found.end()
        position = end
    parts[-1].plain += text[position:]
    for part in parts:
        part.plain = part.plain.strip()
    return parts


def last_text(messages: Messages) -> tuple[str, int]:
    """Find what the user said last: its text, and how many answers of the assistant came since."""
    answers = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            answers += 1
        elif message["role"] == "user" and (text := _text(message["content"])):
            return text, answers
    return "", answers


def step_of(messages: Messages) -> Directives:
    """Return the directives for the step that comes next."""
    text, step = last_text(messages)
    parts = parse(text)
    return parts[step] if step < len(parts) else Directives()


def by_rule(messages: Messages) -> Answer:
    """Answer a conversation that nobody scripted: obey its directives, sum up results, else echo."""
    part = step_of(messages)
    if part.calls:
        return Answer(" ".join(part.say), tuple(part.calls), part.stop, part.delay)
    texts = part.say or [line for line in (_results(messages), _echo(part, messages)) if line]
    return Answer(" ".join(texts) or "Done.", (), part.stop, part.delay)


def pieces(text: str) -> list[str]:
    """Cut a text into the pieces in which it streams; joined they are the text."""
    return re.findall(r"\S+\s*|\s+", text)


def _directive(parts: list[Directives], kind: str, text: str, start: int) -> int | None:
    """Read one directive into the last part; return where it ends, `None` where it is broken."""
    if kind == "tool":
        return _tool(parts[-1], text, start)
    end = text.find("]]", start)
    if end < 0:
        return None
    value = text[start:end].strip()
    if kind == "then":
        parts.append(Directives())
    elif kind == "delay":
        if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", value):
            return None
        parts[-1].delay += float(value)
    elif kind == "stop":
        parts[-1].stop = value or None
    else:
        (parts[-1].say if kind == "say" else parts[-1].faults).append(value)
    return end + 2


def _tool(part: Directives, text: str, start: int) -> int | None:
    name = _TOOL_NAME.match(text, start)
    if name is None:
        return None
    rest = start + len(name[0])
    rest += len(text[rest:]) - len(text[rest:].lstrip())
    args: Any = {}
    if text.startswith("{", rest):
        try:
            args, rest = _JSON.raw_decode(text, rest)
            json.dumps(args, ensure_ascii=False, allow_nan=False).encode()  # Python reads more than JSON can say
        except (ValueError, RecursionError):
            return None
    close = re.compile(r"\s*\]\]").match(text, rest)
    if close is None:
        return None
    part.calls.append(ToolCall.of(name[0], args))
    return close.end()


def _text(content: Any) -> str:
    """Return the last text of a user's content; what is no text is named."""
    if isinstance(content, str):
        return content
    for block in reversed(content):
        if block.get("type") == "text":
            return str(block["text"])
        if block.get("type") != "tool_result":
            return f"[{block.get('type')}]"
    return ""


def _results(messages: Messages) -> str:
    """Sum up the tool results that the last user message brought."""
    last = next((m for m in reversed(messages) if m["role"] == "user"), None)
    if last is None or isinstance(last["content"], str):
        return ""
    results = [b for b in last["content"] if b.get("type") == "tool_result"]
    if not results:
        return ""
    names = {
        block["id"]: block["name"]
        for message in messages
        if message["role"] == "assistant" and not isinstance(message["content"], str)
        for block in message["content"]
        if block.get("type") == "tool_use"
    }
    return "Results: " + "; ".join(_result(r, names.get(r["tool_use_id"], "tool")) for r in results)


def _result(block: Mapping[str, Any], name: str) -> str:
    content = block.get("content", "")
    text = content if isinstance(content, str) else " ".join(str(b.get("text", f"[{b.get('type')}]")) for b in content)
    if len(text) > SUMMARY_CHARACTERS:
        text = text[:SUMMARY_CHARACTERS] + "…"
    return f"{name} failed: {text}" if block.get("is_error") else f"{name}: {text}"


def _echo(part: Directives, messages: Messages) -> str:
    _, step = last_text(messages)
    return f"You said: {part.plain}" if part.plain and step == 0 else part.plain
