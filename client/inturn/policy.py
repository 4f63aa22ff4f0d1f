"""How a session's inbox behaves.

Invariant: pure, and what workflows import of an agent; workflow code never sees agent code.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Sequencing: TypeAlias = Literal["dense", "sparse"]
"""What an event's `sequence` means: numbers without holes, or growing ones with holes (chat timestamps)."""


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
    content_bytes: int = Field(default=64 * 1024 * 1024, ge=512 * 1024)
    """Bytes of large events that may wait, for which the journal keeps what they say (over 4 KiB each)."""
    source_quota: int | None = Field(default=None, ge=1)
    """Events of one source that may wait."""
    overflow: Literal["busy_reply", "reject"] = "busy_reply"
    """What becomes of a signal that finds no room: rejected with a `Notice` through `deliver`, or without."""
    expires_after: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How long an event may wait that says nothing itself."""
    rate: float | None = Field(default=None, ge=1e-6, le=1_000, allow_inf_nan=False)
    """Turns per second that may start, in the long run."""
    burst: int = Field(default=1, ge=1, le=10_000)
    """Turns that may start at once after a quiet time."""
    sequencing: Sequencing = "dense"
    """What `sequence` means where a source's events do not say it themselves."""
    first_sequence: int | None = Field(default=0, ge=0)
    """A dense source's first number; `None`: whichever comes first. A source begins anew once 1,000 others came."""
    gap_timeout: float = Field(default=5.0, ge=0, le=3_600, allow_inf_nan=False)
    """How long a missing number is waited for."""
    on_gap: Literal["skip", "park"] = "skip"
    """Then: go on without it, or set aside what waited behind it."""
    reorder_window: float = Field(default=1.0, ge=0, le=3_600, allow_inf_nan=False)
    """How long an event of a sparse source waits for lower numbers."""
    on_late: Literal["park", "accept"] = "park"
    """What comes after its place in its source's order has passed: set aside, or taken as if it had no `sequence`."""
    hold_capacity: int = Field(default=100, ge=1, le=500)
    """Events that may be held for their sequence."""
    hold_overflow: Literal["reject", "release"] = "reject"
    """When as many are held: refuse the next one, or end the oldest wait early."""
    merge_limit: int = Field(default=20, ge=1, le=200)
    """Events that `when_busy="merge"` makes one turn of, or that steer a turn at one step (256 KiB of them at most)."""
