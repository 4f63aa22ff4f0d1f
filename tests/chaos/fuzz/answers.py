"""A model that answers hostile events with anything, and innocent ones as it should.

Invariant: the same text at the same step gets the same answer, in whatever process, so a retry is no second chance; by
its fourth step every turn gets a plain text, so it ends.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Final, cast

from pydantic_core import to_json

from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Usage
from tests.chaos.fuzz.hostile import Hostile

INNOCENT: Final = "innocent"
"""How the text of an innocent event begins."""
TOOLS: Final = ("odd", "pay", "odd", "pay", "nobody", "do.it", "do it", "", "x" * 200, "ödd")
STOPS: Final = ("end_turn", "tool_use", "max_tokens", "refusal", "pause_turn", "stop_sequence", "odd", None)
STEPS: Final = 3


class HostileModel:
    """A `Model` of a user's own, at its worst."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer by what was said last."""
        text = _last_text(request.messages)
        on_delta(0, "text", "…")
        chance = random.Random(to_json([text, len(request.messages)], inf_nan_mode="constants"))
        if text.startswith(INNOCENT) or _steps(request.messages) >= STEPS:
            return _message([{"type": "text", "text": "ok"}])
        made = Hostile(chance)
        kinds: tuple[Callable[[Hostile], ModelMessage], ...] = (_text, _calls, _calls, _calls, _blocks, _broken, _plain)
        return chance.choice(kinds)(made)


def _plain(hostile: Hostile) -> ModelMessage:
    return _message([{"type": "text", "text": "fine"}])


def _text(hostile: Hostile) -> ModelMessage:
    return _message([{"type": "text", "text": hostile.text()}], hostile.chance.choice(STOPS))


def _calls(hostile: Hostile) -> ModelMessage:
    count = hostile.chance.choice((1, 1, 2, 3, 70))
    calls = [_call(hostile, hostile.chance.choice((f"c{n}", "c0", "c0", hostile.text()))) for n in range(count)]
    return _message(calls, hostile.chance.choice(("tool_use", "tool_use", "end_turn", "pause_turn", None)))


def _call(hostile: Hostile, call_id: str) -> dict[str, Any]:
    name = hostile.chance.choice(TOOLS)
    good = {"odd": {"kind": hostile.chance.randrange(99)}, "pay": {"cents": 5}}.get(name, {})
    wanted = good if hostile.chance.random() < 0.6 else hostile.value(2)
    return {"type": "tool_use", "id": call_id, "name": name, "input": wanted}


def _blocks(hostile: Hostile) -> ModelMessage:
    blocks = [hostile.block() for _ in range(hostile.chance.randrange(5))]
    return _message(blocks, hostile.chance.choice(STOPS))


def _broken(hostile: Hostile) -> ModelMessage:
    match hostile.chance.randrange(7):
        case 0:
            raise RuntimeError(hostile.text())
        case 1:
            raise ValueError("\ud800")
        case 2:
            return _message(cast("list[dict[str, Any]]", None))
        case 3:
            return _message(cast("list[dict[str, Any]]", [None, 1, "x"]))
        case 4:
            usage = Usage.model_construct(
                input_tokens=-5, output_tokens=10**30, usd_nanos=cast("int", math.nan), steps=1
            )
            return _message([{"type": "text", "text": "cheap"}], usage=usage)
        case 5:
            return cast("ModelMessage", {"content": "I am no message"})
        case _:
            return _message([{"type": "text", "text": "z" * 1_500_000}])


def _message(
    content: list[dict[str, Any]], stop: str | None = "end_turn", *, usage: Usage | None = None
) -> ModelMessage:
    usage = Usage(input_tokens=1, output_tokens=1, steps=1) if usage is None else usage
    return ModelMessage(content=content, stop_reason=stop, usage=usage, model="scripted-fuzz")


def _last_text(messages: list[dict[str, Any]]) -> str:
    """Return the last text that a user said, whatever came behind it."""
    for message in reversed(messages):
        for block in reversed(message["content"] if isinstance(message["content"], list) else [message["content"]]):
            text = block.get("text") if isinstance(block, dict) else block
            if message["role"] == "user" and isinstance(text, str):
                return text
    return ""


def _steps(messages: list[dict[str, Any]]) -> int:
    """Return how many answers the turn has: those behind the last message without results."""
    count = 0
    for message in reversed(messages):
        if message["role"] == "assistant":
            count += 1
        elif not _is_results(message["content"]):
            return count
    return count


def _is_results(content: Any) -> bool:
    return isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)


model = HostileModel()
