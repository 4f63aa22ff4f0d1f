"""What the server answers: replies queued by a test, else the rule of `inturn.models.scripted_answers`.

Invariant: replies are used in the order in which they were queued, each by the first request that it matches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from inturn.models.scripted_answers import Answer, ToolCall

MAX_DELAY = 3600.0


class Matched(BaseModel):
    """Something for some requests only.

    Attributes:
        when: The last user text holds this.
        session: The request's `metadata.user_id` is this.
        times: For how many requests; `None` for all.
        compacts: Whether the request asks for a summary of the API's own; `None`: no matter.
    """

    model_config = ConfigDict(extra="forbid")

    when: str | None = None
    session: str | None = None
    times: int | None = Field(default=1, ge=1)
    compacts: bool | None = None

    def matches(self, session: str | None, text: str, *, compacts: bool = False) -> bool:
        """Return whether a request is meant."""
        meant = (self.when is None or self.when in text) and (self.session is None or self.session == session)
        return meant and self.compacts in (None, compacts)


class Call(BaseModel):
    """A call of a tool, as JSON."""

    model_config = ConfigDict(extra="forbid")

    name: str
    args: dict[str, Any] = {}


class Reply(Matched):
    """An answer as JSON; a string alone is its text. To a request for a summary it is one only where it says so."""

    compacts: bool | None = False
    text: str = ""
    calls: list[Call] = []
    stop: str | None = None
    delay: float = Field(default=0.0, ge=0, le=MAX_DELAY)
    """Seconds over which it streams."""
    thinking: str | None = None
    content: list[dict[str, Any]] | None = None
    """Its blocks as they are, instead of text and calls; signatures and ids that are left out are filled in."""
    stop_details: dict[str, Any] | None = None
    tokens: int | None = Field(default=None, ge=1)
    """How long it wants to be: where it may not, it stops before its end."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    def is_cut_short(self, max_tokens: int) -> bool:
        """Return whether it is longer than it may be."""
        return self.tokens is not None and self.tokens > max_tokens

    def answer(self) -> Answer:
        """Return it as an answer."""
        calls = tuple(ToolCall.of(call.name, call.args) for call in self.calls)
        called = any(block.get("type") == "tool_use" for block in self.content or ())
        if called and self.stop is None:
            return Answer(self.text, calls, "tool_use", self.delay, self.thinking)
        return Answer(self.text, calls, self.stop, self.delay, self.thinking)


def reply(entry: str | ToolCall | Answer | Reply | Sequence[str | ToolCall], **match: Any) -> Reply:
    """Return a reply of whatever a script may hold; `match` has the fields of `Matched`.

    Raises:
        TypeError: It is nothing that a script may hold.
    """
    if isinstance(entry, Reply):
        return Reply.model_validate({**entry.model_dump(exclude_unset=True), **match})
    if isinstance(entry, Answer):
        calls = [Call(name=call.name, args=call.args) for call in entry.calls]
        blocks = list(entry.blocks) or None
        return Reply(
            text=entry.text,
            calls=calls,
            stop=entry.stop,
            delay=entry.delay,
            thinking=entry.thinking,
            content=blocks,
            **match,
        )
    parts = [entry] if isinstance(entry, str | ToolCall) else list(entry)
    if not all(isinstance(part, str | ToolCall) for part in parts):
        raise TypeError(f"a script has texts, ToolCalls, lists of them, Answers and Replies; {entry!r} is none")
    text = " ".join(part for part in parts if isinstance(part, str))
    calls = [Call(name=part.name, args=part.args) for part in parts if isinstance(part, ToolCall)]
    return Reply(text=text, calls=calls, **match)


M = TypeVar("M", bound=Matched)


class Queue(Generic[M]):
    """Things for the requests to come."""

    def __init__(self) -> None:
        """Make an empty queue."""
        self._items: list[tuple[M, list[int]]] = []

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._items)

    def extend(self, items: Iterable[M]) -> None:
        """Append them, in order."""
        self._items.extend((item, [0]) for item in items)

    def clear(self) -> None:
        """Drop everything."""
        self._items.clear()

    def take(self, session: str | None, text: str, *, compacts: bool = False) -> M | None:
        """Return the first that matches; one that was taken `times` times leaves."""
        for at, (item, used) in enumerate(self._items):
            if item.matches(session, text, compacts=compacts):
                used[0] += 1
                if item.times is not None and used[0] >= item.times:
                    del self._items[at]
                return item
        return None
