"""The inbox: what a session has accepted and not yet processed. Pure: no clock, no I/O, no randomness.

Rules:
  1. Every accepted event stands in exactly one place: held, pending (queued), running, or a final disposition;
     `accepted` is always the sum of them.
  2. `take` gives events in the order of acceptance; those with a `sequence` in the order of their source
     (`workflows.sequencing`). Only `when_busy="interrupt"` goes to the front and only `"steer"` joins a running turn,
     and those with a `sequence` not before what waits of their source.
  3. An id is accepted once while the window remembers it; a refused or rejected id is not remembered.
  4. Nothing grows without bound: what waits by events and bytes, parked events and unwritten decisions by number.
  5. Whatever waits for time alone is named by `next_due`, so one timer is enough.

Time is an argument (seconds since 1970). What the journal must learn is appended to `decisions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Literal

from pydantic import Field, PrivateAttr

from inturn import names
from inturn.agents import InboxPolicy
from inturn.events import MAX_CONTENT_BYTES, Event, derived_id
from workflows.books import MAX_DECISIONS, Books
from workflows.queued import ParkedEvent, Queued, Receipt, Refusal
from workflows.rates import Bucket
from workflows.sequencing import Release, Sequencer
from workflows.window import Window

MAX_PARKED: Final = 100
MAX_ADDRESS: Final = 160
"""Characters of an event's metadata that a notice about it takes along."""
INTERRUPTED: Final = "interrupted"
"""How the window remembers a cancelled event whose turn ran: there is a turn to show."""
UNANSWERED: Final = "unanswered"
"""How it remembers a merged event whose host was set aside: there is none."""
LATE: Final = "it came late: its source had passed its sequence"
BEHIND_A_GAP: Final = "a gap in its source's sequence did not close in time"
EXPIRED: Final = "it waited longer than its expires_after"


