"""Agents: what answers in a session.

Invariant: an agent is a value; nothing of a session lives in it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

from pydantic_core import to_json

from inturn.keys import is_id
from inturn.models.facts import facts
from inturn.policy import InboxPolicy
from inturn.tools import Tool, as_tool
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction

Stream = Literal["watched", "always", "never"]


@dataclass(frozen=True)
class Agent:
    """An agent: a model, its instructions and its tools.

    Attributes:
        name: What sessions call it.
        model: The model's name.
        instructions: The system prompt; frozen in a session when it starts.
        tools: Functions decorated with `@tool`, or plain ones.
        subagents: Agents it may delegate to.
        max_tokens: The most tokens of one answer; what the model thinks counts.
        budget: The most one turn may use.
        compaction: When its sessions are summarised to make room; `None`: only where a session cannot go on without.
        inbox: How its sessions take events.
        stream: When others see what the model says as it says it: while somebody looks (`watched`), `always`, or
            `never`, where an answer must not be seen that is withdrawn in the end.
        task_queue: The task queue of its own on which its steps are taken; by default the worker's.
        deliver: A tool `(out, ctx)` that takes answers, approvals and notices out.
    """

    name: str
    _: KW_ONLY
    model: str
    instructions: str
    tools: Sequence[Any] = ()
    subagents: Sequence[Agent] = ()
    max_tokens: int = 32_000
    budget: Budget = field(default_factory=Budget)
    compaction: Compaction | None = field(default_factory=Compaction)
    inbox: InboxPolicy = field(default_factory=InboxPolicy)
    stream: Stream = "watched"
    task_queue: str | None = None
    deliver: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        """Check what can be known before the first event.

        Raises:
            ValueError: The name is no id, two tools share a name, or the model would refuse every request.
        """
        if not is_id(self.name):
            raise ValueError(f"agent name {self.name!r} may hold letters, digits and ._:@+=- only, 1 to 128 of them")
        tools = tuple(as_tool(t) for t in self.tools)
        names = [t.name for t in tools]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"agent {self.name!r} has more than one tool named {', '.join(twice)}")
        if self.stream not in get_args(Stream):
            raise ValueError(
                f"agent {self.name!r}: stream={self.stream!r:.60} is none of {', '.join(get_args(Stream))}"
            )
        object.__setattr__(self, "tools", tools)
        self._check_request()

    def _check_request(self) -> None:
        """Refuse what no request could be made of."""
        for name, text in (("model", self.model), ("instructions", self.instructions)):
            if not isinstance(text, str) or not _is_text(text):
                raise ValueError(f"agent {self.name!r}: {name}= is {text!r:.60}, and no text that can be sent")
        if not self.model.strip():
            raise ValueError(f"agent {self.name!r}: model= is blank; name one, such as claude-sonnet-5-5")
        if self.instructions and not self.instructions.strip():
            raise ValueError(f"agent {self.name!r}: instructions= is blank; say something, or pass an empty text")
        most: object = self.max_tokens
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ValueError(f"agent {self.name!r}: max_tokens={most!r:.60} is no number of tokens, 1 or more")
        known = facts(self.model)
        if known.known and most > known.max_output:
            raise ValueError(
                f"agent {self.name!r}: max_tokens={most}, but {self.model} gives {known.max_output:,} at most"
            )

    def tool(self, name: str) -> Tool[..., Any] | None:
        """Return one of its tools."""
        return next((t for t in self.tools if t.name == name), None)

    def manifest(self) -> dict[str, Any]:
        """Return what a session freezes: the system prompt and the tools as the model sees them, sorted by name."""
        return {**self._manifest}

    # An agent is a value, so these are worked out once: every model step asks for them.

    @functools.cached_property
    def _manifest(self) -> dict[str, Any]:
        tools = sorted((t.definition() for t in self.tools), key=lambda t: str(t["name"]))
        return {"agent": self.name, "system": self.instructions, "tools": tools}

    @functools.cached_property
    def manifest_hash(self) -> str:
        """12 hex digits that change with the manifest."""
        return hashlib.sha256(to_json(self._manifest)).hexdigest()[:12]

    @functools.cached_property
    def policy_hash(self) -> str:
        """8 hex digits that change with what the workflow has to know of it."""
        return hashlib.sha256(to_json([self.inbox, self.deliver is not None])).hexdigest()[:8]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True
