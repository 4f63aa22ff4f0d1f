"""The port to a language model.

Invariant: a model gives a complete message or raises. What it says piece by piece is a preview: nobody decides by it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from inturn.models.settings import ModelSettings
from inturn.values import Usage

OnUsage = Callable[[Usage], None]
Load = Callable[[str], Awaitable[bytes | None]]
"""Returns what is under a reference; `None`: nothing is."""


def _ignored(usage: Usage) -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is sent: Anthropic's Messages shapes.

    Attributes:
        user_id: Whose request it is, opaque, for the other side's abuse reports.
        settings: How the model is to answer.
        previous: The id of the answer before, in whose request this one's prompt begins: why it is not found in the
            cache can be told.
        container: Where the model's code is to run on, as an answer said.
        native: What this provider gave with its answers to get back, one for each message; empty where it gave none.
        on_usage: Called with what the answer has used so far, as often as that is known: an attempt that fails or is
            stopped is paid, too.
        load: Reads what messages refer to (`inturn.turns.showing`); a model is asked with what it reads.
    """

    model: str
    system: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int = 32_000
    user_id: str | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    previous: str | None = None
    container: str | None = None
    native: Sequence[Any] = ()
    on_usage: OnUsage = field(default=_ignored, compare=False, repr=False)
    load: Load | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """A complete answer: content blocks as the API gives them, `stop_reason` as it gives it.

    Attributes:
        id: The answer's own id (`msg_…`).
        stop_details: What else the API says of why it stopped.
        raw_usage: Everything the API says of what it used.
        cache_missed: Why the prompt's beginning was not found in the cache, where the API says so.
        container: Where its code ran: an `id`, and the time from which on that is gone, `until`, in seconds since 1970.
        native: What its provider is to get back with it, as it is: any JSON of 256 KiB at most.
    """

    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: Usage
    model: str
    request_id: str | None = None
    id: str | None = None
    stop_details: Any = None
    raw_usage: dict[str, Any] | None = None
    cache_missed: str | None = None
    container: dict[str, Any] | None = None
    native: Any = None


DeltaKind = Literal["text", "thinking", "input"]
OnDelta = Callable[[int, DeltaKind, str], None]
"""Called for every piece as it streams: which content block it is of, what it is, and the piece.

The first piece of an `input` is the tool's name, what follows is its JSON. An empty piece is a sign of life."""


def provider_of(model: Model) -> str:
    """Return whose a model is: its `provider`, where it names one, else its class."""
    named = getattr(model, "provider", None)
    return named if isinstance(named, str) and named else type(model).__name__


class Model(Protocol):
    """Something that answers."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer a request.

        Raises:
            ModelError: There is no answer; it says whose fault that is. Any other exception counts as `unknown`.
        """
        ...


class CompactingModel(Model, Protocol):
    """One that summarises conversations itself, so that what is kept of them stays bound to what was summarised."""

    async def compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        """Return a message with a block of type `compaction`, to be sent first from then on; `None`: it cannot.

        Args:
            request: The conversation to summarise, as it was sent before.
            instructions: What to ask for, instead of its own prompt.

        Raises:
            ModelError: As `respond` does.
        """
        ...
