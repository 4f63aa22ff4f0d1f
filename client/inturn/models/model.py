"""The port to a language model.

Invariant: a model gives a complete message or raises; nothing partial passes here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from inturn.values import Usage


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is sent: Anthropic's Messages shapes.

    Attributes:
        user_id: Whose request it is (tenant and session), for the other side's abuse reports.
    """

    model: str
    system: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int = 8192
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """A complete answer: content blocks as the API gives them, `stop_reason` as it gives it."""

    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: Usage
    model: str
    request_id: str | None = None


OnText = Callable[[str], None]
"""Called for every piece of text as it streams (empty for a sign of life without text)."""


class Model(Protocol):
    """Something that answers."""

    async def respond(self, request: ModelRequest, on_text: OnText) -> ModelMessage:
        """Answer a request.

        Raises:
            Exception: Whatever went wrong; `activities/inturn_activities/failures.py` classifies it.
        """
        ...
