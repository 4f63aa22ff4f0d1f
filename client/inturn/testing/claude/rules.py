"""What the API refuses in a request whose shape is right.

Invariant: a request that passes could be sent to the real API. Each rule is a function of its own; they run in this
order.

Consecutive messages of one role are one turn to the API, so all rules about neighbours look at merged turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Block, Position, blocks_of

MAX_MARKERS: Final = 4
MAX_MESSAGES: Final = 100_000
VERSIONS: Final = ("2023-06-01", "2026-10-21")

# Models before Opus 4.8: no `role: "system"` within the conversation, no thinking unless asked for.
_OLDER = re.compile(r"claude-(?:[a-z]+-4-[0-7](?:-|$)|3-|2|instant)")

Body = dict[str, Any]


@dataclass(slots=True)
class Turn:
    """Messages of one role in a row. `at` is the first one's index."""

    role: str
    at: int
    blocks: list[Block]


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse a request without version or authorization.

    Raises:
        Rejection: 400 or 401.
    """
    bearer = headers.get("authorization", "")
    if not headers.get("x-api-key") and not re.fullmatch(r"Bearer \S+", bearer):
        raise Rejection("Authorization: a bearer token is required", status=401)
    version = headers.get("anthropic-version")
    if not version:
        raise Rejection("anthropic-version: header is required")
    if version not in VERSIONS:
        raise Rejection(f"anthropic-version: {version!r} is not a valid version")


def check(body: Body, line: Sequence[Position], *, invented: Set[str], paused: Set[bytes], window: int) -> None:
    """Refuse what the real API would refuse.

    Args:
        body: The request, whose shape is right.
        line: Its blocks with their digests.
        invented: Ids of calls that this server made of tools that were not declared.
        paused: Digests of conversations that this server paused: they alone may end with the assistant.
        window: Tokens that the model takes.

    Raises:
        Rejection: With the API's own words, as far as they are known.
    """
    if not re.match(r"claude-[a-z0-9]", body["model"]):
        raise Rejection(f"model: {body['model']}", status=404)
    turns = merged(body["messages"])
    for rule in _RULES:
        rule(body, turns)
    _ending(turns, line, paused)
    _declared(body, turns, invented)
    if line[-1].tokens > window:
        raise Rejection(f"prompt is too long: {line[-1].tokens} tokens > {window} maximum")


def is_older(model: str) -> bool:
    """Return whether a model knows neither system messages nor thinking by default."""
    return _OLDER.match(model) is not None


def thinks(body: Body) -> bool:
    """Return whether the model thinks before it answers."""
    config = body.get("thinking")
    return bool(config["type"] != "disabled") if config else not is_older(body["model"])


def merged(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Merge messages of one role that stand in a row."""
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        if turns and turns[-1].role == message["role"]:
            turns[-1].blocks.extend(blocks_of(message["content"]))
        else:
            turns.append(Turn(message["role"], index, list(blocks_of(message["content"]))))
    return turns


def _messages(body: Body, turns: Sequence[Turn]) -> None:
    if not turns:
        raise Rejection("messages: at least one message is required")
    if len(body["messages"]) > MAX_MESSAGES:
        raise Rejection(f"messages: at most {MAX_MESSAGES} messages are allowed")
    if turns[0].role != "user":
        raise Rejection('messages: first message must use the "user" role')
    for index, message in enumerate(body["messages"]):
        if not message["content"]:
            raise Rejection(f"messages.{index}: all messages must have non-empty content")


def _system_messages(body: Body, turns: Sequence[Turn]) -> None:
    for number, turn in enumerate(turns):
        if turn.role != "system":
            continue
        if is_older(body["model"]):
            raise Rejection(f"messages.{turn.at}: role 'system' is not supported on this model")
        after = turns[number + 1].role if number + 1 < len(turns) else "assistant"
        if turns[number - 1].role != "user" or after != "assistant":
            raise Rejection(
                f"messages.{turn.at}: a `system` message must follow a `user` message "
                "and be followed by an `assistant` message or be the last"
            )


def _texts(body: Body, turns: Sequence[Turn]) -> None:
    for block in blocks_of(body.get("system")):
        _text(block, "system")
    for turn in turns:
        for block in turn.blocks:
            _text(block, "messages")
            for inner in blocks_of(block.get("content") or None):
                _text(inner, "messages")
            if block["type"] == "tool_result" and block.get("is_error"):
                _error_result(block, turn)


def _text(block: Block, where: str) -> None:
    if block["type"] != "text":
        return
    if not block["text"]:
        raise Rejection(f"{where}: text content blocks must be non-empty")
    if not block["text"].strip():
        raise Rejection(f"{where}: text content blocks must contain non-whitespace text")


def _error_result(block: Block, turn: Turn) -> None:
    if not block.get("content"):
        raise Rejection(f"messages.{turn.at}: content cannot be empty if `is_error` is true")
    if any(inner["type"] != "text" for inner in blocks_of(block["content"])):
        raise Rejection(f"messages.{turn.at}: all content must be type `text` if `is_error` is true")


