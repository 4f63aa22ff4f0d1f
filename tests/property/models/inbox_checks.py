"""What holds after every step of the state machine, whatever the steps were.

Most of it is that the inbox and the model agree. What does not lean on the model is checked by itself: nothing is
lost, nothing runs twice, turns keep their order and their rate, nothing grows, and whatever waits for a time is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Queued, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState
from tests.property.models.books_model import ALWAYS_TOLD, Bounds
from tests.property.models.inbox_model import InboxModel
from tests.property.models.sequence_model import SAME, Item
from tests.support.arrivals import arrival

BOUNDS = Bounds(window=12, recent=3, parked=3, decisions=6, sources=4)
NEWER = {"a_field_of_tomorrow": {"kept": [1, "two"]}}
PARTS = ("queue", "parked", "books", "dedup", "sequencer", "rate")
START = 1_763_677_084.5
T = TypeVar("T")


class InboxUnderTest(RuleBasedStateMachine):
    """An inbox in a session's state, the model of it, and what was seen of both."""

    steps = 0
    """How many were done, by all of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = InboxPolicy()
        self.state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))
        self.model = InboxModel(BOUNDS)
        self.now = START
        self.newer = False
        self.restless = False
        self.ever_sparse = False
        """Then a number may come twice."""
        self.started: list[Queued] = []
        self.turns: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.came_again: set[str] = set()
        self.reached: dict[str, int] = {}
        """The highest sequence that was taken of a source."""
        self.numbered: set[str] = set()
        """Sources of which something numbered came."""
        self.restarted: set[str] = set()
        """Sources whose numbers may have begun again, since they were forgotten."""
        self.put_back: set[str] = set()
        """Turns that joined one which had ended: they come out of line."""
        self.last_taken = 0
        self.fresh = 0

    @property
    def inbox(self) -> Inbox:
        """The inbox under test: another object after each continue-as-new."""
        return self.state.inbox

    @property
    def turn(self) -> str | None:
        """The running turn."""
        return self.state.turn.turn if self.state.turn else None

    @property
    def runs(self) -> list[str]:
        """The ids that the running turn answers."""
        turn = self.state.turn
        return [turn.event_id, *(queued.event_id for queued in turn.joined)] if turn else []

    @property
    def running(self) -> TurnState:
        """The running turn's state."""
        assert self.state.turn is not None
        return self.state.turn

    # Steps that several rules share.

    def send(self, event: Event, size: int, *, signal: bool) -> None:
        """Send an event: as a signal it is accepted whatever happens, as an update it may be refused."""
        name = str(event.event_id)
        known = self.knows(name)
        twin = None if known else next((alias for alias in event.aliases if self._is_event(alias)), None)
        again = known and not self.model.still_waits(name) and self.model.comes_again(name)
        item = Item(
            name,
            at=self.now,
            size=size,
            source=event.source,
            sequence=event.sequence,
            sequencing=event.sequencing,
            aliases=event.aliases,
            when_busy=event.when_busy,
            expires_after=event.expires_after,
            sent_at=event.sent_at,
        )
        expected = None if (known and not again) or twin else self.model.refusal(item, self.policy)
        sent, busy = arrival(event, size), self.turn is not None
        refusal = self.inbox.check(sent, self.now, self.policy, busy=busy, running=self.runs)
        assert ((refusal.type, refusal.behind_a_gap) if refusal else None) == expected
        if refusal is not None:
            self._refuse(item, event, refusal, signal=signal)
            return
        admission = self.inbox.admit(sent, self.now, self.policy, turn=self.turn, running=self.runs)
        receipt = admission.receipt.wire()
        if again:
            self.model.correct(item)
            assert receipt == {"event_id": name, "status": "accepted", "position": len(self.model.line) - 1}
            return
        if known or twin:
            assert admission.interrupts is None
            self.is_duplicate(receipt, twin or name)
            return
        self.note_return(name)
        status, disposition = self.model.accept(item, self.policy, self.turn)
        assert receipt.pop("position", None) == self.model.place(item)
        assert admission.interrupts == self.model.interrupts
        assert receipt == {"event_id": name, "status": status} | ({"disposition": disposition} if disposition else {})

    def begin(self) -> bool:
        """Start the next turn, where none runs and one may. Returns whether anything happened."""
        if self.turn is not None:
            return False
        before = len(self.inbox.queue), len(self.inbox.sequencer.held)
        self.model.release(self.now, self.policy)
        wait = self.model.pace.opens(self.policy) - self.now
        taken = self.inbox.take(self.now, self.policy)
        # At the very instant the inbox's own rounding decides.
        may_start = wait < 0 if abs(wait) > SAME else len(self.inbox.queue) < len(self.model.line)
        expected = self.model.take(self.now, self.policy) if may_start else []
        assert [queued.turn for queued in taken] == [item.turn for item in expected]
        for queued in taken:
            self.note_turn(queued)
        if taken:
            self.started.append(taken[0])
            self.state.turn = TurnState(turn=taken[0].turn, n=taken[0].n, joined=taken[1:])
        return (len(self.inbox.queue), len(self.inbox.sequencer.held)) != before

    def end_turn(self) -> None:
        """Book what joined the turn that has ended."""
        for queued in self.running.joined:
            self.inbox.endings.merge(queued.event_id, self.running.event_id, self.now, {})
        self.state.turn = None

    def knows(self, name: str) -> bool:
        """Return whether the window knows an id, and check that it may, or need not."""
        known = self.inbox.knows(name, self.runs)
        assert known or not self.model.must_know(name), "an id was forgotten"
        assert not known or self.model.may_know(name), "an id is known that should not be"
        return known

    def _is_event(self, alias: str) -> bool:
        """Return whether another name of an event is known, and not as that of something that was no event."""
        known = self.knows(alias)
        other = self.model.waits_under_alias(alias) or alias in self.runs or self.inbox.dedup.has_alias(alias)
        return known and bool(other or not self.model.comes_again(alias))

    def is_duplicate(self, receipt: dict[str, Any], name: str) -> None:
        """Check the receipt of an id that is known."""
        waiting = self.model.waits_under_alias(name)
        name = waiting.id if waiting else name
        assert (receipt["event_id"], receipt["status"]) == (name, "duplicate")
        assert receipt.get("position") == self.model.position(name)
        if self.came_once(name):
            assert receipt.get("disposition") in self.model.standings(name)

    def came_once(self, key: str) -> bool:
        """Return whether a decision's or a turn's event came once, or only while the window knew it."""
        return key.partition("/")[0].partition("~")[0] not in self.came_again

    # What always holds.

    @invariant()
    def everything_holds(self) -> None:
        """Check all that is below, behind a continue-as-new where this example has one after every step."""
        type(self).steps += 1
        if self.restless:
            self.state = SessionState.model_validate_json(self.state.model_dump_json())
        self.the_books_balance()
        self.the_same_waits()
        self.the_same_is_held()
        self.no_timer_is_lost()
        self.nothing_grows()
        self.the_last_ids_are_known()
        self.fields_of_a_newer_version_stay()

    def each_checked(self, things: Iterable[T]) -> Iterator[T]:
        """Go through the parts of a rule, with every check between them: each is a step."""
        for number, thing in enumerate(things):
            if number:
                self.everything_holds()
            yield thing

    def the_books_balance(self) -> None:
        """Accepted is the sum of dispositions, what waits and what runs; both sides count the same."""
        running = 1 + len(self.running.joined) if self.turn is not None else 0
        book = self.inbox.balance(running=running)
        assert book == {name: count for name, count in self.model.book().items() if count or name == "accepted"}
        assert book.pop("accepted") == sum(book.values())

    def the_same_waits(self) -> None:
        """Queue, groups, bytes, parked events and decisions are the model's."""
        inbox, line = self.inbox, self.model.line
        joined = [False, *(item.group == before.group for before, item in pairwise(line))]
        expected = [(item.turn, item.n, item.size, item.steers) for item in line]
        assert [(queued.turn, queued.n, queued.size, queued.steers) for queued in inbox.queue.events] == expected
        assert [queued.joins for queued in inbox.queue.events] == joined[: len(line)]
        assert inbox.queue.bytes == sum(item.size for item in line)
        assert [parked.turn for parked in inbox.parked.events] == [shelved.turn for shelved in self.model.shelf]
        assert [decision.key for decision in inbox.books.decisions] == [written.key for written in self.model.written]

    def the_same_is_held(self) -> None:
        """What is held, and what every source waits for, are the model's."""
        sequencer, order = self.inbox.sequencer, self.model.order
        held = sorted(queued.turn for queued in sequencer.held if queued.event)
        assert held == sorted(item.id for item in order.held if item.state == "held")
        assert len(sequencer.held) == len(order.held), "a place that a cancelled one keeps"
        assert sequencer.bytes == self.model.bytes_held()
        assert {name: source.next for name, source in sequencer.sources.items()} == order.next
        self.restarted |= self.numbered - sequencer.sources.keys()
        self.numbered |= sequencer.sources.keys()
        for name, source in sequencer.sources.items():
            assert abs(source.wait_until - order.patience.get(name, 0.0)) <= SAME

    def no_timer_is_lost(self) -> None:
        """Whatever can be done later is told, with its time."""
        due, expected = self.inbox.next_due(self.policy), self.model.due(self.policy)
        assert (due is None) == (expected is None)
        if due is not None and expected is not None:
            assert abs(max(due, self.now) - max(expected, self.now)) <= SAME

    def nothing_grows(self) -> None:
        """What waits, sources, parked events, decisions and window keep their bounds."""
        inbox, policy = self.inbox, self.policy
        waiting = [queued for queued in [*inbox.queue.events, *inbox.sequencer.held] if queued.event]
        waiting = [queued for queued in waiting if queued.turn not in self.put_back]
        assert len(waiting) <= policy.capacity + 1  # one to fill a gap; those that come back need no free place
        assert sum(queued.size for queued in waiting) <= 2 * policy.capacity_bytes
        assert len(inbox.sequencer.held) <= policy.hold_capacity
        assert len(inbox.sequencer.sources) <= max(BOUNDS.sources, len(inbox.sequencer.held))
        assert len(inbox.parked) <= BOUNDS.parked
        told = [d for d in inbox.books.decisions if d.type not in ALWAYS_TOLD and d.disposition != "discarded"]
        assert len(told) <= BOUNDS.decisions
        assert len(inbox.books.overflowed) <= 30
        assert len(inbox.dedup) <= BOUNDS.window + 2 * BOUNDS.recent

    def the_last_ids_are_known(self) -> None:
        """The window knows every id that it has to."""
        for name in self.model.remembered[-BOUNDS.window :]:
            assert not name or name in self.inbox.dedup

    def fields_of_a_newer_version_stay(self) -> None:
        """What another version added is still there."""
        if self.newer:
            for place in (self.state, self.inbox, *(getattr(self.inbox, part) for part in PARTS)):
                assert place.model_extra == NEWER

    # Inside.

    def _refuse(self, item: Item, event: Event, refusal: Refusal, *, signal: bool) -> None:
        wait = refusal.retry_after
        self.is_told_when(refusal)
        if signal:
            self.inbox.reject(event, refusal, self.now)
            self.model.reject(item.id, refusal.type, event.source)
        else:
            self.inbox.note_refusal(event, refusal, self.policy, self.now)
            sparse = self.model.order.is_sparse(event.source, self.policy, item)
            numbered = item.sequence is not None and not sparse
            if wait is not None and numbered and not refusal.behind_a_gap:
                if self.model.order.is_missing(item, self.policy):
                    self.model.order.refuse(event.source, self.now + wait + self.policy.gap_timeout)
        may_come = item.id not in self.inbox.dedup or self.model.comes_again(item.id)
        assert may_come, "a refused id may come again"

    def is_told_when(self, refusal: Refusal) -> None:
        """Check that a refused event is told to come when there may be room, and not before."""
        wait, order = refusal.retry_after, self.model.order
        if refusal.type == "InvalidEvent":
            assert wait is None
            return
        assert wait is not None
        assert 0.1 <= wait <= 60
        if refusal.behind_a_gap:
            room = min(order.deadline(source, self.policy) for source in order.waiting_sources(self.policy))
            assert abs(wait - min(max(room - self.now, 0.1), 60)) <= SAME
        else:
            assert wait >= min(self.model.pace.opens(self.policy) - self.now, 60) - SAME

    def note_return(self, name: str) -> None:
        """Note an id that is taken again since the window forgot it: only the journal can tell that apart.

        One that was rejected may come again; it runs or parks a second time only where it was rejected in the middle of
        a turn, or after it had been parked and driven again.
        """
        before = [item for item in self.model.came if item.id == name]
        if self.turns[name] or any(item.state != "rejected" or item.times for item in before):
            self.came_again.add(name)

    def note_once(self, queued: Queued) -> None:
        """Count what becomes a turn, or part of one: once each."""
        self.turns[queued.turn] += 1
        assert self.turns[queued.turn] == 1 or not self.came_once(queued.turn), "an event ran twice"

    def note_turn(self, queued: Queued) -> None:
        """Hold what is taken for a turn against what was: in order of acceptance, but for what is numbered."""
        self.note_taken(queued)
        redriven = "~" in queued.turn
        may_overtake = queued.turn in self.put_back or redriven or queued.mode == "interrupt"
        if "sequence" not in queued.event and not may_overtake:
            assert queued.n > self.last_taken, "first come, first served"
            self.last_taken = queued.n

    def note_taken(self, queued: Queued) -> None:
        """Hold what is taken, for a turn or to join one, against what was: once each, in the order of its source."""
        self.note_once(queued)
        source, sequence = queued.event.get("source", "client"), queued.event.get("sequence")
        if sequence is not None and source not in self.restarted and queued.turn not in self.put_back:
            assert sequence > self.reached.get(source, -1) - self.ever_sparse, "out of sequence"
            self.reached[source] = sequence
