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

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, Literal

from pydantic import Field

from inturn import names
from inturn.events import MAX_CONTENT_BYTES, Event, derived_id
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.books import MAX_DECISIONS, Books
from inturn_workflows.inbox.capacity import Room
from inturn_workflows.inbox.dedup import Window
from inturn_workflows.inbox.events import Change, ParkedEvent, Queued, Receipt, Refusal, bytes_of
from inturn_workflows.inbox.parked import DeadLetters
from inturn_workflows.inbox.queue import Line
from inturn_workflows.inbox.rate import Bucket
from inturn_workflows.inbox.sequencing import Place, Release, Sequencer

MAX_ADDRESS: Final = 160
"""Characters of an event's metadata that a notice about it takes along."""
INTERRUPTED: Final = "interrupted"
"""How the window remembers a cancelled event whose turn ran: there is a turn to show."""
UNANSWERED: Final = "unanswered"
"""How it remembers a merged event whose host was set aside: there is none."""
LATE: Final = "it came late: its source had passed its sequence"
BEHIND_A_GAP: Final = "a gap in its source's sequence did not close in time"
EXPIRED: Final = "it waited longer than its expires_after"


class Inbox(Line, DeadLetters, Books):
    """The queue and its books; carried whole by continue-as-new."""

    window: Window
    sequencer: Sequencer = Sequencer()
    bucket: Bucket = Bucket()
    pace: float | None = None
    """Seconds that a turn takes, lately; `None` before the first."""
    interrupter: str | None = Field(default=None, exclude=True)
    """The event that came last to interrupt, by the latest `admit` or `release`: sent, or let go."""
    changed: Callable[[Change], bool] = Field(default=lambda change: True, exclude=True)
    """Asked where something is done otherwise than in histories of 0.2.0."""

    # Accepting.

    def identify(self, event: Event, chain: str = "") -> Event:
        """Give the event its id, derived where it has none. `chain`: of runs; its number is its own."""
        if event.event_id is not None:
            return event
        own = chain if event.sent_at is None and self.changed("ids-of-a-chain") else ""
        return event.model_copy(update={"event_id": derived_id(event, self.accepted, own)})

    def check(self, event: Event, size: int, now: float, policy: InboxPolicy, *, busy: bool) -> Refusal | None:
        """Tell why an event would be refused; a duplicate never is. Changes nothing."""
        if event.event_id is not None and event.event_id in self.window:
            return None
        return Room(self, policy, now).refusal(event, size, busy=busy)

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
            return Receipt(event_id, "accepted", position=self._enqueue(queued, now, policy, turn))
        return self._admit_sequenced(queued, event.sequence, now, policy, turn)

    def refused(self, event: Event, refusal: Refusal, policy: InboxPolicy, now: float) -> None:
        """Note a refusal: while the event that is missing may come again, it is no gap.

        Not where held events alone keep it out: that wait would never end.
        """
        if event.sequence is None or refusal.retry_after is None or policy.sequencing == "sparse":
            return
        wait = refusal.retry_after
        comes = not refusal.behind_a_gap and self.sequencer.misses(event.source, event.sequence, policy)
        # 0.2.0 waited for whatever had been refused, for as long as the pace alone told.
        turns = len(self.queue) / 10 if refusal.type == names.BACKPRESSURE else len(self.queue) + 1
        told_before = Room(self, policy, now).at_pace(turns)
        if (not comes or wait != told_before) and not self.changed("gaps-end"):
            comes, wait = True, told_before
        if comes:
            self.sequencer.wait_longer(event.source, now + wait + policy.gap_timeout)

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
        self.keep_parked(parked)
        self.count("parked")
        body = {"error": error, "preview": preview, "attempts": 0, "turn": event_id}
        self.decide("event.parked", event_id, f"{event_id}/parked", now, body, "parked")
        return Receipt(event_id, "accepted", disposition="parked")

    def duplicate(self, event_id: str) -> Receipt:
        """Give the receipt of an id that is known."""
        if queued := self.queued_as(event_id):
            return Receipt(event_id, "duplicate", position=min(map(self.index, queued)), disposition="pending")
        if any(queued.event_id == event_id for queued in self.sequencer.held):
            return Receipt(event_id, "duplicate", disposition="held")
        standing = self.window.standing(event_id)
        known = {INTERRUPTED: "cancelled", UNANSWERED: "merged"}.get(standing or "", standing)
        return Receipt(event_id, "duplicate", disposition=known)

    def waits(self, event_id: str) -> bool:
        """Tell whether an event is queued or held."""
        return bool(self.queued_as(event_id)) or any(queued.event_id == event_id for queued in self.sequencer.held)

    def waiting_of(self, source: str) -> int:
        """Count the events of a source that wait, queued and held."""
        return self.queued_of(source) + sum(queued.source == source for queued in self.sequencer.held)

    def want_inline(self, event_id: str, *, inline: bool) -> None:
        """Note that somebody waits for a queued or held event who cannot read the journal."""
        for queued in chain(self.queue, self.sequencer.held) if inline else ():
            if queued.event_id == event_id:
                queued.inline = True

    # Processing.

    def next_due(self, policy: InboxPolicy) -> float | None:
        """Give when there is something to do though nothing arrives: 0 at once, `None` never."""
        due = self.sequencer.next_due(policy)
        if not self.queue:
            return due
        ready = self.bucket.ready_at(policy)
        return ready if due is None else min(ready, due)

    def release(self, now: float, policy: InboxPolicy, turn: str | None = None) -> None:
        """Let go of held events whose wait is over. `turn`: the one that runs."""
        self.interrupter = None
        for released in self.sequencer.release(policy, now):
            self._released(released, now, policy, turn)

    def take(self, now: float, policy: InboxPolicy) -> list[Queued]:
        """Take the next turn's events out: its host, then those that join it. Expired ones on the way are booked."""
        self.release(now, policy)
        if self.bucket.ready_at(policy) > now:
            return []
        while self.queue:
            wanted = [queued for queued in self.take_group() if not self._expires(queued, now, policy)]
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
            overtakes = queued.numbered and queued.source in behind
            if queued.steers != turn or (overtakes and self.changed("sequence-before-interrupt")):
                if queued.numbered:
                    behind.add(queued.source)
                continue
            if len(joining) == policy.merge_limit or bytes_of(joining) + queued.size > MAX_CONTENT_BYTES:
                break
            self.take_out(self.index(queued))
            if not self._expires(queued, now, policy):
                self.window.note(queued.event_id, "running")
                joining.append(queued)
        return joining

    def merge(self, event_id: str, host: str, now: float, told: dict[str, Any]) -> None:
        """Book an event whose content another's turn took up, however that ended."""
        self.finish(event_id, "merged")
        self.decide("event.merged", event_id, f"{event_id}/disposition", now, told | {"into": host}, "merged")

    def put_back(self, events: Sequence[Queued]) -> None:
        """Put events that joined a turn, and are no part of it, in front again."""
        for index, queued in enumerate(events):
            queued.joins = queued.joins and index > 0
            self.put(index, queued)
            self.window.note(queued.event_id, "pending")

    def finish(self, event_id: str, disposition: str) -> None:
        """Book how an event ended; the journal knows already, or gets its decision from the caller."""
        self.count(disposition)
        self.window.note(event_id, disposition)

    def reject_running(self, running: Queued, now: float) -> None:
        """End the running event: its session had been closed before."""
        self._end(running, "rejected", now, {"reason": "the session was closed", "error": names.SESSION_CLOSED})

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
        self.keep_parked(parked)

    def park_delivery(self, parked: ParkedEvent, now: float) -> None:
        """Set a delivery aside: the event itself has ended otherwise."""
        self.keep_parked(parked)
        body = {"error": parked.error, "delivery": parked.delivery, "turn": parked.turn}
        self.decide("event.parked", parked.turn, f"{parked.turn}/{parked.delivery}/parked", now, body)

    def cancel(self, event_id: str, now: float, reason: str | None, policy: InboxPolicy) -> bool:
        """Take a queued or held event out."""
        cancelled = self.withdraw(event_id) or self.sequencer.cancel(event_id, policy)
        if cancelled is None:
            return False
        self._end(cancelled, "cancelled", now, {"reason": reason or "cancelled while it waited"})
        return True

    def clear(self, disposition: Literal["cancelled", "parked", "rejected"], now: float, reason: str) -> list[str]:
        """End everything that waits; gives the ids."""
        cleared = [*self.take_all(), *self.sequencer.clear()]
        for queued in cleared:
            if disposition == "parked":
                self._set_aside(queued, reason, now)
            else:
                self._end(queued, disposition, now, {"reason": reason})
        return [queued.event_id for queued in cleared]

    def redrive(self, event_id: str, now: float, *, force: bool = False) -> ParkedEvent | Refusal:
        """Put a parked event into the queue again, under a turn of its own; a parked delivery is given back alone."""
        parked = self.find_redrivable(event_id, force=force)
        if isinstance(parked, Refusal):
            return parked
        self.parked.remove(parked)
        if parked.delivery is None:
            self.counts["parked"] -= 1
            self.put(len(self.queue), Queued(turn=parked.next_turn, n=parked.n, at=now))
            self.window.note(event_id, "pending")
        return parked

    def discard(self, event_id: str, now: float, reason: str | None = None) -> Refusal | None:
        """Give a parked event (or delivery) up."""
        parked = self.find_parked(event_id)
        if isinstance(parked, Refusal):
            return parked
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

    # Inside.

    def _admit_sequenced(
        self, queued: Queued, sequence: int, now: float, policy: InboxPolicy, turn: str | None
    ) -> Receipt:
        event_id, source = queued.event_id, queued.source
        place = self.sequencer.place(source, sequence, policy)
        full = place == "held" and len(self.sequencer.held) >= policy.hold_capacity
        if full and not self.changed("gaps-end"):
            place = self._make_room_first(queued, now, policy, turn)
        if place == "late":
            return Receipt(event_id, "accepted", disposition=self._set_aside_or_reject(queued, LATE, now, policy))
        if place == "held":
            self.window.note(event_id, "held")
            self.sequencer.hold(queued)
            return self._make_room(queued, now, policy, turn)
        for ready in self.sequencer.follow(queued):
            self._enqueue(ready, now, policy, turn)
        return Receipt(event_id, "accepted", position=self.index(queued))

    def _make_room(self, queued: Queued, now: float, policy: InboxPolicy, turn: str | None) -> Receipt:
        """End waits early where too much is held. What has just come counts: it may be what others waited for."""
        while len(self.sequencer.held) > policy.hold_capacity:
            self._released(self.sequencer.release_early(policy), now, policy, turn)
        event_id = queued.event_id
        if self.window.standing(event_id) == "held":
            return Receipt(event_id, "held")
        if any(other is queued for other in self.queued_as(event_id)):
            return Receipt(event_id, "accepted", position=self.index(queued))
        return Receipt(event_id, "accepted", disposition=self.window.standing(event_id) or "rejected")

    def _make_room_first(self, queued: Queued, now: float, policy: InboxPolicy, turn: str | None) -> Place:
        """Make room before it is held, as 0.2.0 did."""
        place: Place = "held"
        while place == "held" and len(self.sequencer.held) >= policy.hold_capacity:
            self._released(self.sequencer.release_early(policy), now, policy, turn)
            place = self.sequencer.place(queued.source, queued.sequence, policy)
        return place

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
            self._enqueue(queued, now, policy, turn)

    def _enqueue(self, queued: Queued, now: float, policy: InboxPolicy, turn: str | None) -> int:
        mode = queued.mode
        index = self._front(queued) if mode == "interrupt" else len(self.queue)
        if mode == "interrupt":
            if not (queued.expired(now, policy.expires_after) and self.changed("expired-interrupts")):
                self.interrupter = queued.event_id
        elif mode == "merge":
            queued.joins = self.may_join(queued, policy)
        elif mode == "steer":
            queued.steers = turn
        if queued.numbered:
            self.window.note(queued.event_id, "pending")  # it may have been held
        self.put(index, queued)
        return index

    def _front(self, queued: Queued) -> int:
        """Give the first place that is not before what waits of its source, and not within a group."""
        if not queued.numbered:
            return 0
        before = [n for n, other in enumerate(self.queue) if other.numbered and other.source == queued.source]
        if not before or not self.changed("sequence-before-interrupt"):
            return 0
        return next((n for n in range(before[-1] + 1, len(self.queue)) if not self.queue[n].joins), len(self.queue))

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
        self.keep_parked(ParkedEvent(turn=queued.turn, n=queued.n, error=error, at=now, preview=queued.preview))
        body = {"error": error, "event": queued.event, "preview": queued.preview, "turn": queued.turn}
        self._end(queued, "parked", now, body)

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


def _address(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Keep where a busy answer goes to, where that is small: decisions are carried by continue-as-new."""
    return {"metadata": metadata} if metadata and len(str(metadata)) <= MAX_ADDRESS else {}
