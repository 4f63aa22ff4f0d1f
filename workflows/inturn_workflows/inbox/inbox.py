"""The inbox: what a session has accepted and not yet processed. Pure: no clock, no I/O, no randomness.

Rules:
  1. Every accepted event stands in exactly one place: held, pending (queued), running, or a final disposition;
     `accepted` is always the sum of them.
  2. `take` gives events in the order of acceptance; those with a `sequence` in the order of their source
     (`sequencing`). Only `when_busy="interrupt"` goes to the front and only `"steer"` joins a running turn,
     and those with a `sequence` not before what waits of their source.
  3. An id is accepted once while it waits, runs or is parked here, or the window remembers it; a refused or rejected id
     is not remembered.
  4. Nothing grows without bound: what waits, is parked or has still to be recorded, by number and by bytes (`sizes`).
  5. Whatever waits for time alone is named by `next_due`, so one timer is enough.

Time is an argument (seconds since 1970). What is to be done is returned, what the journal must learn noted in books.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import chain, takewhile
from typing import Any, Final, Literal, TypeVar

from pydantic import Field

from inturn import names, sizes
from inturn.events import MAX_CONTENT_BYTES, SAID, ClaimedEvent, Event, derived_id
from inturn.policy import InboxPolicy
from inturn.signals import Signal
from inturn.wire import Message
from inturn_workflows.inbox.books import Books
from inturn_workflows.inbox.capacity import SOONEST, Capacity
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.endings import Endings
from inturn_workflows.inbox.events import Admission, Arrival, ParkedEvent, Queued, Receipt, Refusal, bytes_of, note_size
from inturn_workflows.inbox.known import KnownIds
from inturn_workflows.inbox.parked import DeadLetters
from inturn_workflows.inbox.queue import EventQueue
from inturn_workflows.inbox.rate import TokenBucket
from inturn_workflows.inbox.sequencing import Gap, Release, Sequencer

E = TypeVar("E", bound=Event | ClaimedEvent)
LATE: Final = "it came late: its source had passed its sequence"
BEHIND_A_GAP: Final = "a gap in its source's sequence did not close in time"
MAX_REDRIVEN: Final = 100
"""Events that wait to be driven again."""
OVERFULL: Final = "more came at once than the session can carry"
EXPIRED: Final = "it waited longer than its expires_after"


class Inbox(Message):
    """Queue, hold buffer and books; carried whole by continue-as-new."""

    queue: EventQueue = Field(default_factory=EventQueue)
    parked: DeadLetters = Field(default_factory=DeadLetters)
    books: Books = Field(default_factory=Books)
    dedup: DedupWindow
    sequencer: Sequencer = Field(default_factory=Sequencer)
    rate: TokenBucket = Field(default_factory=TokenBucket)
    pace: float | None = None
    """Seconds that a turn takes, lately; `None` before the first."""

    @property
    def endings(self) -> Endings:
        """How its events end."""
        return Endings(self.books, self.dedup, self.parked)

    @property
    def ids(self) -> KnownIds:
        """Under which ids it knows events."""
        return KnownIds(self.queue, self.sequencer, self.parked, self.dedup)

    # Accepting.

    def identify(self, event: E, chain: str) -> E:
        """Return a signalled event with an id, derived where it has none. `chain`: of runs; its number is its own.

        Only these are numbered, whatever else comes: the order of signals among themselves outlasts a reset.
        """
        if isinstance(event, ClaimedEvent) or event.event_id is not None:
            return event
        self.books.unnamed += 1
        return event.model_copy(update={"event_id": derived_id(event, self.books.unnamed - 1, chain)})

    def check(
        self,
        arrival: Arrival,
        now: float,
        policy: InboxPolicy,
        *,
        busy: bool,
        beside: tuple[int, int] = (0, 0),
        running: Container[str] = (),
    ) -> Refusal | None:
        """Return why an event would be refused; a duplicate never is. Changes nothing.

        `beside`: events and bytes that are to be admitted before it. `running`: the ids that the running turn answers.
        """
        if self.ids.of(arrival, running) is not None and self._comes_again(arrival) is None:
            return None
        pace = 1.0 if self.pace is None else self.pace
        return Capacity(self.queue, self.sequencer, self.rate, pace, policy, now, beside).refusal(arrival, busy=busy)

    def admit(
        self,
        arrival: Arrival,
        now: float,
        policy: InboxPolicy,
        *,
        inline: bool = False,
        turn: str | None = None,
        running: Container[str] = (),
    ) -> Admission:
        """Accept a checked event. `turn`: the one that runs, for these ids (`running`)."""
        if (known := self.ids.of(arrival, running)) is not None:
            return Admission(self._found_again(arrival, now) or self.duplicate(known, running))
        n = self.books.accept(event_id := arrival.event_id)
        self.ids.remember(arrival, n)
        queued = Queued(turn=event_id, n=n, at=now, event=arrival.wire, size=arrival.size, inline=inline)
        if queued.numbered:
            return self._admit_numbered(queued, now, policy, turn)
        receipt = Receipt(event_id, "accepted", position=self._enqueue(queued, policy, turn))
        return Admission(receipt, event_id if queued.interrupts(now, policy.expires_after) else None)

    def note_refusal(self, event: Event | ClaimedEvent, refusal: Refusal, policy: InboxPolicy, now: float) -> None:
        """Note a refusal: while the event that is missing may come again, it is no gap.

        Not where held events alone keep it out: that wait would never end.
        """
        said, sequence = event.sequencing, event.sequence
        if sequence is None or refusal.retry_after is None or self.sequencer.sparse(event.source, policy, said):
            return
        if not refusal.behind_a_gap and self.sequencer.misses(event.source, sequence, policy, said):
            self.sequencer.extend_wait(event.source, now + refusal.retry_after + policy.gap_timeout)

    def reject(self, event: Event | ClaimedEvent, refusal: Refusal, now: float, signal: Signal | None = None) -> None:
        """Book an event that came where it could not be refused, by a signal. Its id may come again."""
        body: dict[str, Any] = {"source": event.source, "preview": event.preview}
        if isinstance(event, ClaimedEvent):
            body["claim"] = event.claim.model_dump(mode="json")
        self.endings.reject(str(event.event_id), refusal, now, body, event.metadata, signal)

    def park_invalid(
        self, event_id: str, error: str, now: float, preview: str = "", running: Container[str] = (), **about: Any
    ) -> Receipt:
        """Book something that is no event: it waits as parked, with its error, until what was meant comes."""
        if self.knows(event_id, running):
            return self.duplicate(event_id, running)
        ended = self.endings.park_invalid(event_id, error, now, preview, about)
        return Receipt(event_id, "accepted", disposition=ended)

    def knows(self, event_id: str, running: Container[str] = ()) -> bool:
        """Return whether an event came under an id."""
        return self.ids.knows(event_id, running)

    def duplicate(self, event_id: str, running: Container[str] = ()) -> Receipt:
        """Return the receipt of an id that is known."""
        return self.ids.duplicate(event_id, running)

    def waits(self, event_id: str) -> bool:
        """Return whether an event is queued or held."""
        return bool(self.queue.find(event_id)) or self.sequencer.holds(event_id)

    def want_inline(self, event_id: str, *, inline: bool) -> None:
        """Note that a caller waits for a queued or held event who cannot read the journal."""
        for queued in chain(self.queue.events, self.sequencer.held) if inline else ():
            if queued.event_id == event_id:
                queued.inline = True

    # Processing.

    def next_due(self, policy: InboxPolicy) -> float | None:
        """Return when there is something to do though nothing arrives: 0 at once, `None` never."""
        due = self.sequencer.next_due(policy)
        if not self.queue:
            return due
        ready = self.rate.ready_at(policy)
        return ready if due is None else min(ready, due)

    def release(self, now: float, policy: InboxPolicy, turn: str | None = None) -> str | None:
        """Queue held events whose wait is over. `turn`: the one that runs. Returns the event that interrupts it."""
        interrupts: str | None = None
        for released in self.sequencer.release(policy, now):
            interrupts = self._released(released, now, policy, turn) or interrupts
        return interrupts

    def take(self, now: float, policy: InboxPolicy) -> list[Queued]:
        """Take the next turn's events out: its host, then those that join it. Expired ones on the way are booked."""
        self.release(now, policy)
        if self.rate.ready_at(policy) > now:
            return []
        while self.queue:
            wanted = [queued for queued in self.queue.pop_group() if not self._expires(queued, now, policy)]
            if wanted:
                self.rate.spend(now, policy)
                for queued in wanted:
                    self.dedup.note(queued.event_id, "running")
                return wanted
        return []

    def steer(self, turn: str, now: float, policy: InboxPolicy, room: int = sizes.MERGED) -> list[Queued]:
        """Take out what is to join the running turn, as much as one turn takes at once, and has room to note."""
        joining: list[Queued] = []
        waiting = set[str]()
        for queued in list(self.queue.events):
            if queued.steers != turn or (queued.numbered and queued.source in waiting):
                if queued.numbered:
                    waiting.add(queued.source)
                continue
            room -= note_size(queued)
            too_many = len(joining) == policy.merge_limit or room < 0
            if too_many or bytes_of(*joining, queued) > MAX_CONTENT_BYTES:
                break
            self.queue.pop(self.queue.index(queued))
            if not self._expires(queued, now, policy):
                self.dedup.note(queued.event_id, "running")
                joining.append(queued)
        return joining

    def requeue(self, events: Sequence[Queued]) -> None:
        """Put events that joined a turn, and are no part of it, in front again, behind what interrupted it."""
        front = sum(1 for _ in takewhile(lambda queued: queued.mode == "interrupt", self.queue.events))
        for index, queued in enumerate(events, front):
            queued.joins = queued.joins and index > front
            self.queue.insert(index, queued)
            self.dedup.note(queued.event_id, "pending")

    def set_last_aside(self, now: float) -> bool:
        """Park the event that waits last: more was accepted at once than is carried. Returns whether one waits."""
        if not self.queue:
            return False
        self.endings.set_aside(self.queue.pop(len(self.queue) - 1), OVERFULL, now)
        return True

    def record_turn_duration(self, seconds: float) -> None:
        """Note how long a turn took: what is refused is told when to come again."""
        took = min(max(seconds, 0.01), 60.0)
        self.pace = took if self.pace is None else 0.8 * self.pace + 0.2 * took

    # What people do with what waits.

    def cancel(self, event_id: str, now: float, reason: str | None, policy: InboxPolicy) -> bool:
        """Take a queued or held event out."""
        cancelled = self.queue.remove(event_id) or self.sequencer.cancel(event_id, policy)
        if cancelled is None:
            return False
        self.endings.end(cancelled, "cancelled", now, {"reason": reason or "cancelled while it waited"})
        return True

    def clear(self, disposition: Literal["cancelled", "parked", "rejected"], now: float, reason: str) -> list[str]:
        """End everything that waits. Returns the ids."""
        cleared = [*self.queue.clear(), *self.sequencer.clear()]
        for queued in cleared:
            if disposition == "parked":
                self.endings.set_aside(queued, reason, now)
            else:
                self.endings.end(queued, disposition, now, {"reason": reason})
        return [queued.event_id for queued in cleared]

    def redrive(self, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        """Put a parked event into the queue again, under a turn of its own; a parked delivery is only returned."""
        parked = self.parked.find_redrivable(event_id, force=force)
        if isinstance(parked, Refusal):
            return parked
        if parked.delivery is not None:
            self.parked.remove(parked)
        elif self.queue.redriven >= MAX_REDRIVEN:
            return Refusal(names.BACKPRESSURE, f"{MAX_REDRIVEN} events wait to be driven again already", SOONEST)
        else:
            self._drive_again(parked, Queued(at=now))
        return parked

    def discard(self, event_id: str, now: float, reason: str | None = None) -> Refusal | None:
        """Discard a parked event (or delivery)."""
        parked = self.parked.find(event_id)
        if isinstance(parked, Refusal):
            return parked
        self.parked.remove(parked)
        if parked.delivery is None:
            self.books.count("parked", -1)
            self.endings.finish(event_id, "discarded")
            body = {"reason": reason or "discarded", "turn": parked.turn}
            key = f"{parked.turn}/discarded"
            self.books.decide("event.cancelled", parked.turn, key, now, body, "discarded")
        return None

    # Looking.

    def balance(self, *, running: int) -> dict[str, int]:
        """Return the counts: `accepted` and every disposition that occurs."""
        held = sum(1 for queued in self.sequencer.held if queued.event)
        open_ = {"held": held, "pending": len(self.queue), "running": running}
        return {"accepted": self.books.accepted, **{k: v for k, v in (self.books.counts | open_).items() if v}}

    # Inside.

    def _comes_again(self, arrival: Arrival) -> ParkedEvent | None:
        """Return the parked one that an arrival makes whole: it was no event, or its content was lost."""
        parked = self.parked.find(arrival.event_id) if self.parked.holds(arrival.event_id) else None
        if not isinstance(parked, ParkedEvent) or parked.delivery is not None:
            return None
        kept_anew = not arrival.referred or arrival.wire["claim"].get("gen")
        return parked if not parked.valid or (parked.lost and kept_anew) else None

    def _found_again(self, arrival: Arrival, now: float) -> Receipt | None:
        """Drive again what this arrival makes whole; `None` where there is nothing."""
        if (parked := self._comes_again(arrival)) is None:
            return None
        queued = Queued(at=now)
        if not (parked.lost and arrival.referred):  # else the journal has its content again
            queued.event = {name: value for name, value in arrival.wire.items() if name in SAID}
            queued.size = arrival.size
        self._drive_again(parked, queued)
        self.ids.remember_others(arrival, parked.n)
        return Receipt(arrival.event_id, "accepted", position=len(self.queue) - 1)

    def _drive_again(self, parked: ParkedEvent, queued: Queued) -> None:
        """Put a parked event into the queue, for a turn of its own."""
        self.parked.remove(parked)
        self.books.count("parked", -1)
        queued.turn, queued.n = parked.next_turn, parked.n
        self.queue.append(queued)
        self.dedup.note(parked.event_id, "pending")

    def _admit_numbered(self, queued: Queued, now: float, policy: InboxPolicy, turn: str | None) -> Admission:
        verdict = self.sequencer.verdict(queued.source, queued.sequence, policy, queued.sequencing)
        if verdict == "late":
            interrupts = self._late([queued], now, policy, turn)
            return Admission(self._receipt_of(queued), interrupts)
        if verdict == "next":
            interrupts = self._enqueue_all(self.sequencer.advance(queued), now, policy, turn)
            return Admission(Receipt(queued.event_id, "accepted", position=self.queue.index(queued)), interrupts)
        self.dedup.note(queued.event_id, "held")
        self.sequencer.hold(queued)
        interrupts = self._make_room(now, policy, turn)
        return Admission(self._receipt_of(queued), interrupts)

    def _make_room(self, now: float, policy: InboxPolicy, turn: str | None) -> str | None:
        """End waits early where too much is held. What has just come counts: it may be what others waited for."""
        interrupts: str | None = None
        while len(self.sequencer.held) > policy.hold_capacity or self.sequencer.bytes > sizes.HELD:
            interrupts = self._released(self.sequencer.release_early(policy), now, policy, turn) or interrupts
        return interrupts

    def _receipt_of(self, queued: Queued) -> Receipt:
        """Return the receipt of an event that was held, and perhaps let go at once."""
        event_id, disposition = queued.event_id, self.dedup.disposition_of(queued.event_id)
        if disposition == "held":
            return Receipt(event_id, "held")
        if any(other is queued for other in self.queue.find(event_id)):
            return Receipt(event_id, "accepted", position=self.queue.index(queued))
        return Receipt(event_id, "accepted", disposition=disposition or "rejected")

    def _released(self, released: Release, now: float, policy: InboxPolicy, turn: str | None) -> str | None:
        if released.gap is not None:
            self._note_gap(released.gap, now, policy)
        interrupts = self._late(released.late, now, policy, turn)
        for queued in released.parked:
            self.endings.set_aside_or_reject(queued, BEHIND_A_GAP, now, policy)
        return self._enqueue_all(released.ready, now, policy, turn) or interrupts

    def _late(self, late: Sequence[Queued], now: float, policy: InboxPolicy, turn: str | None) -> str | None:
        """Set aside what came after its place, or queue it without one. Returns the last event that interrupts."""
        if policy.on_late == "park":
            for queued in late:
                self.endings.set_aside_or_reject(queued, LATE, now, policy)
            return None
        for queued in late:
            del queued.event["sequence"]
        return self._enqueue_all(late, now, policy, turn)

    def _note_gap(self, gap: Gap, now: float, policy: InboxPolicy) -> None:
        missing, count = [gap.first, gap.last], gap.last - gap.first + 1
        body = {"source": gap.source, "missing": missing, "count": count, "policy": policy.on_gap}
        self.books.decide("session.gap", None, f"gap/{gap.source}/{gap.first}-{gap.last}/{gap.behind}", now, body)

    def _enqueue_all(self, ready: Iterable[Queued], now: float, policy: InboxPolicy, turn: str | None) -> str | None:
        """Queue what its sequence lets go. Returns the last event that interrupts."""
        interrupts: str | None = None
        for queued in ready:
            self.dedup.note(queued.event_id, "pending")  # it may have been held
            self._enqueue(queued, policy, turn)
            if queued.interrupts(now, policy.expires_after):
                interrupts = queued.event_id
        return interrupts

    def _enqueue(self, queued: Queued, policy: InboxPolicy, turn: str | None) -> int:
        """Put an event into its place. Returns that place."""
        index = self.queue.front_for(queued) if queued.mode == "interrupt" else len(self.queue)
        if queued.mode == "merge":
            queued.joins = self.queue.can_merge(queued, policy)
        elif queued.mode == "steer":
            queued.steers = turn
        self.queue.insert(index, queued)
        return index

    def _expires(self, queued: Queued, now: float, policy: InboxPolicy) -> bool:
        if not queued.expired(now, policy.expires_after):
            return False
        self.endings.end(queued, "expired", now, {"reason": EXPIRED})
        return True
