"""Agents: what answers in a session.

Invariant: an agent is a value; nothing of a session lives in it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from inturn.keys import is_id
from inturn.tools import Tool, as_tool

MAX_APPROVAL_TIMEOUT: Final = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one turn may use; `None` is no bound. Checked before every model call.

    Attributes:
        steps: Model calls.
        tokens: Input (cached or not) and output tokens together.
        usd: Cost in US dollars, where the model tells it (`Usage.usd`). Claude and the scripted model do not, and no
            prices are built in: with them it bounds nothing, use `tokens`.
        approval_timeout: Seconds that a person has to answer a call that asks for approval; then it counts as denied.
        failures: Calls of one model step that may fail: at the last of them the step's other calls are cancelled, each
            with a result that says so (1 fails fast). `None`: all calls of a step are settled, whatever the others do.
    """

    steps: int | None = 50
    tokens: int | None = None
    usd: float | None = None
    approval_timeout: float = 24 * 3600.0
    failures: int | None = None

    def __post_init__(self) -> None:
        """Check what workflows will have to keep.

        Raises:
            ValueError: Nobody can wait for so long.
        """
        if not 0 < self.approval_timeout <= MAX_APPROVAL_TIMEOUT:
            raise ValueError(f"approval_timeout is {self.approval_timeout} s: more than 0, at most a year")


class InboxPolicy(BaseModel):
    """How a session's inbox behaves. Fields that this version does not know are kept. Times are in seconds.

    Example:
        >>> Agent("desk", model="claude-sonnet-5-5", instructions="Be brief.",
        ...       inbox=InboxPolicy(sequencing="sparse", rate=0.5, burst=3, expires_after=600))
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    capacity: int = Field(default=1_000, ge=1, le=2_000)
    """Events that may wait, queued and held."""
    capacity_bytes: int = Field(default=512 * 1024, ge=1, le=512 * 1024)
    """Bytes that may wait, as JSON: what continue-as-new has to carry."""
    source_quota: int | None = Field(default=None, ge=1)
    """Events of one source that may wait."""
    overflow: Literal["busy_reply", "reject"] = "busy_reply"
    """What becomes of a signal that finds no room: rejected with a `Notice` through `deliver`, or without."""
    expires_after: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How long an event may wait that says nothing itself."""
    rate: float | None = Field(default=None, gt=0, le=1_000, allow_inf_nan=False)
    """Turns per second that may start, in the long run."""
    burst: int = Field(default=1, ge=1, le=10_000)
    """Turns that may start at once after a quiet time."""
    sequencing: Literal["dense", "sparse"] = "dense"
    """What `sequence` means: numbers without holes, or growing ones with holes (chat timestamps)."""
    first_sequence: int | None = Field(default=0, ge=0)
    """A dense source's first number; `None`: whichever comes first. A source begins anew once 1,000 others came."""
    gap_timeout: float = Field(default=5.0, ge=0, le=3_600, allow_inf_nan=False)
    """How long a missing number is waited for."""
    on_gap: Literal["skip", "park"] = "skip"
    """Then: go on without it, or set aside what waited behind it."""
    reorder_window: float = Field(default=1.0, ge=0, le=3_600, allow_inf_nan=False)
    """How long an event of a sparse source waits for lower numbers."""
    hold_capacity: int = Field(default=100, ge=1, le=500)
    """Events that may be held for their sequence."""
    hold_overflow: Literal["reject", "release"] = "reject"
    """When as many are held: refuse the next one, or end the oldest wait early."""
    merge_limit: int = Field(default=20, ge=1, le=200)
    """Events that `when_busy="merge"` makes one turn of, or that steer a turn at one step (256 KiB of them at most)."""


@dataclass(frozen=True)
class Agent:
    """An agent: a model, its instructions and its tools.

    Attributes:
        name: What sessions call it.
        model: The model's name.
        instructions: The system prompt; frozen in a session when it starts.
        tools: Functions decorated with `@tool`, or plain ones.
        subagents: Agents it may delegate to.
        max_tokens: The most tokens of one answer.
        budget: The most one turn may use.
        inbox: How its sessions take events.
        deliver: A tool `(out, ctx)` that takes answers, approvals and notices out.
    """

    name: str
    model: str
    instructions: str
    tools: Sequence[Any] = ()
    subagents: Sequence[Agent] = ()
    max_tokens: int = 8192
    budget: Budget = field(default_factory=Budget)
    inbox: InboxPolicy = field(default_factory=InboxPolicy)
    deliver: Callable[..., Any] | None = None

    def __init__(
        self,
        name: str,
        *,
        model: str,
        instructions: str,
        tools: Sequence[Any] = (),
        subagents: Sequence[Agent] = (),
        max_tokens: int = 8192,
        budget: Budget | None = None,
        inbox: InboxPolicy | None = None,
        deliver: Callable[..., Any] | None = None,
    ) -> None:
        """Make an agent.

        Raises:
            ValueError: The name is no id, or two tools share a name.
        """
        if not is_id(name):
            raise ValueError(f"agent name {name!r} may hold letters, digits and ._:@+=- only, 1 to 128 of them")
        made = tuple(as_tool(t) for t in tools)
        names = [t.name for t in made]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"agent {name!r} has more than one tool named {', '.join(twice)}")
        values = {
            "name": name,
            "model": model,
            "instructions": instructions,
            "tools": made,
            "subagents": tuple(subagents),
            "max_tokens": max_tokens,
            "budget": budget or Budget(),
            "inbox": inbox or InboxPolicy(),
            "deliver": deliver,
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def tool(self, name: str) -> Tool[..., Any] | None:
        """Find one of its tools."""
        return next((t for t in self.tools if t.name == name), None)

    def manifest(self) -> dict[str, Any]:
        """Give what a session freezes: the system prompt and the tools as the model sees them, sorted by name."""
        return {**self._manifest}

    def manifest_hash(self) -> str:
        """Give 12 hex digits that change with the manifest."""
        return self._manifest_hash

    def policy_hash(self) -> str:
        """Give 8 hex digits that change with what the workflow has to know of it."""
        return self._policy_hash

    # An agent is a value, so these are worked out once: every model step asks for them.

    @functools.cached_property
    def _manifest(self) -> dict[str, Any]:
        tools = sorted((t.definition() for t in self.tools), key=lambda t: str(t["name"]))
        return {"agent": self.name, "system": self.instructions, "tools": tools}

    @functools.cached_property
    def _manifest_hash(self) -> str:
        return hashlib.sha256(to_json(self._manifest)).hexdigest()[:12]

    @functools.cached_property
    def _policy_hash(self) -> str:
        return hashlib.sha256(to_json([self.inbox, self.deliver is not None])).hexdigest()[:8]