def _answers(body: Body, turns: Sequence[Turn]) -> None:
    for turn in turns:
        if turn.role == "assistant" and turn.blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            raise Rejection(f"messages.{turn.at}: The final block in an assistant message cannot be `thinking`.")


def _pairs(body: Body, turns: Sequence[Turn]) -> None:
    """Every call has its one result at the start of the next user message, and nothing else has one."""
    seen: set[str] = set()
    open_ids: list[str] = []
    for turn in turns:
        if open_ids:
            _answered(turn, open_ids)
        _results(turn, open_ids)
        open_ids = [b["id"] for b in turn.blocks if b["type"] == "tool_use"]
        if len(set(open_ids)) < len(open_ids) or seen & set(open_ids):
            raise Rejection(f"messages.{turn.at}: `tool_use` ids must be unique")
        seen.update(open_ids)
    if open_ids:
        raise _orphans(turns[-1].at, open_ids)


def _answered(turn: Turn, open_ids: Sequence[str]) -> None:
    leading: list[str] = []
    for block in turn.blocks:
        if block["type"] != "tool_result":
            break
        leading.append(block["tool_use_id"])
    missing = [call for call in open_ids if turn.role != "user" or call not in leading]
    if missing:
        raise _orphans(turn.at - 1, missing)


def _results(turn: Turn, open_ids: Sequence[str]) -> None:
    given = [b["tool_use_id"] for b in turn.blocks if b["type"] == "tool_result"]
    for call in given:
        if call not in open_ids:
            raise Rejection(
                f"messages.{turn.at}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if given.count(call) > 1:
            raise Rejection(
                f"messages.{turn.at}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {call}"
            )


def _orphans(at: int, calls: Sequence[str]) -> Rejection:
    return Rejection(
        f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _tools(body: Body, turns: Sequence[Turn]) -> None:
    tools = body.get("tools") or []
    names = [tool["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise Rejection("tools: Tool names must be unique.")
    for index, tool in enumerate(tools):
        schema = tool["input_schema"]
        if schema.get("type") != "object":
            raise Rejection(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
        if {"oneOf", "allOf", "anyOf"} & schema.keys():
            raise Rejection(
                f"tools.{index}.custom.input_schema: does not support oneOf, allOf, or anyOf at the top level"
            )
    choice = body.get("tool_choice")
    if choice and not tools:
        raise Rejection("tool_choice: may only be specified while providing tools")
    if choice and choice["type"] == "tool" and choice.get("name") not in names:
        raise Rejection(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _thinking(body: Body, turns: Sequence[Turn]) -> None:
    config = body.get("thinking")
    if not config:
        return
    budget = config.get("budget_tokens")
    if (config["type"] == "enabled") != (budget is not None):
        raise Rejection("thinking.budget_tokens: goes with type 'enabled', and with no other")
    if budget is not None and budget < 1024:
        raise Rejection("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget is not None and budget >= body["max_tokens"]:
        raise Rejection("`max_tokens` must be greater than `thinking.budget_tokens`")
    if config["type"] == "enabled" and (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Rejection("Thinking may not be enabled when tool_choice forces tool use.")


def _markers(body: Body, turns: Sequence[Turn]) -> None:
    blocks = [*(body.get("tools") or []), *blocks_of(body.get("system"))]
    for turn in turns:
        for block in turn.blocks:
            blocks.append(block)
            inner = block.get("content")
            blocks.extend(inner if isinstance(inner, list) else [])
    found = [b["cache_control"] for b in [*blocks, body] if b.get("cache_control")]
    if len(found) > MAX_MARKERS:
        raise Rejection(f"A maximum of {MAX_MARKERS} blocks with cache_control may be provided. Found {len(found)}.")
    ttls = [marker.get("ttl", "5m") for marker in found]
    if ttls != sorted(ttls):  # "1h" sorts before "5m"
        raise Rejection("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _ending(turns: Sequence[Turn], line: Sequence[Position], paused: Set[bytes]) -> None:
    if turns[-1].role == "assistant" and line[-1].digest not in paused:
        raise Rejection(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _declared(body: Body, turns: Sequence[Turn], invented: Set[str]) -> None:
    names = {tool["name"] for tool in body.get("tools") or []}
    for turn in turns:
        for block in turn.blocks:
            if block["type"] == "tool_use" and block["name"] not in names and block["id"] not in invented:
                raise Rejection(
                    f"messages.{turn.at}: `tool_use` of tool '{block['name']}', which `tools` does not define"
                )


_RULES: Final[Sequence[Callable[[Body, Sequence[Turn]], None]]] = (
    _messages,
    _texts,
    _answers,
    _pairs,
    _system_messages,
    _tools,
    _thinking,
    _markers,
)
