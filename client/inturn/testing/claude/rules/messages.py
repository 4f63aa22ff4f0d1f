"""Rules about messages: how a conversation begins and ends, its texts, and instructions within it."""

from __future__ import annotations

from typing import Final

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.prefix import Block, blocks_of
from inturn.testing.claude.rules.asked import Asked, Turn
from inturn.testing.claude.rules.thinking import thinks

MAX_MESSAGES: Final = 100_000
_THOUGHTS: Final = ("thinking", "redacted_thinking")


def begins(asked: Asked) -> None:
    """A conversation begins with the user, or with the API's own summary of what came before."""
    messages, turns = asked.body["messages"], asked.turns
    if not turns:
        raise Rejection("messages: at least one message is required")
    if len(messages) > MAX_MESSAGES:
        raise Rejection(f"messages: at most {MAX_MESSAGES} messages are allowed")
    for index, message in enumerate(messages):
        if not message["content"]:
            raise Rejection(f"messages.{index}: all messages must have non-empty content")
    if turns[0].role != "user" and turns[0].blocks[0]["type"] != "compaction":
        raise Rejection('messages: first message must use the "user" role')


def texts(asked: Asked) -> None:
    """Texts say something: none is empty, and a blank one stands beside a real one only."""
    for block in blocks_of(asked.body.get("system")):
        _text(block, "system")
    for turn in asked.turns:
        real = _says(turn)
        for block in turn.blocks:
            _text(block, "messages", blank_allowed=real)
            for inner in blocks_of(block.get("content") or None) if block["type"] == "tool_result" else ():
                _text(inner, "messages")
            if block["type"] == "tool_result" and block.get("is_error"):
                _error_result(block, turn)


def answers(asked: Asked) -> None:
    """No answer ends in thinking, but one that the server paused."""
    for turn in asked.turns:
        paused = turn is asked.turns[-1] and asked.paused
        if turn.role == "assistant" and turn.blocks[-1]["type"] in _THOUGHTS and not paused:
            raise Rejection(f"messages.{turn.at}: The final block in an assistant message cannot be `thinking`.")


def system_messages(asked: Asked) -> None:
    """Instructions stand behind a user's message or a server tool's result, and go to models that know them."""
    turns = asked.turns
    for number, turn in enumerate(turns):
        if turn.role != "system":
            continue
        if asked.facts.system == "text":
            raise Rejection(f"messages.{turn.at}: role 'system' is not supported on this model")
        after = turns[number + 1].role if number + 1 < len(turns) else "assistant"
        if after != "assistant" or not _may_precede(turns[number - 1]):
            raise Rejection(
                f"messages.{turn.at}: a `system` message must follow a `user` message "
                "and be followed by an `assistant` message or be the last"
            )


def ends(asked: Asked) -> None:
    """A conversation ends with the user, where the server did not pause it or the model takes a prefilled answer."""
    last = asked.turns[-1]
    if last.role != "assistant" or asked.paused or last.blocks[-1]["type"] == "compaction":
        return
    if not asked.facts.prefill or thinks(asked.body):
        raise Rejection(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    said = last.blocks[-1].get("text", "")
    if said != said.rstrip():
        raise Rejection("messages: final assistant content cannot end with trailing whitespace")


def _says(turn: Turn) -> bool:
    """Return whether a turn says something, so that a blank text beside it does no harm."""
    if turn.role == "assistant":
        return any(b["type"] not in _THOUGHTS and not _blank(b) for b in turn.blocks)
    return any(b["type"] == "text" and not _blank(b) for b in turn.blocks)


def _blank(block: Block) -> bool:
    return block["type"] == "text" and not block["text"].strip()


def _may_precede(turn: Turn) -> bool:
    last = turn.blocks[-1]["type"]
    return turn.role == "user" or (turn.role == "assistant" and last.endswith("_tool_result"))


def _text(block: Block, where: str, *, blank_allowed: bool = False) -> None:
    if block["type"] != "text":
        return
    if not block["text"]:
        raise Rejection(f"{where}: text content blocks must be non-empty")
    if _blank(block) and not blank_allowed:
        raise Rejection(f"{where}: text content blocks must contain non-whitespace text")


def _error_result(block: Block, turn: Turn) -> None:
    if not block.get("content"):
        raise Rejection(f"messages.{turn.at}: content cannot be empty if `is_error` is true")
    if any(inner["type"] != "text" for inner in blocks_of(block["content"])):
        raise Rejection(f"messages.{turn.at}: all content must be type `text` if `is_error` is true")
