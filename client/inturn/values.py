"""What users get back: frozen values.

Invariant: a value from a newer peer is never refused; fields that this version does not know are kept.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from inturn.amounts import nanos

Disposition = Literal[
    "applied", "merged", "cancelled", "expired", "rejected", "parked", "discarded", "pending", "running", "held"
]
StopReason = Literal["end_turn", "max_tokens", "refusal", "budget_reached", "interrupted", "unknown"]
ReceiptStatus = Literal["sent", "accepted", "held", "duplicate"]
SessionState = Literal["idle", "running", "requires_action", "paused", "closed"]
Health = Literal["ok", "no_worker", "task_failing", "account", "journal_behind", "content_lost", "ended"]


class Value(BaseModel):
    """Base of all values."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Receipt(Value):
    """The answer to a submitted event."""

    event_id: str
    status: ReceiptStatus
    position: int | None = None
    """Events ahead of it in the queue, where known."""
    disposition: Disposition | None = None
    """How a duplicate's original ended, or that it has not yet; where known."""


class Usage(Value):
    """What a turn used. `steps` counts model calls. Money is counted in whole nanodollars; `usd` is for people."""

    input_tokens: int = 0
    """Neither read from the cache nor written to it."""
    output_tokens: int = 0
    thinking_tokens: int = 0
    """Of the output, where the model tells."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Of those written, the ones that are kept for an hour."""
    cache_missed: int = 0
    """Prompts that should have been found in the cache, and were not."""
    searches: int = 0
    """Of the web, by the model's own tools."""
    usd_nanos: int = 0
    """What it cost, where that is known, in billionths of a US dollar."""
    failed_usd_nanos: int = 0
    """Of that, what gave no answer: attempts that failed, summaries of the conversation."""
    steps: int = 0

    @property
    def usd(self) -> float:
        """What it cost in US dollars, where that is known."""
        return self.usd_nanos / 1e9

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def cache_hit(self) -> float | None:
        """Which part of the prompts came from the cache; `None` where nothing was cached."""
        cached = self.cache_read_tokens + self.cache_write_tokens
        return self.cache_read_tokens / self.prompt_tokens if cached else None

    @model_serializer(mode="wrap")
    def _with_usd(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = written(self)
        return fields | {"usd": self.usd} if self.usd_nanos else fields

    @model_validator(mode="before")
    @classmethod
    def _without_usd(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "usd" not in given:
            return given
        fields: dict[str, Any] = {name: value for name, value in given.items() if name != "usd"}
        usd = given["usd"]
        known = isinstance(usd, int | float) and math.isfinite(usd)
        return ({"usd_nanos": nanos(usd)} if known else {}) | fields


class TurnToolCall(Value):
    """One tool call of a turn."""

    call_id: str
    tool: str
    args: dict[str, Any] | None = None
    status: str | None = None
    """`ok error unknown denied timeout cancelled interrupted`, where known."""
    result: str | None = None


class Turn(Value):
    """A turn that ran."""

    event_id: str
    text: str = ""
    stop_reason: StopReason = "end_turn"
    usage: Usage = Usage()
    tool_calls: tuple[TurnToolCall, ...] = ()
    output: Any = None
    """What was answered in the form of the agent's `output`, as JSON; `None` where it has none, or it did not fit."""
    seqs: tuple[int, int] | None = None
    """First and last seq of its entries in the journal."""
    disposition: Disposition = "applied"
    cache_hit: float | None = None
    """Which part of its prompts came from the cache; `None` where nothing was cached."""
    cache_missed: tuple[str, ...] = ()
    """Why prompts were not found in the cache that should have been, one for each."""
    truncated: bool = False
    """The text was cut at 4 KB, or is missing: the journal has all of it, and this client did not read that."""


class QueuedEvent(Value):
    """An event that waits."""

    event_id: str
    source: str = "client"
    sequence: int | None = None
    accepted_at: datetime | None = None
    preview: str = ""
    waiting_for: str | None = None
    """What a held event waits for: the missing numbers of its source, or lower ones."""
    until: datetime | None = None
    """When a held event goes on at the latest."""


class TurnProgress(Value):
    """What the running turn does."""

    event_id: str
    merged: tuple[str, ...] = ()
    """Events that joined it; they end with it."""
    step: int
    doing: str
    since: datetime | None = None
    attempt: int = 1
    waiting_for: str | None = None
    last_error: str | None = None


class Approval(Value):
    """A tool call that waits for a person's yes or no; or (`kind` budget) a turn that has used what it may."""

    kind: Literal["call", "budget"] = "call"

    approval_id: str
    call_id: str
    tool: str
    args: dict[str, Any] | None = None
    asked_at: datetime | None = None
    expires_at: datetime | None = None


class PendingApproval(Approval):
    """An approval in a listing over sessions."""

    tenant: str
    session_id: str


class UnknownOutcome(Value):
    """A tool call whose outcome is unknown: for an operator to find out and to settle."""

    key: str
    """The call's key, as the tool saw it in `ctx.key`."""
    event_id: str
    call_id: str
    tool: str
    args: dict[str, Any] | None = None
    status: str = "unknown"
    """The result that the model got: `unknown`, `timeout` or `interrupted`."""
    at: datetime | None = None
    late_status: str | None = None
    """How the call ended, where that came too late to count: `ok` or `error`."""
    late_result: str | None = None
    """The beginning of its late result."""


class Notice(Value):
    """News of events that were not answered: expired or rejected ones, coalesced per source."""

    kind: str
    source: str
    count: int
    event_ids: tuple[str, ...] = ()
    reason: str = ""


class SessionStatus(Value):
    """A session at a glance."""

    state: SessionState
    health: Health = "ok"
    source: Literal["live", "fallback"] = "live"
    agent: str | None = None
    turn: TurnProgress | None = None
    queue: tuple[QueuedEvent, ...] = ()
    held: tuple[QueuedEvent, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counts: dict[str, int] = {}
    """`accepted` and every disposition that occurred."""
    usage: Usage = Usage()
    limits: dict[str, Any] = {}
    """The agent's `InboxPolicy` as the session holds it, with what is used of it: `waiting`, `held`, `waiting_bytes`,
    `turn_seconds` (lately) and, with a rate, `next_turn_at` (seconds since 1970)."""
    runs: int = 1
    head: int = 0
    history_events: int = 0
    fault: str | None = None
    """The latest exception of inturn's own code in the session: what it struck is parked, and the session went on."""


class Entry(Value):
    """One entry of a session's journal.

    Attributes:
        key: Its own in the session, known before it is written: `{turn}/{step}` of an answer, for one.
    """

    seq: int
    type: str
    key: str | None = None
    event_id: str | None = None
    step: str | None = None
    at: datetime
    body: dict[str, Any]
    hash: str
    prev: str

    @property
    def text(self) -> str | None:
        """Its text, where it has any."""
        text = self.body.get("text", self.body.get("content"))
        if isinstance(text, list):
            text = "".join(b["text"] for b in text if isinstance(b, dict) and isinstance(b.get("text"), str)) or None
        return text if isinstance(text, str) else None


DeltaKind = Literal["start", "text", "thinking", "input", "compacting"]


class Delta(Value):
    """A piece of an answer as the model gives it: a preview, which the `agent.message` entry of its attempt ends.

    Attributes:
        attempt: The attempt that says it: a higher one replaces all that lower ones said and no entry holds.
        index: Its place in the attempt. The first, of kind `start`, has no text: whoever shows the others begins anew.
        kind: Of an `input` the first piece is the tool's name, the rest its arguments as JSON; `compacting` says that
            the conversation is summarised first.
        block: The number of its content block in the answer.
    """

    event_id: str
    step: str
    attempt: int
    index: int
    kind: DeltaKind = "text"
    block: int = 0
    text: str = ""


class Parked(Value):
    """An event set aside with its error."""

    event_id: str
    error: str
    attempts: int = 0
    at: datetime | None = None
    preview: str = ""


class Audit(Value):
    """Conservation: the carried counts against the journal's."""

    ok: bool
    accepted: int
    counts: dict[str, int]
    differences: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """Runs that a deep audit could not read: the server keeps histories only so long."""
    unknown: tuple[UnknownOutcome, ...] = ()
    """Calls that somebody should look into: no event is lost by them, so `ok` does not count them."""
    pruned: int = 0
    """The entries up to this one were pruned: how their events ended is counted, and compared with nothing."""


class SessionInfo(Value):
    """A session in a listing."""

    session_id: str
    tenant: str
    agent: str | None = None
    state: str | None = None
    parked: int = 0
    started_at: datetime | None = None
    closed_at: datetime | None = None
    active_at: datetime | None = None
    """When its last entry was written, where the client reads the journal."""


class SessionGlance(Value):
    """Where a session's log stands, for who watches many.

    Attributes:
        head: The seq of its last entry.
        type: That entry's.
        event_id: The event that it is about, if any.
        at: When it was written.
        open: A turn of it has begun and not ended, as far as that entry tells.
        parked: Its parked events.
        closed: It was closed.
    """

    session_id: str
    head: int
    type: str
    event_id: str | None = None
    at: datetime
    open: bool = False
    parked: int = 0
    closed: bool = False


class Versioned(Value):
    """A value at a version. Each change of a name counts its version up by one, also across a deletion."""

    value: Any
    version: int


class DocumentInfo(Value):
    """A document that a tenant's agents remember, without what it says.

    Attributes:
        version: Each change counts it up by one, also across a removal.
        size: Bytes of its text.
        at: When it was written.
    """

    name: str
    version: int
    size: int
    at: datetime


class Document(DocumentInfo):
    """A document that a tenant's agents remember."""

    text: str


class QueueClaim(Value):
    """An item that is yours until `until`, unless you complete or release it before.

    Attributes:
        queue: Its queue.
        item: What was pushed.
        claims: How often it was claimed by now: more than 1 means that earlier claimers gave it back or died.
        until: When others may claim it, by the journal's clock: leave a margin where your own may differ.
        seq: Its place in the queue.
        token: Names this claim.
    """

    queue: str
    item: Any
    claims: int
    until: datetime
    seq: int
    token: str
