"""A state machine that does the same to the inbox and to the naive one, in any order.

What it chooses from is in `inbox_choices.py`, what must hold after each step in `inbox_checks.py`.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.events import ParkedEvent
from inturn_workflows.state import SessionState
from tests.property.models.books_model import FINAL
from tests.property.models.inbox_checks import NEWER, PARTS, START, InboxUnderTest
from tests.property.models.inbox_choices import (
    AHEAD,
    KIB,
    MODES,
    NUMBERED_MODES,
    ORDERS,
    SAID,
    SIZES,
    SOURCES,
    choice,
    drawn,
    limits,
    picks,
    sequencing,
)
from tests.property.models.sequence_model import SAME


class InboxMachine(InboxUnderTest):
    """Everything that can happen to an inbox."""

    @initialize(limits=limits, sequencing=sequencing, restless=choice([False, False, False, True]))
    def start(self, limits: dict[str, Any], sequencing: dict[str, Any], restless: bool) -> None:
        """Choose how the inbox is to behave."""
        self.policy = InboxPolicy(**limits, **sequencing)
        self.ever_sparse = self.policy.sequencing == "sparse"
        self.restless = restless
        type(self).steps -= 1  # this is none

    # What producers do.

    @rule(
        pick=st.integers(0, 11),
        what=drawn(when_busy=MODES, source=SOURCES, expires_after=[None, None, 5.0]),
        how=drawn(size=SIZES, sent_ago=[None, 3.0, 7.0], signal=[False, True]),
    )
    def submit(self, pick: int, what: dict[str, Any], how: dict[str, Any]) -> None:
        """Send an event of any kind; some ids come often, and some events have none."""
        event_id = None if pick == 0 else self._name(pick)
        sent_at = None if how["sent_ago"] is None else self.now - how["sent_ago"]
        event = self.inbox.identify(
            Event(event_id=event_id, content=f"number {pick}", sent_at=sent_at, **what), "chain"
        )
        self.send(event, how["size"], signal=how["signal"])

    @rule(
        pick=st.integers(1, 11),
        what=drawn(when_busy=NUMBERED_MODES, source=SOURCES, sequencing=SAID),
        how=drawn(ahead=AHEAD, size=[100, 100, 200 * KIB], signal=[False, True]),
    )
    def submit_in_sequence(self, pick: int, what: dict[str, Any], how: dict[str, Any]) -> None:
        """Send an event with a sequence around the one that its source waits for."""
        sequence = self._sequence(what["source"], how["ahead"])
        self.ever_sparse |= what["sequencing"] == "sparse"
        event = Event(event_id=self._name(pick), content="x", sequence=sequence, **what)
        self.send(event, how["size"], signal=how["signal"])

    @rule(what=drawn(when_busy=NUMBERED_MODES, source=SOURCES), order=choice(ORDERS), size=choice(SIZES[:-2]))
    def submit_shuffled(self, what: dict[str, Any], order: tuple[int, ...], size: int) -> None:
        """Send some of the next events of a source in any order."""
        base = self._sequence(what["source"], 0)
        for ahead in self.each_checked(order):
            self.send(Event(event_id=self._name(1), content="x", sequence=base + ahead, **what), size, signal=False)

    @rule(pick=st.integers(1, 11), twins=st.integers(1, 4), signal=st.booleans())
    def submit_twin(self, pick: int, twins: int, signal: bool) -> None:
        """Send what may have come before, under one of its other ids."""
        name, last = self._name(pick), self.fresh
        aliases = [f"new{last - twin}" for twin in range(twins) if last > twin] + [f"e{pick}"]
        self.send(Event(event_id=name, content="x", aliases=tuple(aliases[-4:])), 100, signal=signal)

    @rule(name=choice([f"e{pick}" for pick in range(8, 12)]))
    def signal_nonsense(self, name: str) -> None:
        """Send something that cannot be read."""
        known = self.knows(name)
        receipt = self.inbox.park_invalid(name, "not an event", self.now, running=self.runs)
        if known:
            self.is_duplicate(receipt.wire(), name)
        else:
            self.note_return(name)
            disposition = self.model.park_invalid(name)
            assert receipt.wire() == {"event_id": name, "status": "accepted", "disposition": disposition}

    @rule(
        what=drawn(when_busy=MODES, source=SOURCES, expires_after=[None, 5.0]),
        how=drawn(count=range(2, 5), size=[1, 1, 100 * KIB], signal=[False, True]),
    )
    def flood(self, what: dict[str, Any], how: dict[str, Any]) -> None:
        """Send several alike, perhaps more than there is room for."""
        for _ in self.each_checked(range(how["count"])):
            self.send(Event(event_id=self._name(1), content="x", **what), how["size"], signal=how["signal"])

    @rule(count=st.integers(1, 6))
    def churn(self, count: int) -> None:
        """Send and run new events, so that the window rolls on."""
        for _ in self.each_checked(range(count)):
            self.send(Event(event_id=self._name(1), content="x"), 1, signal=False)
            self.everything_holds()
            self.next_turn()

    # What time does.

    @precondition(lambda self: self.inbox.queue or self.inbox.sequencer.held)
    @rule(seconds=choice([0.125, 0.5, 1.0, 3.0, 5.0, 10.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        """Wait."""
        self.now += seconds

    @precondition(lambda self: self.turn is None and self.inbox.next_due(self.policy) is not None)
    @rule()
    def wake(self) -> None:
        """Wait exactly until something is due: then something happens."""
        self.now = max(self.now, self.inbox.next_due(self.policy) or 0.0)
        # A gap may end at the very instant at which the rate lets a turn start, but for the rate's rounding.
        ends = [self.inbox.sequencer.deadline(held, self.policy) for held in self.inbox.sequencer.held]
        self.now = max([self.now, *(end for end in ends if end <= self.now + SAME)])
        assert self.begin(), "woken for nothing"
        self.now = START + math.ceil((self.now - START) * 8) / 8  # exact sums again

    # What the session does.

    @precondition(lambda self: self.turn is None and (self.inbox.queue or self.inbox.sequencer.held))
    @rule()
    def take(self) -> None:
        """Start the next turn."""
        self.begin()

    @rule()
    def next_turn(self) -> None:
        """Run one turn after another."""
        if self.turn is not None:
            self.finish("applied")
            self.everything_holds()
        self.begin()

    @precondition(lambda self: self.inbox.sequencer.held)
    @rule()
    def release(self) -> None:
        """Release what is due, whether a turn runs or not."""
        self.model.release(self.now, self.policy, self.turn)
        assert self.inbox.release(self.now, self.policy, self.turn) == self.model.interrupts

    @precondition(lambda self: self.turn is not None)
    @rule(
        count=st.integers(0, 3),
        how=drawn(size=[100, 100, 100, 100 * KIB], numbered=[False, True]),
        source=choice(SOURCES),
    )
    def steer(self, count: int, how: dict[str, Any], source: str) -> None:
        """Send something to the running turn, which then reaches a boundary."""
        for _ in range(count):
            sequence = self._sequence(source, 0) if how["numbered"] else None
            fields: dict[str, Any] = {"source": source, "sequence": sequence, "when_busy": "steer"}
            self.send(Event(event_id=self._name(1), content="x", **fields), how["size"], signal=True)
            self.everything_holds()
        joining = self.inbox.steer(str(self.turn), self.now, self.policy)
        expected = self.model.steer(str(self.turn), self.now, self.policy)
        assert [queued.turn for queued in joining] == [item.turn for item in expected]
        for queued in joining:
            self.note_taken(queued)
        self.running.joined += joining

    @precondition(lambda self: self.turn is not None)
    @rule(disposition=choice([end for end in FINAL if end != "parked"]), seconds=choice([0.0, 0.01, 3.0, 600.0]))
    def finish(self, disposition: str, seconds: float = 1.0) -> None:
        """End the running turn."""
        self.inbox.endings.finish(self.running.event_id, disposition)
        self.inbox.record_turn_duration(seconds)
        self.model.finish(disposition)
        self.end_turn()

    @precondition(lambda self: self.turn is not None)
    @rule()
    def learn_that_it_had_ended(self) -> None:
        """Find the running event in the journal, ended long ago; what joined it has a turn of its own."""
        joined = self.running.joined
        self.inbox.endings.repeat(self.running.event_id, "applied")
        self.inbox.requeue(joined)
        self.model.repeat()
        self.turns.subtract(queued.turn for queued in joined)
        self.put_back |= {queued.turn for queued in joined}
        self.state.turn = None

    @precondition(lambda self: self.inbox.queue or self.turn is not None)
    @rule(effects=st.booleans())
    def fail(self, effects: bool) -> None:
        """Fail the running turn, or the next one, for good."""
        self.begin()
        if self.turn is None:
            return
        turn = self.running
        self.inbox.endings.park(ParkedEvent(turn=turn.turn, n=turn.n, error="it broke", at=self.now, effects=effects))
        self.model.park(effects=effects)
        self.end_turn()

    @precondition(lambda self: self.started and not self.inbox.books.decisions)
    @rule()
    def fail_to_deliver(self) -> None:
        """Fail the delivery of the last turn for good."""
        turn, step = self.started[-1].turn, f"deliver~{self._name(1)}"
        parked = ParkedEvent(turn=turn, error="nobody there", at=self.now, delivery=step)
        self.inbox.endings.park_delivery(parked, self.now)
        self.model.park_delivery(turn, step)

    # What people do.

    @precondition(lambda self: self.model.waiting())
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        """Take out an event that waits or is held, or try one that may not be."""
        waiting = [*self.model.order.held, *self.model.line]
        name = waiting[pick].id if pick < len(waiting) else f"e{pick + 4}"
        cancelled = self.inbox.cancel(name, self.now, None, self.policy)
        assert cancelled is self.model.cancel(name, self.policy)

    @precondition(lambda self: len(self.model.waiting()) > 2)
    @rule(disposition=choice(["cancelled", "cancelled", "parked", "rejected"]))
    def clear(self, disposition: Literal["cancelled", "parked", "rejected"]) -> None:
        """End all that waits."""
        cleared = self.inbox.clear(disposition, self.now, "cleared")
        assert cleared == self.model.clear(disposition)

    @precondition(lambda self: self.model.shelf)
    @rule(pick=picks, force=st.booleans())
    def redrive(self, pick: int, force: bool) -> None:
        """Drive something parked again, or try what may not be."""
        name = self._parked(pick)
        shelved = self.model.shelved(name)
        redriven = self.inbox.redrive(name, self.now, force=force)
        allowed = self.model.redrive(name, self.now, force=force)
        assert isinstance(redriven, ParkedEvent) is allowed
        if shelved is not None and isinstance(redriven, ParkedEvent):
            assert redriven.turn == shelved.turn

    @precondition(lambda self: self.model.shelf)
    @rule(pick=picks)
    def discard(self, pick: int) -> None:
        """Discard something parked, or try what may not be."""
        name = self._parked(pick)
        assert (self.inbox.discard(name, self.now) is None) is self.model.discard(name)

    @rule(on_gap=choice(["skip", "park"]), sequencing=choice(["dense", "sparse"]), expires_after=choice([None, 8.0]))
    def deploy(self, **changed: Any) -> None:
        """Change the agent's policy."""
        self._deploy(changed)

    @rule(merge_limit=choice([1, 2, 20]), gap_timeout=choice([0.5, 5.0]), first_sequence=choice([0, None]))
    def deploy_other_waits(self, **changed: Any) -> None:
        """Change for how long a gap is waited for, where a source begins, and how many events are one turn."""
        self._deploy(changed)

    @rule(hold_overflow=choice(["reject", "release"]), on_late=choice(["park", "accept"]))
    def deploy_another_overflow(self, **changed: Any) -> None:
        """Change what becomes of an event that finds the hold buffer full, and of one that comes late."""
        self._deploy(changed)

    def _deploy(self, changed: dict[str, Any]) -> None:
        self.policy = self.policy.model_copy(update=changed)
        self.ever_sparse |= self.policy.sequencing == "sparse"

    # What happens between runs.

    @precondition(lambda self: self.inbox.books.decisions)
    @rule()
    def drain(self) -> None:
        """Record what was decided: each decision once, in order."""
        drained = self.inbox.books.drain_decisions(self.now)
        written, tallied = self.model.drain()
        for decision, expected in zip(drained, written, strict=False):
            assert (decision.type, decision.turn, decision.key, decision.disposition) == expected[:4]
            assert {name: decision.body.get(name) for name in expected.body} == expected.body
        counted = {
            " ".join([d.type, d.body["reason"], *([d.body["source"]] if "source" in d.body else [])]): d.body["count"]
            for d in drained[len(written) :]
        }
        assert counted == tallied
        self.keys.update(d.key for d in drained)
        assert all(times == 1 for key, times in self.keys.items() if self.came_once(key)), "a decision came twice"

    @rule(newer=st.booleans())
    def continue_as_new(self, newer: bool) -> None:
        """Carry everything into another run, which a newer version may have written."""
        carried = json.loads(self.state.model_dump_json())
        if newer:
            self.newer = True
            for place in (carried, carried["inbox"], *(carried["inbox"].setdefault(part, {}) for part in PARTS)):
                place |= NEWER
        before, self.state = self.state.model_dump(), SessionState.model_validate(carried)
        if not newer:
            assert self.state.model_dump() == before

    # Inside.

    def _sequence(self, source: str, ahead: int) -> int:
        return max(0, (self.model.order.next.get(source) or 0) + ahead)

    def _name(self, pick: int) -> str:
        """Return one of a few ids that come again, or mostly a new one."""
        if pick > 7:
            return f"e{pick}"
        self.fresh += 1
        return f"new{self.fresh}"

    def _parked(self, pick: int) -> str:
        shelf = self.model.shelf
        return shelf[pick % 3].id if pick % 3 < len(shelf) else f"e{pick + 4}"