class Inbox(Books):
    """The queue and its books; carried whole by continue-as-new."""

    window: Window
    queue: list[Queued] = Field(default_factory=list[Queued])
    queued_bytes: int = 0
    sequencer: Sequencer = Sequencer()
    bucket: Bucket = Bucket()
    parked: list[ParkedEvent] = Field(default_factory=list[ParkedEvent])
    pace: float | None = None
    """Seconds that a turn takes, lately; `None` before the first."""
    interrupter: str | None = Field(default=None, exclude=True)
    """The event that came last to interrupt, by the latest `admit`: sent, or let go by what was."""
    keeps_sequence: Callable[[], bool] = Field(default=lambda: True, exclude=True)
    """Asked where an event would overtake its own source; in histories of 0.2.0 it did."""
    _waiting: Counter[str] | None = PrivateAttr(default=None)
    """Queued events by source."""

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
        if event.when_busy == "reject" and (busy or self.queue or self.sequencer.held):
            message = "the session is busy and the event asked to be refused then"
            return Refusal(names.SESSION_BUSY, message, self._after(len(self.queue) + 1))
        if size > policy.capacity_bytes:
            message = f"the event has {size:,} bytes, the inbox takes {policy.capacity_bytes:,} in all"
            return Refusal(names.INVALID_EVENT, message)
        full = self._full(event, size, policy)
        return None if full is None else Refusal(names.BACKPRESSURE, full, self.patience())

    def admit(
        self,
        event: Event,
        size: int,
        now: float,
        policy: InboxPolicy,
        *,
        inline: bool = False,
        turn: str | None = None,
    ) -> Receipt:
        """Accept a checked event that has its id. `turn`: the one that runs."""
        event_id = event.event_id
        assert event_id is not None, "identify() comes first"
        self.interrupter = None
        if event_id in self.window:
            return self.duplicate(event_id)
        self.accepted += 1
        self.window.add(event_id, "pending")
        queued = Queued(turn=event_id, n=self.accepted, at=now, event=event.wire(), size=size, inline=inline)
        if event.sequence is None:
            return Receipt(event_id, "accepted", position=self._enqueue(queued, policy, turn))
        return self._admit_sequenced(queued, event.sequence, now, policy, turn)

    def refused(self, event: Event, refusal: Refusal, policy: InboxPolicy, now: float) -> None:
        """Note a refusal: while the event may come again, it is no gap."""
        if event.sequence is not None and refusal.retry_after is not None and policy.sequencing == "dense":
            self.sequencer.wait_longer(event.source, now + refusal.retry_after + policy.gap_timeout)

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
        self.count("parked")
        body = {"error": error, "preview": preview, "attempts": 0, "turn": event_id}
        self.decide("event.parked", event_id, f"{event_id}/parked", now, body, "parked")
        return Receipt(event_id, "accepted", disposition="parked")

    def duplicate(self, event_id: str) -> Receipt:
        """Give the receipt of an id that is known."""
        for position, queued in enumerate(self.queue):
            if queued.event_id == event_id:
                return Receipt(event_id, "duplicate", position=position, disposition="pending")
        if any(queued.event_id == event_id for queued in self.sequencer.held):
            return Receipt(event_id, "duplicate", disposition="held")
        standing = self.window.standing(event_id)
        known = {INTERRUPTED: "cancelled", UNANSWERED: "merged"}.get(standing or "", standing)
        return Receipt(event_id, "duplicate", disposition=known)

    def waits(self, event_id: str) -> bool:
        """Tell whether an event is queued or held."""
        return next(self._named(event_id), None) is not None

    def want_inline(self, event_id: str, *, inline: bool) -> None:
        """Note that somebody waits for a queued or held event who cannot read the journal."""
        for queued in self._named(event_id) if inline else ():
            queued.inline = True

    # Processing.

    def next_due(self, policy: InboxPolicy) -> float | None:
        """Give when there is something to do though nothing arrives: 0 at once, `None` never."""
        due = self.sequencer.next_due(policy)
        if not self.queue:
            return due
        ready = self.bucket.ready_at(policy)
        return ready if due is None else min(ready, due)

    def release(self, now: float, policy: InboxPolicy) -> None:
        """Let go of held events whose wait is over."""
        while (released := self.sequencer.release(policy, now)) is not None:
            self._released(released, now, policy, None)

    def take(self, now: float, policy: InboxPolicy) -> list[Queued]:
        """Take the next turn's events out: its host, then those that join it. Expired ones on the way are booked."""
        self.release(now, policy)
        if self.bucket.ready_at(policy) > now:
            return []
        while self.queue:
            group = [self._out(0) for _ in range(self._group())]
            wanted = [queued for queued in group if not self._expires(queued, now, policy)]
            if wanted:
                self.bucket.spend(now, policy)
                for queued in wanted:
                    self.window.note(queued.event_id, "running")
                return wanted
        return []

    def steer(self, turn: str, now: float, policy: InboxPolicy) -> list[Queued]:
        """Take out what is to join the running turn, as much as one turn takes at once."""
        joining: list[Queued] = []
        behind = set[str]()
        for queued in list(self.queue):
            if queued.steers != turn or (queued.numbered and queued.source in behind and self.keeps_sequence()):
                if queued.numbered:
                    behind.add(queued.source)
                continue
            if len(joining) == policy.merge_limit or _bytes(joining) + queued.size > MAX_CONTENT_BYTES:
                break
            self._out(self._index(queued))
            if not self._expires(queued, now, policy):
                self.window.note(queued.event_id, "running")
                joining.append(queued)
        return joining

    def merge(self, event_id: str, host: str, now: float, told: dict[str, Any]) -> None:
        """Book an event whose content another's turn took up, however that ended."""
        self.finish(event_id, "merged")
        self.decide("event.merged", event_id, f"{event_id}/disposition", now, told | {"into": host}, "merged")

    def put_back(self, events: Sequence[Queued]) -> None:
        """Put events that joined a turn in front again: its host turned out to have ended before."""
        for index, queued in enumerate(events):
            queued.joins = queued.joins and index > 0
            self._put(index, queued)
            self.window.note(queued.event_id, "pending")

    def finish(self, event_id: str, disposition: str) -> None:
        """Book how an event ended; the journal knows already, or gets its decision from the caller."""
        self.count(disposition)
        self.window.note(event_id, disposition)

    def repeat(self, event_id: str, disposition: str) -> None:
        """Book a duplicate that the window did not know: its event was counted when it came first."""
        self.count("repeated")
        self.window.note(event_id, disposition)

    def paced(self, seconds: float) -> None:
        """Note how long a turn took: what is refused is told when to come again."""
        took = min(max(seconds, 0.01), 60.0)
        self.pace = took if self.pace is None else 0.8 * self.pace + 0.2 * took

    # What people do with what waits.

    def park(self, parked: ParkedEvent) -> None:
        """Set the running event aside."""
        self.finish(parked.event_id, "parked")
        self._park(parked)

    def park_delivery(self, parked: ParkedEvent, now: float) -> None:
        """Set a delivery aside: the event itself has ended otherwise."""
        self._park(parked)
        body = {"error": parked.error, "delivery": parked.delivery, "turn": parked.turn}
        self.decide("event.parked", parked.turn, f"{parked.turn}/{parked.delivery}/parked", now, body)

    def cancel(self, event_id: str, now: float, reason: str | None, policy: InboxPolicy) -> bool:
        """Take a queued or held event out."""
        index = next((i for i, queued in enumerate(self.queue) if queued.event_id == event_id), None)
        if index is not None:
            follower = self.queue[index + 1] if index + 1 < len(self.queue) else None
            if follower is not None and not self.queue[index].joins:
                follower.joins = False  # its host goes: it is the host now
            cancelled: Queued | None = self._out(index)
        else:
            cancelled = self.sequencer.cancel(event_id, policy)
        if cancelled is None:
            return False
        self._end(cancelled, "cancelled", now, {"reason": reason or "cancelled while it waited"})
        return True

    def clear(self, disposition: Literal["cancelled", "parked", "rejected"], now: float, reason: str) -> list[str]:
        """End everything that waits; gives the ids."""
        cleared = [*self.queue, *self.sequencer.clear()]
        self.queue, self.queued_bytes, self._waiting = [], 0, None
        for queued in cleared:
            if disposition == "parked":
                self._set_aside(queued, reason, now)
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
            self._put(len(self.queue), Queued(turn=parked.next_turn, n=parked.n, at=now))
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
            self.count("discarded")
            self.window.note(event_id, "discarded")
            body = {"reason": reason or "discarded", "turn": parked.turn}
            self.decide("event.cancelled", parked.turn, f"{parked.turn}/discarded", now, body, "discarded")
        return None

    # Looking.

    def book(self, *, running: int) -> dict[str, int]:
        """Give the counts: `accepted` and every disposition that occurs."""
        held = sum(1 for queued in self.sequencer.held if queued.event)
        open_ = {"held": held, "pending": len(self.queue), "running": running}
        return {"accepted": self.accepted, **{k: v for k, v in (self.counts | open_).items() if v}}

    def patience(self) -> float:
        """Seconds until a refused event should come again: when a tenth of the queue is done, at the latest pace."""
        return self._after(len(self.queue) / 10)

    # Inside.

    def _full(self, event: Event, size: int, policy: InboxPolicy) -> str | None:
        held = self.sequencer.held
        sequence = event.sequence
        # Held events alone must not shut out the one that they wait for.
        exempt = not self.queue and sequence is not None and self.sequencer.fills(event.source, sequence, policy)
        waiting, waiting_bytes = len(self.queue) + len(held), self.queued_bytes + self.sequencer.bytes
        if not exempt:
            if waiting >= policy.capacity or waiting_bytes + size > policy.capacity_bytes:
                return f"the inbox is full: {waiting} events, {waiting_bytes:,} bytes wait"
            if policy.source_quota is not None and self._waiting_of(event.source) >= policy.source_quota:
                return f"source {event.source} has its quota of {policy.source_quota} events waiting"
        if sequence is None or policy.hold_overflow == "release" or len(held) < policy.hold_capacity:
            return None
        if self.sequencer.place(event.source, sequence, policy) != "held":
            return None
        return f"{len(held)} events wait for missing ones already"

    def _admit_sequenced(
        self, queued: Queued, sequence: int, now: float, policy: InboxPolicy, turn: str | None
    ) -> Receipt:
        event_id, source = queued.event_id, queued.source
        place = self.sequencer.place(source, sequence, policy)
        while place == "held" and len(self.sequencer.held) >= policy.hold_capacity:
            self._released(self.sequencer.release_early(policy), now, policy, turn)
            place = self.sequencer.place(source, sequence, policy)
        if place == "late":
            return Receipt(event_id, "accepted", disposition=self._set_aside_or_reject(queued, LATE, now, policy))
        if place == "held":
            self.window.note(event_id, "held")
            self.sequencer.hold(queued)
            return Receipt(event_id, "held")
        for ready in self.sequencer.follow(queued):
            self._enqueue(ready, policy, turn)
        return Receipt(event_id, "accepted", position=self._index(queued))

    def _released(self, released: Release, now: float, policy: InboxPolicy, turn: str | None) -> None:
        if (gap := released.gap) is not None:
            body = {
                "source": gap.source,
                "missing": [gap.first, gap.last],
                "count": gap.last - gap.first + 1,
                "policy": policy.on_gap,
            }
            self.decide("session.gap", None, f"gap/{gap.source}/{gap.first}-{gap.last}/{gap.behind}", now, body)
        for queued in released.late:
            self._set_aside_or_reject(queued, LATE, now, policy)
        for queued in released.parked:
            self._set_aside_or_reject(queued, BEHIND_A_GAP, now, policy)
        for queued in released.ready:
            self._enqueue(queued, policy, turn)

    def _enqueue(self, queued: Queued, policy: InboxPolicy, turn: str | None) -> int:
        mode = queued.mode
        index = self._front(queued) if mode == "interrupt" else len(self.queue)
        if mode == "interrupt":
            self.interrupter = queued.event_id
        elif mode == "merge":
            queued.joins = self._may_join(queued, policy)
        elif mode == "steer":
            queued.steers = turn
        if queued.numbered:
            self.window.note(queued.event_id, "pending")  # it may have been held
        self._put(index, queued)
        return index

    def _front(self, queued: Queued) -> int:
        """Give the first place that is not before what waits of its source, and not within a group."""
        if not queued.numbered:
            return 0
        before = [n for n, other in enumerate(self.queue) if other.numbered and other.source == queued.source]
        if not before or not self.keeps_sequence():
            return 0
        return next((n for n in range(before[-1] + 1, len(self.queue)) if not self.queue[n].joins), len(self.queue))

    def _may_join(self, queued: Queued, policy: InboxPolicy) -> bool:
        if not self.queue or self.queue[-1].mode != "merge" or self.queue[-1].source != queued.source:
            return False
        first = len(self.queue) - 1
        while self.queue[first].joins:
            first -= 1
        group = self.queue[first:]
        return len(group) < policy.merge_limit and _bytes(group) + queued.size <= MAX_CONTENT_BYTES

    def _group(self) -> int:
        """Count the first entry and those that join it."""
        return next((n for n in range(1, len(self.queue)) if not self.queue[n].joins), len(self.queue))

    def _put(self, index: int, queued: Queued) -> None:
        self.queue.insert(index, queued)
        self.queued_bytes += queued.size
        if self._waiting is not None and queued.event:
            self._waiting[queued.source] += 1

    def _out(self, index: int) -> Queued:
        queued = self.queue.pop(index)
        self.queued_bytes -= queued.size
        if self._waiting is not None and queued.event:
            self._waiting[queued.source] -= 1
        return queued

    def _index(self, queued: Queued) -> int:
        return next(index for index, other in enumerate(self.queue) if other is queued)

    def _named(self, event_id: str) -> Iterator[Queued]:
        return (queued for queued in chain(self.queue, self.sequencer.held) if queued.event_id == event_id)

    def _waiting_of(self, source: str) -> int:
        if self._waiting is None:
            self._waiting = Counter(queued.source for queued in self.queue if queued.event)
        return self._waiting[source] + sum(queued.source == source for queued in self.sequencer.held)

    def _after(self, turns: float) -> float:
        return min(60.0, max(0.1, turns * (1.0 if self.pace is None else self.pace)))

    def _expires(self, queued: Queued, now: float, policy: InboxPolicy) -> bool:
        if not queued.expired(now, policy.expires_after):
            return False
        self._end(queued, "expired", now, {"reason": EXPIRED})
        return True

    def _set_aside_or_reject(self, queued: Queued, error: str, now: float, policy: InboxPolicy) -> str:
        """Set an event aside, or reject it where a flood of them could not be written down."""
        self.unwritten_bytes += queued.size
        if len(self.decisions) >= MAX_DECISIONS or self.unwritten_bytes > policy.capacity_bytes:
            self.unwritten_bytes -= queued.size
            self._end(queued, "rejected", now, {"reason": error, "error": names.BACKPRESSURE})
            return "rejected"
        self._set_aside(queued, error, now)
        return "parked"

    def _set_aside(self, queued: Queued, error: str, now: float) -> None:
        self._park(ParkedEvent(turn=queued.turn, n=queued.n, error=error, at=now, preview=queued.preview))
        body = {"error": error, "event": queued.event, "preview": queued.preview, "turn": queued.turn}
        self._end(queued, "parked", now, body)

    def _parked(self, event_id: str) -> ParkedEvent | None:
        return next((p for p in reversed(self.parked) if p.event_id == event_id), None)

    def _park(self, parked: ParkedEvent) -> None:
        self.parked.append(parked)
        del self.parked[:-MAX_PARKED]

    def _end(self, queued: Queued, disposition: str, now: float, body: dict[str, Any]) -> None:
        self.finish(queued.event_id, disposition)
        if disposition == "rejected":
            self.window.forget(queued.event_id)
        told: dict[str, Any] = {"preview": queued.preview, "source": queued.source, "n": queued.n}
        if disposition in ("expired", "rejected"):
            told |= _address(queued.event.get("metadata"))
        body = told | body
        kind = {"parked": "parked", "rejected": f"rejected/{queued.n}"}.get(disposition, "disposition")
        key = f"{queued.turn}/{kind}"
        outcome = None if disposition == "rejected" else disposition  # a rejected id may come again: it has no outcome
        self.decide(f"event.{disposition}", queued.turn, key, now, body, outcome)

    def _reject(self, event_id: str, refusal: Refusal, now: float, told: dict[str, Any]) -> None:
        self.accepted += 1
        self.count("rejected")
        body = {"reason": refusal.message, "error": refusal.type, **told}
        self.decide("event.rejected", event_id, f"{event_id}/rejected/{self.accepted}", now, body)


def _bytes(events: Sequence[Queued]) -> int:
    return sum(queued.size for queued in events)


def _address(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Keep where a busy answer goes to, where that is small: decisions are carried by continue-as-new."""
    return {"metadata": metadata} if metadata and len(str(metadata)) <= MAX_ADDRESS else {}
