"""What a message's stop reason means for the turn.

Invariant: tools run only where the model stopped to use them; a reason nobody knows ends the turn and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeGuard

from inturn.values import StopReason

Stop = Literal["tool_use", "pause_turn"] | StopReason

_MEANING: Final[Mapping[str, Stop]] = {
    "pause_turn": "pause_turn",
    "compaction": "pause_turn",
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}


def tool_uses(content: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the blocks that call our tools, in order."""
    return [block for block in content if block.get("type") == "tool_use"]


def interpret(stop_reason: str | None, content: Sequence[Mapping[str, Any]]) -> Stop:
    """Return how the turn goes on."""
    if stop_reason == "tool_use":
        return "tool_use" if tool_uses(content) else "end_turn"
    return _MEANING.get(stop_reason or "", "end_turn")


def ends_turn(stop: str) -> TypeGuard[StopReason]:
    """Return whether the turn is over."""
    return stop not in ("tool_use", "pause_turn")
