"""The event: what a producer sends, and the rules it must keep.

Invariant: whatever passes `Event` fits the inbox, the journal and the model; whatever does not is refused with the
rule it broke. The same checks run at the client (before the send) and in the session (other SDKs send too).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import to_json

from inturn import sizes
from inturn.errors import InvalidEvent
from inturn.keys import ID_PATTERN
from inturn.policy import Sequencing
from inturn.turns.blocks import misnames, names_file

MAX_CONTENT_BYTES: Final = sizes.CONTENT
"""Content of one event as JSON, in bytes."""
MAX_METADATA_BYTES: Final = sizes.METADATA
MAX_NESTING: Final = 100
"""Lists and objects within each other. JSON readers stop at 200, and a session carries its events inside others."""
MAX_ALIASES: Final = 4
"""Other ids of one event: each takes a place in the session's memory."""
MAX_BITS: Final = 14_000
"""Of a whole number: readers of JSON stop at 4,300 digits."""
PREVIEW_CHARACTERS: Final = 80
LATEST_TIME: Final = 32_503_680_000
"""The year 3000, in seconds since 1970. What is beyond was meant otherwise: milliseconds would never expire."""

WhenBusy = Literal["queue", "reject", "interrupt", "steer", "merge"]
Block = dict[str, Any]
Content = str | list[Block]
SAID: Final = (
    "event_id",
    "aliases",
    "content",
    "claim",
    "preview",
    "source",
    "sender",
    "sent_at",
    "metadata",
    "agent",
    "model",
    "trace",
)
"""What an event needs for its turn that comes again, or late: its place in the order has passed."""
_BLOCK_TYPES: Final = ("text", "image", "document")
_Id = rf"^{ID_PATTERN}$"


class EventOptions(TypedDict, total=False):
    """What `send`, `submit` and `ask` take beside the content; each is optional."""

    event_id: str | None
    """Unique in its session: the same id twice is one turn. Unset, one is made: of source, sender, content and
    `sent_at` where that is given (the same thing sent twice is one event then), else at random."""
    aliases: Sequence[str]
    """At most 4 other ids under which the same thing may come again: an event that is known under any of its ids is a
    duplicate."""
    source: str
    """Where it comes from; `client` by default. An id, as `event_id`: `[A-Za-z0-9._:@+=-]{1,128}`."""
    sequence: int | None
    """Its number in its source, from 0: events of a source are taken in this order, and gaps are waited for. Unset, the
    order of acceptance."""
    sequencing: Sequencing | None
    """What its source's numbers are: `dense` (without holes) or `sparse` (growing, such as times). Unset, as the
    agent's `InboxPolicy` has it."""
    sender: str | None
    """Who wrote it, for the model and the journal; at most 256 characters."""
    sent_at: float | datetime | None
    """When: seconds since 1970, or an aware datetime. Unset, the time of acceptance counts."""
    when_busy: WhenBusy
    """What it does while a turn runs: `queue` (the default; first in, first out), `reject` (refused while anything runs
    or waits), `interrupt` (stops the running turn, and is next), `steer` (joins the running turn at its next step) or
    `merge` (joins the last event that waits, if that is a `merge` one of the same source). With a `sequence`, one that
    interrupts or steers does so once the lower numbers have come, and stays behind those of its source that still wait.
    """
    expires_after: float | None
    """Seconds from `sent_at` (else from acceptance) after which no turn may begin for it any more. Unset, as the
    agent's `InboxPolicy` has it."""
    model: str | None
    """The model that is to answer it, of those that the agent has (`Agent(models=…)`); unset, the agent's own. Events
    that join a turn are answered by its model."""
    metadata: dict[str, Any] | None
    """A JSON object that tools find in `ctx.event.metadata`; at most 16 KiB."""


