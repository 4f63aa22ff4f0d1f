"""A tool context whose state is kept in a dictionary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inturn.context import ToolContext
from inturn.events import Event


@dataclass(frozen=True)
class Kept:
    """A value with its version."""

    value: Any
    version: int = 1


class Memory:
    """What a session remembers."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def get(self, name: str) -> Kept | None:
        return Kept(self.kept[name]) if name in self.kept else None

    async def put(self, name: str, value: Any, *, key: str | None = None) -> Kept:
        self.kept[name] = value
        return Kept(value)


@dataclass(frozen=True)
class Remembering(ToolContext):
    """The context of a call of a session with this memory."""

    state: Memory = field(default_factory=Memory)


def call(key: str, memory: Memory | None = None, **fields: Any) -> Remembering:
    """Make the context of one call."""
    values: dict[str, Any] = {
        "tenant": "t",
        "session_id": "s",
        "call_id": key,
        "event": Event(event_id="e", content="hi"),
        **fields,
    }
    return Remembering(key=key, state=memory or Memory(), **values)
