"""What callers read: journal entries in the words of Claude Managed Agents, others as `inturn.{type}`.

Invariant: an event that stands for an entry has its id and its seq, and always the same ones. Status and span events
are derived from the entry that they go out just before: without a seq, so that a cut can repeat and never lose one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from inturn.turns.answers import THINKING
from inturn.values import Delta, Entry

Wire = dict[str, Any]

_NATIVE: Final = frozenset({"user.message", "agent.message", "agent.tool_use", "agent.tool_result"})
_ENDS: Final = frozenset({"turn.completed", "turn.interrupted", "turn.failed"})
_STOPS: Final = {"budget_reached": "budget_reached", "refusal": "refusal"}
_TRIED: Final = "retries_exhausted"
_USE: Final = "/use"
_ASKED: Final = "/requested"


def wire_events(entry: Entry, *, inturn: bool) -> Iterator[Wire]:
    """Yield what an entry is to a caller: derived events first, its own last, which alone has a `seq`.

    Args:
        entry: The entry.
        inturn: Whether those that only inturn has are wanted, too: others' SDKs take them for messages.
    """
    yield from _derived(entry)
    if entry.type in _NATIVE:
        yield {**_base(entry, entry.type), **_native(entry), "seq": entry.seq}
    elif inturn:
        body = {**_base(entry, f"inturn.{entry.type}"), "step": entry.step, "body": entry.body, "seq": entry.seq}
        yield body | {"hash": entry.hash, "prev": entry.prev}


def wire_delta(delta: Delta) -> Wire | None:
    """Return a piece of an answer's preview; `None` where others' shapes have no place for it."""
    if delta.kind == "start":
        return {
            "type": "event_start",
            "event": {"id": message_id(delta.event_id, delta.step), "type": "agent.message"},
            "attempt": delta.attempt,
        }
    if delta.kind != "text":
        return None
    return {
        "type": "event_delta",
        "event_id": message_id(delta.event_id, delta.step),
        "delta": {
            "type": "content_delta",
            "index": delta.block,
            "content": {"type": "text", "text": delta.text},
        },
        "attempt": delta.attempt,
    }


def message_id(event_id: str | None, step: str | None) -> str:
    """Return the id of an answer, known before it is written."""
    return f"{event_id}/{step}"


def call_of(use_id: str) -> tuple[str, str] | None:
    """Return the event and step that the id of an `agent.tool_use` names; `None` where it is no such id."""
    event_id, slash, step = use_id.removesuffix(_USE).partition("/")
    return (event_id.partition("~")[0], step) if slash and use_id.endswith(_USE) else None


def _id(entry: Entry) -> str:
    match entry.type:
        case "user.message":
            return str(entry.body.get("joined") or entry.event_id)
        case "agent.tool_use":
            return _use_id(entry)
        case "agent.message" | "agent.tool_result":
            return _key(entry)
        case _:
            return f"entry:{entry.seq}"


def _use_id(entry: Entry) -> str:
    """Return the id of the call that an entry is about: its own, its question's, its result's."""
    return _key(entry).removesuffix(_USE).removesuffix(_ASKED) + _USE


def _key(entry: Entry) -> str:
    return entry.key or message_id(entry.event_id, entry.step)


def _base(entry: Entry, type_: str) -> Wire:
    return {"id": _id(entry), "type": type_, "processed_at": _time(entry.at), "event_id": entry.event_id}


def _native(entry: Entry) -> Wire:
    body = entry.body
    match entry.type:
        case "user.message":
            told = {name: body[name] for name in ("source", "sender", "metadata") if body.get(name) is not None}
            return {"content": _blocks(body.get("content")), **told}
        case "agent.message":
            return {"content": [block for block in _blocks(body.get("content")) if block.get("type") == "text"]}
        case "agent.tool_use":
            return {"name": str(body.get("tool")), "input": body.get("args") or {}, "call_id": body.get("call_id")}
        case _:
            return {
                "tool_use_id": _use_id(entry),
                "content": _blocks(body.get("content", body.get("text"))),
                "is_error": body.get("status") != "ok",
                "call_id": body.get("call_id"),
                "status": body.get("status"),
            }


def _derived(entry: Entry) -> Iterator[Wire]:
    match entry.type:
        case "turn.started":
            yield _status(entry, "running")
        case "agent.message":
            start = f"span:{entry.seq}:start"
            yield {"id": start, "type": "span.model_request_start", "processed_at": _time(entry.at)}
            yield {
                "id": f"span:{entry.seq}:end",
                "type": "span.model_request_end",
                "processed_at": _time(entry.at),
                "model_request_start_id": start,
                "is_error": False,
                "model_usage": _usage(entry.body.get("usage")),
            }
            if any(block.get("type") in THINKING for block in _blocks(entry.body.get("content"))):
                yield {"id": f"thinking:{entry.seq}", "type": "agent.thinking", "processed_at": _time(entry.at)}
        case "approval.requested":
            stop = {"type": "requires_action", "event_ids": [_use_id(entry)]}
            yield _status(entry, "idle", stop_reason=stop, approval_id=entry.body.get("approval_id"))
        case "session.closed":
            yield _status(entry, "terminated")
        case type_ if type_ in _ENDS:
            stop_reason = _TRIED if type_ == "turn.failed" else _STOPS.get(str(entry.body.get("stop")), "end_turn")
            yield _status(entry, "idle", stop_reason={"type": stop_reason})
        case _:
            return


def _status(entry: Entry, status: str, **more: Any) -> Wire:
    return {
        "id": f"status:{entry.seq}",
        "type": f"session.status_{status}",
        "processed_at": _time(entry.at),
        "event_id": entry.event_id,
        **more,
    }


def _usage(found: object) -> Wire:
    usage: dict[str, Any] = found if isinstance(found, dict) else {}
    return {
        "input_tokens": usage.get("input_tokens", 0),
        "output_tokens": usage.get("output_tokens", 0),
        "cache_read_input_tokens": usage.get("cache_read_tokens", 0),
        "cache_creation_input_tokens": usage.get("cache_write_tokens", 0),
    }


def _blocks(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