class Envelope(BaseModel):
    """What every event has beside what it says: whose it is, its place in the order, how it is to be taken."""

    model_config = ConfigDict(frozen=True, extra="allow")

    event_id: str | None = Field(default=None, pattern=_Id)
    aliases: tuple[Annotated[str, Field(pattern=_Id)], ...] = ()
    source: str = Field(default="client", pattern=_Id)
    sequence: int | None = Field(default=None, ge=0, lt=2**63)
    sequencing: Sequencing | None = None
    sender: str | None = Field(default=None, max_length=256)
    sent_at: float | None = Field(default=None, ge=0, lt=LATEST_TIME, allow_inf_nan=False)
    """Seconds since 1970."""
    when_busy: WhenBusy = "queue"
    expires_after: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds from `sent_at`, else from acceptance."""
    agent: str | None = Field(default=None, pattern=_Id)
    model: str | None = Field(default=None, min_length=1, max_length=200)
    trace: str | None = Field(default=None, max_length=128)
    """The producer's W3C `traceparent`."""

    @field_validator("sent_at", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("a datetime must be aware (have a time zone)")
            return value.timestamp()
        if isinstance(value, int | float) and value >= LATEST_TIME:
            raise ValueError("it is in seconds since 1970, and this is beyond the year 3000 (milliseconds?)")
        return value

    @field_validator("aliases", mode="before")
    @classmethod
    def _not_many(cls, value: object) -> object:
        if isinstance(value, list | tuple) and len(value) > MAX_ALIASES:
            raise ValueError(f"{len(value):,} aliases, the limit is {MAX_ALIASES}")
        return value

    @field_validator("content", mode="before", check_fields=False)
    @classmethod
    def _few(cls, value: object) -> object:
        """Look at no more than an event may have: each of a million wrong ones would be explained."""
        if isinstance(value, list) and len(value) > sizes.BLOCKS:
            raise ValueError(f"{len(value):,} content blocks, the limit is {sizes.BLOCKS:,}")
        return value

    @field_validator("sender", "model", "trace", "content", "preview", check_fields=False)
    @classmethod
    def _unicode(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:  # JSON can spell half a surrogate pair; no one can store it
                raise ValueError("the text is not valid Unicode") from None
        return value

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that travels: without fields that say nothing."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Event(Envelope):
    """One thing a producer sent: the JSON object of `submit`; `EventOptions` says what its fields mean."""

    content: Content
    metadata: dict[str, Any] | None = None

    @field_validator("content")
    @classmethod
    def _blocks(cls, value: Content) -> Content:
        if not value:
            raise ValueError("content is empty")
        if isinstance(value, list):
            for block in value:
                if block.get("type") not in _BLOCK_TYPES:
                    raise ValueError(f"a content block's type must be one of {', '.join(_BLOCK_TYPES)}")
            if any(map(names_file, value)):
                raise ValueError("a file id may be any tenant's: send the file's content (base64, text) or its URL")
            if any(map(misnames, value)):
                raise ValueError("a reference is sha256:… with 64 hex digits, as Client.upload returns it")
        return value

    @model_validator(mode="after")
    def _sizes(self) -> Event:
        # A character is at least one byte: most events never pay for the encoding.
        if not (isinstance(self.content, str) and len(self.content) * 12 <= MAX_CONTENT_BYTES):
            _bounded("content", self.content, MAX_CONTENT_BYTES)
        if self.metadata:
            _bounded("metadata", self.metadata, MAX_METADATA_BYTES)
        if self.model_extra:  # of a newer peer
            _bounded("unknown fields", self.model_extra, MAX_METADATA_BYTES)
        _shallow(self.content, self.metadata, self.model_extra)
        return self

    @property
    def preview(self) -> str:
        """The start of its text, for people."""
        return preview(self.content)


class ContentClaim(BaseModel):
    """Where the content of a large event is: in the journal, under the event and this hash."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0, le=sizes.WHOLE)
    """What it has in bytes, as its sender says; where it is read, another size is a false one."""
    gen: int = Field(default=0, ge=0, lt=2**63)
    """Counts the times that it was put: a rejection takes only what came before it."""
    journal: str = Field(pattern=_Id)
    """The journal that has it."""


class ClaimedEvent(Envelope):
    """An event that travels without what it says: the journal has that (claim check)."""

    claim: ContentClaim
    preview: str = Field(default="", max_length=PREVIEW_CHARACTERS)
    """The start of its text, for people."""
    metadata: dict[str, Any] | None = None
    """Where it is small enough to be an address to answer to."""

    @model_validator(mode="after")
    def _sizes(self) -> ClaimedEvent:
        if self.event_id is None:
            raise ValueError("an event without its content needs an event_id")
        _bounded("the event without its content", self.wire(), sizes.INLINE)
        _shallow(self.metadata, self.model_extra)
        return self


def split(event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a large event in two: what travels, to which the claim is added, and what the journal keeps.

    The second is the same whoever sends it again, so that its hash is.
    """
    travels, kept = event.wire(), dict[str, Any]()
    small = {"sender": sizes.SENDER, "metadata": sizes.ADDRESS}
    for name in list(travels):
        if name not in Envelope.model_fields | small or sizes.written(travels[name]) > small.get(name, sizes.INLINE):
            kept[name] = travels.pop(name)
    return travels | {"preview": event.preview}, kept


def make_event(**fields: Any) -> Event:
    """Return a checked event.

    Raises:
        InvalidEvent: A field breaks its rule; the message says which and why.
    """
    try:
        return Event(**fields)
    except (ValidationError, ValueError) as error:
        raise InvalidEvent(f"invalid event: {explain(error)}") from error


def explain(error: Exception) -> str:
    """Return in one line what is wrong, without echoing the input (it may be large or secret)."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:3]
        )
    return str(error)[:300]


def derived_id(event: Event, counter: int, chain: str = "") -> str:
    """Return an id for an event that has none, which its retries share.

    With `sent_at` the same thing sent twice matches; without it only the carried counter keeps two equal messages
    apart, so nothing is taken for a retry that may be a second "yes". It begins anew after a termination: there the
    `chain` of runs tells them apart, which a reset keeps. Never random: a replay must find the same.
    """
    digest = hashlib.blake2b((chain if event.sent_at is None else "").encode(), digest_size=12)
    for part in (event.source, event.sender, event.sent_at, event.content):
        digest.update(to_json(part))
        digest.update(b"\0")
    if event.sent_at is not None:
        return f"auto:{digest.hexdigest()}"
    return f"auto:{counter}:{digest.hexdigest()}"


def preview(content: Content, limit: int = PREVIEW_CHARACTERS) -> str:
    """Return the first characters of the text in a content, on one line."""
    if isinstance(content, str):
        text = content[: limit * 2]
    else:
        text = " ".join(str(b.get("text", f"[{b.get('type')}]"))[: limit * 2] for b in content[:4])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _bounded(name: str, value: object, limit: int) -> None:
    size = sizes.written(value)
    if size > limit:
        raise ValueError(f"{name} has {size:,} bytes as JSON, the limit is {limit:,}")


def _shallow(*values: object) -> None:
    if any(_nests(value, MAX_NESTING) for value in values):
        raise ValueError(f"more than {MAX_NESTING} lists and objects within each other")
    if not all(map(_finite, values)):
        raise ValueError("a number is infinite, none, or has thousands of digits: no reader of JSON takes it")


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= MAX_BITS
    if not isinstance(value, dict | list):
        return True
    return all(map(_finite, value.values() if isinstance(value, dict) else value))


def _nests(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_nests(item, depth - 1) for item in inside)
