"""The inbox: what a session has accepted and not yet processed. Pure: no clock, no I/O, no randomness.

Rules:
  1. Every accepted event stands in exactly one place: `pending` (queued), `running`, or a final disposition;
     `accepted` is always the sum of them.
  2. `take` gives events in the order of acceptance. `when_busy="interrupt"` alone goes to the front.
  3. An id is accepted once while the window remembers it; a refused or rejected id is not remembered.
  4. Nothing grows without bound: the queue by events and bytes, parked events and unwritten decisions by number.

Time is an argument (seconds since 1970). What the journal must learn is appended to `decisions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from activities.messages import Decision
from inturn import names
from inturn.agents import InboxPolicy
from inturn.events import Event, derived_id, preview
from workflows.window import Window

MAX_PARKED: Final = 100
MAX_DECISIONS: Final = 500
MAX_ADDRESS: Final = 160
"""Characters of an event's metadata that a notice about it takes along."""
INTERRUPTED: Final = "interrupted"
"""How the window remembers a cancelled event whose turn ran: there is a turn to show."""
UNSERVED: Final = {"steer", "merge"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to an admitted event."""

    event_id: str
    status: Literal["accepted", "held", "duplicate"]
    position: int | None = None
    disposition: str | None = None

    def wire(self) -> dict[str, Any]:
        """Give the JSON object, without what says nothing."""
        pairs = (("position", self.position), ("disposition", self.disposition))
        return {"event_id": self.event_id, "status": self.status, **{k: v for k, v in pairs if v is not None}}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is not accepted; `retry_after` in seconds."""

    type: str
    message: str
    retry_after: float | None = None


class Queued(BaseModel):
    """An accepted event that waits. `event` is empty for a redriven one: the journal holds it."""

    model_config = ConfigDict(extra="allow")

    turn: str
    n: int
    at: float
    event: dict[str, Any] = {}
    size: int = 0
    inline: bool = False

    @property
    def event_id(self) -> str:
        """The event's id, whichever time it is driven."""
        return self.turn.partition("~")[0]

    @property
    def preview(self) -> str:
        """The start of its text, for people."""
        return preview(self.event["content"]) if "content" in self.event else ""


class ParkedEvent(BaseModel):
    """An event (or a delivery) set aside. The payload lives in the journal."""

    model_config = ConfigDict(extra="allow")

    turn: str
    n: int = 0
    error: str = ""
    attempts: int = 0
    at: float = 0.0
    preview: str = ""
    effects: bool = False
    """A tool ran in its turn."""
    valid: bool = True
    delivery: str | None = None
    """Only the delivery failed: the step that did."""
    message: dict[str, Any] = {}
    """What was to be delivered."""

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self.turn.partition("~")[0] or self.turn  # a notice's turn has no event

    @property
    def next_turn(self) -> str:
        """The turn it has when it is driven again."""
        return f"{self.event_id}~{int(self.turn.partition('~')[2] or 0) + 1}"


class Inbox(BaseModel):
    """The queue and its books; carried whole by continue-as-new."""

    model_config = ConfigDict(extra="allow")

    window: Window
    accepted: int = 0
    queue: list[Queued] = []
    queued_bytes: int = 0
    counts: dict[str, int] = {}
    """Events by final disposition."""
    parked: list[ParkedEvent] = []
    decisions: list[Decision] = []
    overflowed: dict[str, int] = {}
    """Decisions beyond `MAX_DECISIONS`, counted by type and error."""
    unwritten: int = 0
    """How many decisions were only counted, ever."""

    # Accepting.

    def identify(self, event: Event) -> Event:
        """Give the event its id, derived where it has none."""
        if event.event_id is not None:
            return event
        return event.model_copy(update={"event_id": derived_id(event, self.accepted)})

    def check(self, event: Event, size: int, policy: InboxPolicy, *, busy: bool) -> Refusal | None:
        """Tell why an event would be refused; a duplicate never is. Changes nothing."""
        if event.event_id is not None and event.event_id in self.window:
            return None
        if event.when_busy in UNSERVED or event.sequence is not None:
            what = "sequence" if event.sequence is not None else f"when_busy={event.when_busy!r}"
            return Refusal(names.INVALID_EVENT, f"{what} is not served by this version's inbox; use when_busy='queue'")
        if event.when_busy == "reject" and (busy or self.queue):
            return Refusal(names.SESSION_BUSY, "the session is busy and the event asked to be refused then", 1.0)
        if size > policy.capacity_bytes:
            message = f"the event has {size:,} bytes, the inbox takes {policy.capacity_bytes:,} in all"
            return Refusal(names.INVALID_EVENT, message)
        if len(self.queue) >= policy.capacity or self.queued_bytes + size > policy.capacity_bytes:
            waiting = f"{len(self.queue)} events, {self.queued_bytes:,} bytes wait"
            return Refusal(names.BACKPRESSURE, f"the inbox is full: {waiting}", self.patience())
        return None

    def admit(self, event: Event, size: int, now: float, *, inline: bool = False) -> Receipt:
        """Accept a checked event that has its id."""
        event_id = event.event_id
        assert event_id is not None, "identify() comes first"
        if event_id in self.window:
            return self.duplicate(event_id)
        self.accepted += 1
        self.window.add(event_id, "pending")
        queued = Queued(turn=event_id, n=self.accepted, at=now, event=event.wire(), size=size, inline=inline)
        at = 0 if event.when_busy == "interrupt" else len(self.queue)
        self.queue.insert(at, queued)
        self.queued_bytes += size
        return Receipt(event_id, "accepted", position=at)

    def reject(self, event: Event, refusal: Refusal, now: float) -> None:
        """Book an event that came where it could not be refused (a signal). Its id may come again."""
        told = {"source": event.source, "preview": event.preview, **_address(event.metadata)}
        self._reject(str(event.event_id), refusal, now, told)

    def park_invalid(self, event_id: str, error: str, now: float, preview: str = "") -> Receipt:
        """Book something that is no event: it waits as parked, with its error."""
        if event_id in self.window:
            return self.duplicate(event_id)
        if len(self.decisions) >= MAX_DECISIONS:  # a flood: nobody could be told of each
            self._reject(event_id, Refusal(names.INVALID_EVENT, error), now, {"preview": preview})
            return Receipt(event_id, "accepted", disposition="rejected")
        self.accepted += 1
        self.window.add(event_id, "parked")
        parked = ParkedEvent(turn=event_id, n=self.accepted, error=error, at=now, preview=preview, valid=False)
        self._park(parked)
        self._count("parked")
        body = {"error": error, "preview": preview, "attempts": 0, "turn": event_id}
        self._decide("event.parked", event_id, f"{event_id}/parked", now, body, "parked")
        return Receipt(event_id, "accepted", disposition="parked")

    def duplicate(self, event_id: str) -> Receipt:
        """Give the receipt of an id that is known."""
        for position, queued in enumerate(self.queue):
            if queued.event_id == event_id:
                return Receipt(event_id, "duplicate", position=position, disposition="pending")
        standing = self.window.standing(event_id)
        return Receipt(event_id, "duplicate", disposition="cancelled" if standing == INTERRUPTED else standing)

    def want_inline(self, event_id: str, *, inline: bool) -> None:
        """Note that somebody waits for a queued event who cannot read the journal."""
        for queued in self.queue:
            if inline and queued.event_id == event_id:
                queued.inline = True

    # Processing.

    def take(self, now: float) -> Queued | None:
        """Take the next event out; expired ones on the way are booked."""
        while self.queue:
            queued = self.queue.pop(0)
            self.queued_bytes -= queued.size
            if not _expired(queued, now):
                self.window.note(queued.event_id, "running")
                return queued
            self._end(queued, "expired", now, {"reason": "it waited longer than its expires_after"})
        return None

    def finish(self, event_id: str, disposition: str) -> None:
        """Book how the running event ended; the journal knows already, or gets its decision from the caller."""
        self._count(disposition)
        self.window.note(event_id, disposition)

    def repeat(self, event_id: str, disposition: str) -> None:
        """Book a duplicate that the window did not know: its event was counted when it came first."""
        self._count("repeated")
        self.window.note(event_id, disposition)

    def park(self, parked: ParkedEvent) -> None:
        """Set the running event aside."""
        self.finish(parked.event_id, "parked")
        self._park(parked)

    def park_delivery(self, parked: ParkedEvent, now: float) -> None:
        """Set a delivery aside: the event itself has ended otherwise."""
        self._park(parked)
        body = {"error": parked.error, "delivery": parked.delivery, "turn": parked.turn}
        self._decide("event.parked", parked.turn, f"{parked.turn}/{parked.delivery}/parked", now, body)

    def cancel(self, event_id: str, now: float, reason: str | None) -> bool:
        """Take a queued event out."""
        for index, queued in enumerate(self.queue):
            if queued.event_id == event_id:
                del self.queue[index]
                self.queued_bytes -= queued.size
                self._end(queued, "cancelled", now, {"reason": reason or "cancelled while it waited"})
                return True
        return False

    def clear(self, disposition: Literal["cancelled", "parked", "rejected"], now: float, reason: str) -> list[str]:
        """End everything that waits; gives the ids."""
        cleared = self.queue
        self.queue, self.queued_bytes = [], 0
        for queued in cleared:
            if disposition == "parked":
                self._park(ParkedEvent(turn=queued.turn, n=queued.n, error=reason, at=now, preview=queued.preview))
                body = {"error": reason, "event": queued.event, "preview": queued.preview, "turn": queued.turn}
                self._end(queued, "parked", now, body)
            else:
                self._end(queued, disposition, now, {"reason": reason})
        return [queued.event_id for queued in cleared]

    def redrive(self, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        """Put a parked event into the queue again, under a turn of its own; a parked delivery is given back alone."""
        parked = self._parked(event_id)
        if parked is None:
            return Refusal(names.INVALID_EVENT, f"event {event_id} is not parked here")
        if not parked.valid:
            return Refusal(
                names.INVALID_EVENT, f"event {event_id} was never valid ({parked.error}); it can only be discarded"
            )
        if parked.effects and not force and parked.delivery is None:
            return Refusal(
                names.INVALID_EVENT, f"event {event_id} had effects before it failed; redrive needs force=True"
            )
        self.parked.remove(parked)
        if parked.delivery is None:
            self.counts["parked"] -= 1
            self.queue.append(Queued(turn=parked.next_turn, n=parked.n, at=now))
            self.window.note(event_id, "pending")
        return parked

    def discard(self, event_id: str, now: float, reason: str | None = None) -> Refusal | None:
        """Give a parked event (or delivery) up."""
        parked = self._parked(event_id)
        if parked is None:
            return Refusal(names.INVALID_EVENT, f"event {event_id} is not parked here")
        self.parked.remove(parked)
        if parked.delivery is None:
            self.counts["parked"] -= 1
            self._count("discarded")
            self.window.note(event_id, "discarded")
            body = {"reason": reason or "discarded", "turn": parked.turn}
            self._decide("event.cancelled", parked.turn, f"{parked.turn}/discarded", now, body, "discarded")
        return None

    # The books.

    def drain_decisions(self, now: float) -> list[Decision]:
        """Take what the journal must learn, in order."""
        drained, self.decisions = self.decisions, []
        for kind, count in self.overflowed.items():
            type_, _, reason = kind.partition(" ")
            body = {"reason": reason, "count": count}
            drained.append(Decision(type=type_, key=f"{kind}/{self.unwritten}@{now:.3f}", body=body, at=now))
        self.overflowed = {}
        return drained

    def book(self, *, running: bool) -> dict[str, int]:
        """Give the counts: `accepted` and every disposition that occurs."""
        open_ = {"pending": len(self.queue), "running": int(running)}
        return {"accepted": self.accepted, **{k: v for k, v in (self.counts | open_).items() if v}}

    def patience(self) -> float:
        """Seconds until a place is probably free: a tenth of the queue at one event per second, within a minute."""
        return min(60.0, max(1.0, len(self.queue) / 10))

    def _parked(self, event_id: str) -> ParkedEvent | None:
        return next((p for p in reversed(self.parked) if p.event_id == event_id), None)

    def _park(self, parked: ParkedEvent) -> None:
        self.parked.append(parked)
        del self.parked[:-MAX_PARKED]

    def _end(self, queued: Queued, disposition: str, now: float, body: dict[str, Any]) -> None:
        self.finish(queued.event_id, disposition)
        if disposition == "rejected":
            self.window.forget(queued.event_id)
        source = queued.event.get("source", "client")
        told = {"preview": queued.preview, "source": source}
        if disposition in ("expired", "rejected"):
            told |= _address(queued.event.get("metadata"))
        body = told | body
        kind = {"parked": "parked", "rejected": f"rejected/{queued.n}"}.get(disposition, "disposition")
        key = f"{queued.turn}/{kind}"
        outcome = None if disposition == "rejected" else disposition  # a rejected id may come again: it has no outcome
        self._decide(f"event.{disposition}", queued.turn, key, now, body, outcome)

    def _reject(self, event_id: str, refusal: Refusal, now: float, told: dict[str, Any]) -> None:
        self.accepted += 1
        self._count("rejected")
        body = {"reason": refusal.message, "error": refusal.type, **told}
        self._decide("event.rejected", event_id, f"{event_id}/rejected/{self.accepted}", now, body)

    def _count(self, disposition: str) -> None:
        self.counts[disposition] = self.counts.get(disposition, 0) + 1

    def _decide(
        self, type_: str, turn: str, key: str, now: float, body: dict[str, Any], disposition: str | None = None
    ) -> None:
        # A parked one may hold the only content; and no more are discarded than were parked.
        must_tell = type_ == "event.parked" or disposition == "discarded"
        if len(self.decisions) >= MAX_DECISIONS and not must_tell:
            kind = f"{type_} {body.get('error') or disposition or 'closed'}"
            self.overflowed[kind] = self.overflowed.get(kind, 0) + 1
            self.unwritten += 1
            return
        self.decisions.append(Decision(type=type_, turn=turn, key=key, disposition=disposition, body=body, at=now))


def _expired(queued: Queued, now: float) -> bool:
    limit = queued.event.get("expires_after")
    return limit is not None and now > queued.event.get("sent_at", queued.at) + limit


def _address(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Keep where a busy answer goes to, where that is small: decisions are carried by continue-as-new."""
    return {"metadata": metadata} if metadata and len(str(metadata)) <= MAX_ADDRESS else {}
