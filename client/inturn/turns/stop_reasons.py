"""What a message's stop reason means for the turn.

Invariant: tools run only where the model stopped to use them; a reason nobody knows ends the turn and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeGuard

from inturn.values import StopReason

ASKS: Final = "ask_budget"
"""A person is asked whether the turn may use more: nothing was sent."""

Stop = Literal["tool_use", "pause_turn", "ask_budget"] | StopReason

_MEANING: Final[Mapping[str, Stop]] = {
    "pause_turn": "pause_turn",
    "compaction": "pause_turn",
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}

PAUSES: Final = frozenset(reason for reason, stop in _MEANING.items() if stop == "pause_turn")
"""Reasons of the API's for which the model is to go on from where it stopped."""


def interpret(stop_reason: object, calls: bool) -> Stop:
    """Return how the turn goes on; `calls`: the answer calls our tools."""
    if stop_reason == "tool_use":
        return "tool_use" if calls else "end_turn"
    return _MEANING.get(stop_reason, "unknown") if isinstance(stop_reason, str) else "unknown"


def ends_turn(stop: str) -> TypeGuard[StopReason]:
    """Return whether the turn is over."""
    return stop not in ("tool_use", "pause_turn", ASKS)
