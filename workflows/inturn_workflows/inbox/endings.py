"""How events end: what the books count, what the window remembers, what is parked, what the journal must learn.

Invariant: an end is booked once and in all of them; what a flood of ends leaves behind is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inturn import names, sizes
from inturn.policy import InboxPolicy
from inturn.signals import Signal
from inturn_activities.messages import Decision, Ended
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import ParkedEvent, Queued, Refusal
from inturn_workflows.inbox.parked import DeadLetters


@dataclass(frozen=True, slots=True)
class Endings:
    """The ends of an inbox's events."""

    books: Books
    dedup: DedupWindow
    parked: DeadLetters

    def finish(self, event_id: str, disposition: str) -> None:
        """Book an end that the journal knows already, or learns of from the caller."""
        self.books.count(disposition)
        if disposition == "rejected":  # it may come again
            self.dedup.forget(event_id)
        else:
            self.dedup.note(event_id, disposition)

    def merge(self, event_id: str, host: str, now: float, known: dict[str, Any]) -> None:
        """Book an event whose content another's turn took up, however that ended."""
        self.finish(event_id, "merged")
        self.books.decide("event.merged", event_id, f"{event_id}/disposition", now, known | {"into": host}, "merged")

    def reject_running(self, running: Queued, now: float) -> None:
        """End the running event: its session had been closed before."""
        body = {"reason": "the session was closed", "error": names.SESSION_CLOSED}
        self.end(running, "rejected", now, body)

    def repeat(self, event_id: str, disposition: str) -> None:
        """Book a duplicate that the window did not know: its event was counted when it came first."""
        self.books.count("repeated")
        self.dedup.note(event_id, disposition)

    def take_over(self, end: Ended, parked: ParkedEvent) -> None:
        """Book the end that the journal holds of an event; as `parked` it waits, where that is it."""
        # The window would know one that was counted here not long ago: so after a reset it is only counted once more.
        if end.n and not self.dedup.reaches(end.n):
            self.repeat(parked.event_id, end.disposition)
        elif end.disposition == "parked":
            self.park(parked)
        else:
            self.finish(parked.event_id, end.disposition)

    def take_back(self, decision: Decision, end: Ended, now: float) -> None:
        """Book an end anew: the journal holds another, of the event itself (a duplicate) or from before a reset."""
        event_id, booked = decision.event_id, decision.ends
        if booked == "parked" and self.dedup.disposition_of(event_id) not in (None, booked):
            return  # it was driven again meanwhile, or given up
        self.books.count(booked, -1)
        set_aside = self.parked.find(event_id)
        if booked == "parked" and isinstance(set_aside, ParkedEvent) and set_aside.delivery is None:
            self.parked.remove(set_aside)
        if booked == "rejected" and event_id not in self.dedup:
            self.dedup.add(event_id, end.disposition)
        preview = str(decision.body.get("preview", ""))
        self.take_over(end, parked_as(end, decision.turn or event_id, decision.n, now, preview))

    def park(self, parked: ParkedEvent) -> None:
        """Set the running event aside."""
        self.finish(parked.event_id, "parked")
        self.parked.add(parked)

    def park_delivery(self, parked: ParkedEvent, now: float) -> None:
        """Set a delivery aside: the event itself has ended otherwise."""
        self.parked.add(parked)
        body = {"error": sizes.clip(parked.error, sizes.ERROR), "delivery": parked.delivery, "turn": parked.turn}
        self.books.decide("event.parked", parked.turn, f"{parked.turn}/{parked.delivery}/parked", now, body)

    # Ends that the journal learns of from here.

    def end(self, queued: Queued, disposition: str, now: float, body: dict[str, Any]) -> None:
        """Book an end, and note it for the journal."""
        self.finish(queued.event_id, disposition)
        for alias in queued.aliases if disposition == "rejected" else ():
            self.dedup.forget_alias(alias)
        known: dict[str, Any] = {"preview": queued.preview, "source": queued.source, "n": queued.n}
        if disposition in ("expired", "rejected"):
            known |= _address(queued.event.get("metadata"))
        if disposition == "rejected" and queued.referred:
            known["claim"] = queued.event["claim"]
        if disposition in ("expired", "cancelled") and queued.aliases:  # a parked one's are in its event
            known["aliases"] = queued.aliases
        kind = {"parked": "parked", "rejected": f"rejected/{queued.n}"}.get(disposition, "disposition")
        key = f"{queued.turn}/{kind}"
        outcome = None if disposition == "rejected" else disposition  # a rejected id may come again: it has no outcome
        counted = self.books.decide(f"event.{disposition}", queued.turn, key, now, known | body, outcome)
        if counted is not None:
            self.books.name(queued.event_id, counted)

    def set_aside(self, queued: Queued, error: str, now: float) -> None:
        """Park an event that did not run."""
        self.parked.add(ParkedEvent(turn=queued.turn, n=queued.n, error=error, at=now, preview=queued.preview))
        body = {"error": error, "event": queued.event, "preview": queued.preview, "turn": queued.turn}
        self.end(queued, "parked", now, body)

    def set_aside_or_reject(self, queued: Queued, error: str, now: float, policy: InboxPolicy) -> str:
        """Park an event, or reject it where a flood of them could not be written down. Returns its disposition."""
        self.books.unwritten_bytes += queued.size
        if not self.books.has_room(queued.size) or self.books.unwritten_bytes > policy.capacity_bytes:
            self.books.unwritten_bytes -= queued.size
            self.end(queued, "rejected", now, {"reason": error, "error": names.BACKPRESSURE})
            return "rejected"
        self.set_aside(queued, error, now)
        return "parked"

    def reject(
        self,
        event_id: str,
        refusal: Refusal,
        now: float,
        body: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        signal: Signal | None = None,
    ) -> None:
        """Book what came where it could not be refused. `signal`: which brought it, where it is an event."""
        self.books.accepted += 1
        self.books.count("rejected")
        key = f"{event_id}/rejected/{self.books.accepted}"
        told = {"reason": refusal.message, "error": refusal.type, "n": self.books.accepted}
        body = {**told, **body, **_address(metadata)}
        counted = self.books.decide("event.rejected", event_id, key, now, body)
        if counted is not None and signal is not None:
            self.books.mark(signal)

    def park_invalid(self, event_id: str, error: str, now: float, preview: str, about: dict[str, Any]) -> str:
        """Park what is no event, or reject it where a flood could not be written down. Returns its disposition."""
        if self.books.full:
            self.reject(event_id, Refusal(names.INVALID_EVENT, error), now, {"preview": preview})
            return "rejected"
        self.books.accepted += 1
        n = self.books.accepted
        self.dedup.add(event_id, "parked", n)
        self.parked.add(ParkedEvent(turn=event_id, n=n, error=error, at=now, preview=preview, valid=False))
        self.books.count("parked")
        body: dict[str, Any] = {"error": error, "preview": preview, "attempts": 0, "turn": event_id, "n": n}
        body |= {name: value for name, value in about.items() if value is not None}
        self.books.decide("event.parked", event_id, f"{event_id}/parked", now, body, "parked")
        return "parked"


def parked_as(end: Ended, turn: str, n: int, now: float, preview: str) -> ParkedEvent:
    """Return an event as it is set aside, where the journal holds that."""
    turn = end.turn or turn
    return ParkedEvent(turn=turn, n=n, error=end.reason or "", at=now, preview=preview, effects=end.effects)


def _address(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Return where a busy answer goes to, where that is small: decisions are carried by continue-as-new."""
    return {"metadata": metadata} if metadata and sizes.written(metadata) <= sizes.ADDRESS else {}
