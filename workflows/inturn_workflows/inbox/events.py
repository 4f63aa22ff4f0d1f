"""What stands in an inbox, what comes in, and what an arrival is answered.

Invariant: these are plain values; what continue-as-new carries keeps the fields of a newer version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field

from inturn import sizes
from inturn.events import ClaimedEvent, Event, preview
from inturn.policy import Sequencing
from inturn.wire import Message

_QUEUED: Final = 128
_STEERING: Final = sizes.QUEUED - 128
"""Bytes that `Queued` writes beside an event and its id, with every field set; one that steers names a turn."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that came in and has its id: read and dumped once, however it came."""

    event: Event | ClaimedEvent
    wire: dict[str, Any]
    size: int
    """Bytes as JSON, as continue-as-new writes it with what is noted of it: what came may be shorter."""

    @classmethod
    def of(cls, event: Event | ClaimedEvent) -> Self:
        """Return the arrival of a valid event."""
        wire = event.wire()
        noted = len(event.event_id or "") + (_STEERING if event.when_busy == "steer" else _QUEUED)
        return cls(event, wire, sizes.written(wire) + noted)

    @property
    def event_id(self) -> str:
        """The event's id."""
        assert self.event.event_id is not None, "Inbox.identify() comes first"
        return self.event.event_id

    @property
    def ids(self) -> tuple[str, ...]:
        """All that it may be known by, its own first."""
        return (self.event_id, *self.aliases)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other ids, each once."""
        return tuple(dict.fromkeys(alias for alias in self.event.aliases if alias != self.event.event_id))

    @property
    def referred(self) -> int:
        """Bytes that it refers to, in the journal."""
        return _referred(self.wire)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to an admitted event."""

    event_id: str
    status: Literal["accepted", "held", "duplicate"]
    position: int | None = None
    disposition: str | None = None

    def wire(self) -> dict[str, Any]:
        """Return the JSON object, without what says nothing."""
        pairs = (("position", self.position), ("disposition", self.disposition))
        return {"event_id": self.event_id, "status": self.status, **{k: v for k, v in pairs if v is not None}}


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of an arrival, and what it asks of the session."""

    receipt: Receipt
    interrupts: str | None = None
    """The event that is to stop the running turn: this one, or one that it let go."""

    @property
    def held(self) -> bool:
        """Whether the event waits for others of its source."""
        return self.receipt.status == "held"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is not accepted; `retry_after` in seconds."""

    type: str
    message: str
    retry_after: float | None = None
    behind_a_gap: bool = False
    """Only held events are in its way: nothing else ends before their gap does."""


class Queued(Message):
    """An accepted event that waits. `event` is empty for a redriven one: the journal holds it.

    In the hold buffer an empty one keeps the place of an event that was cancelled there: its number is no gap.
    """

    turn: str = ""
    n: int = 0
    at: float = 0.0
    event: dict[str, Any] = Field(default_factory=dict[str, Any])
    size: int = 0
    inline: bool = False
    place: tuple[str, int] | None = None
    """The source and sequence whose place an empty one keeps."""
    again: bool = False
    """An earlier run, ended from outside, had accepted it."""
    joins: bool = False
    """It is part of the turn of the event before it."""
    steers: str | None = None
    """The turn that it is to join at its next step boundary."""

    @property
    def event_id(self) -> str:
        """The event's id, whichever time it is driven."""
        return self.turn.partition("~")[0]

    @property
    def preview(self) -> str:
        """The start of its text, for people."""
        text = preview(self.event["content"]) if "content" in self.event else str(self.event.get("preview", ""))
        return sizes.clip(text, sizes.PREVIEW)

    @property
    def noted(self) -> dict[str, str]:
        """What is noted of it in a turn that it joins."""
        return {"source": self.source, "preview": sizes.clip(self.preview, sizes.NOTED), "n": str(self.n)}

    @property
    def referred(self) -> int:
        """Bytes that it refers to, in the journal."""
        return _referred(self.event)

    @property
    def source(self) -> str:
        """Where it came from."""
        return self.place[0] if self.place else str(self.event.get("source", "client"))

    @property
    def mode(self) -> str:
        """Its `when_busy`."""
        return str(self.event.get("when_busy", "queue"))

    @property
    def sequence(self) -> int:
        """Its number in its source, 0 where it has none."""
        return self.place[1] if self.place else int(self.event.get("sequence") or 0)

    @property
    def sequencing(self) -> Sequencing | None:
        """What it says of its source's numbers."""
        said = self.event.get("sequencing")
        return said if said in get_args(Sequencing) else None

    @property
    def aliases(self) -> list[str]:
        """Its other ids."""
        return list(self.event.get("aliases") or ())

    @property
    def numbered(self) -> bool:
        """Whether it keeps to the order of its source; a redriven one does no longer."""
        return "sequence" in self.event

    def expired(self, now: float, default: float | None) -> bool:
        """Return whether it waited longer than its own limit, else the policy's; a redriven one never did."""
        if "~" in self.turn:
            return False
        limit = self.event.get("expires_after", default if self.event else None)
        return limit is not None and now > self.event.get("sent_at", self.at) + limit

    def interrupts(self, now: float, default: float | None) -> bool:
        """Return whether it is to stop the running turn: one that had expired when it came is not."""
        return self.mode == "interrupt" and not self.expired(now, default)


def bytes_of(*events: Queued) -> int:
    """Return the bytes that events bring to a turn: what they carry, and what they refer to."""
    return sum(queued.size + queued.referred for queued in events)


def note_size(queued: Queued) -> int:
    """Return the bytes of what is noted of an event in a turn that it joins, under its id."""
    return len(queued.event_id) + 4 + sizes.written(queued.noted)


def _referred(event: dict[str, Any]) -> int:
    return int(event["claim"]["size"]) if "claim" in event and "content" not in event else 0


class ParkedEvent(Message):
    """An event (or a delivery) set aside. The payload lives in the journal."""

    turn: str
    n: int = 0
    error: str = ""
    attempts: int = 0
    at: float = 0.0
    preview: str = ""
    effects: bool = False
    """A tool ran in its turn."""
    lost: bool = False
    """What it says is not in the journal: the same sent again makes it whole."""
    valid: bool = True
    delivery: str | None = None
    """Only the delivery failed: the step that did."""
    message: dict[str, Any] = Field(default_factory=dict[str, Any])
    """What was to be delivered."""

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self.turn.partition("~")[0] or self.turn  # a notice's turn has no event

    @property
    def next_turn(self) -> str:
        """The turn it has when it is driven again."""
        return f"{self.event_id}~{int(self.turn.partition('~')[2] or 0) + 1}"
