"""A state machine that does the same to the inbox and to the naive one.

After each step both must hold the same, and what must always hold does. Bounds are small here, so that a few steps
reach them; `test_inbox.py` and `test_window.py` pin the real ones.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Literal
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from inturn.agents import InboxPolicy
from inturn.events import Event
from tests.property.inbox_model import FINAL, Bounds, InboxModel
from workflows import inbox as inbox_module
from workflows import window as window_module
from workflows.inbox import Inbox, ParkedEvent, Queued, Refusal
from workflows.state import SessionState, TurnState
from workflows.window import Window

BOUNDS = Bounds(events=5, size=1_000, window=12, recent=3, parked=3, decisions=6)
NEWER = {"a_field_of_tomorrow": {"kept": [1, "two"]}}
names = st.integers(0, 7).map(lambda number: f"e{number}")
picks = st.integers(0, 7)
choice = st.sampled_from


class InboxMachine(RuleBasedStateMachine):
    """An inbox in a session's state, and the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = InboxPolicy(capacity=BOUNDS.events, capacity_bytes=BOUNDS.size)
        self.state = SessionState(inbox=Inbox(window=Window(salt="salt")))
        self.model = InboxModel(BOUNDS)
        self.now = 1_000.0
        self.fresh = 0
        self.started: list[Queued] = []
        self.keys: Counter[str] = Counter()
        self.newer = False
        self.came_again: set[str] = set()

    @property
    def inbox(self) -> Inbox:
        """The inbox under test: another object after each continue-as-new."""
        return self.state.inbox

    # What producers do.

    @rule(
        name=st.one_of(names, names, choice(["no id", "no id but sent_at", "sequenced"])),
        size=choice([1, 100, 100, 400, 1_001]),
        when_busy=choice(["queue", "queue", "queue", "reject", "interrupt", "merge"]),
        expires_after=choice([None, 5.0]),
        sent_ago=choice([None, 3.0]),
        signal=st.booleans(),
    )
    def submit(
        self,
        name: str,
        size: int,
        when_busy: Literal["queue", "reject", "interrupt", "merge"],
        expires_after: float | None,
        sent_ago: float | None,
        signal: bool,
    ) -> None:
        """Send an event: as a signal it is accepted whatever happens, as an update it may be refused."""
        sent_at = None if sent_ago is None else self.now - sent_ago
        event = Event(
            event_id=name if " " not in name else None,
            content=f"hello from {name}",
            when_busy=when_busy,
            expires_after=expires_after,
            sent_at=900.0 if name == "no id but sent_at" else sent_at,
            sequence=1 if name == "sequenced" else None,
        )
        self._send(self.inbox.identify(event), size, signal=signal)

    @rule(name=names)
    def signal_nonsense(self, name: str) -> None:
        """Send something that cannot be read."""
        known = self._known(name)
        receipt = self.inbox.park_invalid(name, "not an event", self.now)
        if known:
            self._is_duplicate(receipt.wire(), name)
        else:
            self._note_return(name)
            disposition = self.model.park_invalid(name)
            assert receipt.wire() == {"event_id": name, "status": "accepted", "disposition": disposition}

    @rule(count=st.integers(1, 12))
    def churn(self, count: int) -> None:
        """Let so many new events through that the window rolls on."""
        for _ in range(count):
            self.fresh += 1
            self._send(Event(event_id=f"new{self.fresh}", content="x"), 1, signal=False)
            self.take()
            self.finish("applied")

    @rule(name=names, count=st.integers(3, 9), when_busy=choice(["queue", "reject"]))
    def flood(self, name: str, count: int, when_busy: Literal["queue", "reject"]) -> None:
        """Signal more than there is room for."""
        for number in range(count):
            self._send(Event(event_id=f"{name}.{number}", content="x", when_busy=when_busy), 1, signal=True)

    # What the session does.

    @precondition(lambda self: self.model.line)
    @rule(seconds=choice([0.5, 3.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        """Wait."""
        self.now += seconds

    @precondition(lambda self: self.model.line)
    @rule()
    def take(self) -> None:
        """Start the next turn, where none runs."""
        if self.model.running is not None:
            return
        queued, expected = self.inbox.take(self.now), self.model.take(self.now)
        assert (queued.turn if queued else None) == (expected.turn if expected else None)
        if queued is not None:
            self.started.append(queued)
            self.state.turn = TurnState(turn=queued.turn, n=queued.n)

    @precondition(lambda self: self.state.turn is not None)
    @rule(disposition=choice([end for end in FINAL if end != "parked"]))
    def finish(self, disposition: str) -> None:
        """End the running turn."""
        if self.state.turn is None:
            return
        self.inbox.finish(self.state.turn.event_id, disposition)
        self.model.finish(disposition)
        self.state.turn = None

    @precondition(lambda self: self.model.line or self.model.running)
    @rule(effects=st.booleans())
    def park(self, effects: bool) -> None:
        """Let the running turn, or the next one, fail for good."""
        self.take()
        turn = self.state.turn
        if turn is None:
            return
        self.inbox.park(ParkedEvent(turn=turn.turn, n=turn.n, error="it broke", at=self.now, effects=effects))
        self.model.park(effects=effects)
        self.state.turn = None

    @precondition(lambda self: self.started and not self.inbox.decisions)
    @rule()
    def park_delivery(self) -> None:
        """Let the delivery of the last turn fail for good."""
        turn, self.fresh = self.started[-1].turn, self.fresh + 1
        step = f"deliver~{self.fresh}"
        parked = ParkedEvent(turn=turn, error="nobody there", at=self.now, delivery=step)
        self.inbox.park_delivery(parked, self.now)
        self.model.park_delivery(turn, step)

    # What people do.

    @precondition(lambda self: self.model.line)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        """Take an event out of the queue, or try one that may not be in it."""
        name = self.model.line[pick].id if pick < len(self.model.line) else f"e{pick}"
        assert self.inbox.cancel(name, self.now, None) is self.model.cancel(name)

    @precondition(lambda self: len(self.model.line) > 2)
    @rule(disposition=choice(["cancelled", "cancelled", "parked", "rejected"]))
    def clear(self, disposition: Literal["cancelled", "parked", "rejected"]) -> None:
        """End all that waits."""
        assert self.inbox.clear(disposition, self.now, "cleared") == self.model.clear(disposition)

    @precondition(lambda self: self.model.shelf)
    @rule(pick=picks, force=st.booleans())
    def redrive(self, pick: int, force: bool) -> None:
        """Drive something parked again, or try what may not be."""
        name = self.model.shelf[pick % 3].id if pick % 3 < len(self.model.shelf) else f"e{pick}"
        shelved = self.model.shelved(name)
        redriven = self.inbox.redrive(name, self.now, force=force)
        assert isinstance(redriven, ParkedEvent) is self.model.redrive(name, force=force)
        if shelved is not None and isinstance(redriven, ParkedEvent):
            assert redriven.turn == shelved.turn

    @precondition(lambda self: self.model.shelf)
    @rule(pick=picks)
    def discard(self, pick: int) -> None:
        """Give something parked up, or try what may not be."""
        name = self.model.shelf[pick % 3].id if pick % 3 < len(self.model.shelf) else f"e{pick}"
        assert (self.inbox.discard(name, self.now) is None) is self.model.discard(name)

    # What happens between runs.

    @precondition(lambda self: self.inbox.decisions)
    @rule()
    def drain(self) -> None:
        """Record what was decided: each decision once, in order."""
        drained = self.inbox.drain_decisions(self.now)
        written, tallied = self.model.drain()
        listed = drained[: len(written)]
        assert [(d.type, d.turn, d.key, d.disposition) for d in listed] == written
        counted = {f"{d.type} {d.body['reason']}": d.body["count"] for d in drained[len(written) :]}
        assert counted == tallied
        self.keys.update(d.key for d in drained)
        assert all(times == 1 for key, times in self.keys.items() if self._came_once(key)), "a decision came twice"

    @rule(newer=st.booleans())
    def continue_as_new(self, newer: bool) -> None:
        """Carry everything into another run, which a newer version may have written."""
        carried = json.loads(self.state.model_dump_json())
        if newer:
            self.newer = True
            for place in (carried, carried["inbox"], carried["inbox"]["window"]):
                place |= NEWER
        before, self.state = self.state, SessionState.model_validate(carried)
        if not newer:
            assert self.state == before

    # What always holds.

    @invariant()
    def the_books_balance(self) -> None:
        """Accepted is the sum of dispositions, what waits and what runs; both sides count the same."""
        book = self.inbox.book(running=self.state.turn is not None)
        accepted = book.pop("accepted")
        assert accepted == sum(book.values())
        assert {"accepted": accepted, **book} == self.model.book()

    @invariant()
    def the_same_waits(self) -> None:
        """Queue, bytes, parked events and decisions are the model's."""
        queue = [(queued.turn, queued.n, queued.size) for queued in self.inbox.queue]
        assert queue == [(item.turn, item.n, item.size) for item in self.model.line]
        assert self.inbox.queued_bytes == self.model.bytes_waiting()
        assert [parked.turn for parked in self.inbox.parked] == [shelved.turn for shelved in self.model.shelf]
        assert [decision.key for decision in self.inbox.decisions] == [written[2] for written in self.model.written]

    @invariant()
    def nothing_grows(self) -> None:
        """Queue, bytes, parked events, decisions and window keep their bounds."""
        inbox = self.inbox
        assert len(inbox.queue) <= BOUNDS.events + BOUNDS.parked  # redriven events need no free place
        assert inbox.queued_bytes <= BOUNDS.size
        assert len(inbox.parked) <= BOUNDS.parked
        told = [d for d in inbox.decisions if d.type != "event.parked" and d.disposition != "discarded"]
        assert len(told) <= BOUNDS.decisions
        assert len(inbox.overflowed) <= 8
        assert len(inbox.window) <= BOUNDS.window + 2 * BOUNDS.recent

    @invariant()
    def the_last_ids_are_known(self) -> None:
        """The window knows every id that it has to."""
        for name in self.model.remembered[-BOUNDS.window :]:
            assert not name or name in self.inbox.window

    @invariant()
    def turns_start_in_order_and_once(self) -> None:
        """First come, first served; an event has one turn each time it is driven."""
        served = [item.n for item in self.started if "~" not in item.turn and item.event.get("when_busy") is None]
        assert served == sorted(served)
        turns = Counter(item.turn for item in self.started if self._came_once(item.turn))
        assert all(times == 1 for times in turns.values()), "an event ran twice"

    @invariant()
    def fields_of_a_newer_version_stay(self) -> None:
        """What another version added is still there."""
        if self.newer:
            for place in (self.state, self.inbox, self.inbox.window):
                assert place.model_extra == NEWER

    # Inside.

    def _send(self, event: Event, size: int, *, signal: bool) -> None:
        name = event.event_id
        assert name is not None
        known = self._known(name)
        refusal = self.inbox.check(event, size, self.policy, busy=self.state.turn is not None)
        expected = self.model.refusal(size, event.when_busy, sequence=event.sequence is not None)
        assert (refusal.type if refusal else None) == (None if known else expected)
        if refusal is not None:
            assert refusal.type == "InvalidEvent" or (refusal.retry_after or 0) >= 1
            self._refused(name, refusal, signal=signal)
            return
        receipt = self.inbox.admit(event, size, self.now).wire()
        if known:
            self._is_duplicate(receipt, name)
            return
        since = self.now if event.sent_at is None else event.sent_at
        deadline = None if event.expires_after is None else since + event.expires_after
        self._note_return(name)
        place = self.model.accept(name, size, deadline, front=event.when_busy == "interrupt")
        assert receipt == {"event_id": name, "status": "accepted", "position": place}

    def _refused(self, name: str, refusal: Refusal, *, signal: bool) -> None:
        if signal:
            self.inbox.reject(Event(event_id=name, content="x"), refusal, self.now)
            self.model.reject(name, refusal.type)
        assert name not in self.inbox.window, "a refused id may come again"

    def _known(self, name: str) -> bool:
        known = name in self.inbox.window
        assert known or not self.model.must_know(name), "an id was forgotten"
        assert not known or self.model.may_know(name), "an id is known that should not be"
        return known

    def _is_duplicate(self, receipt: dict[str, Any], name: str) -> None:
        assert (receipt["event_id"], receipt["status"]) == (name, "duplicate")
        assert receipt.get("position") == self.model.position(name)
        if self._came_once(name):
            assert receipt.get("disposition") in self.model.standings(name)

    def _note_return(self, name: str) -> None:
        """Note an id that is accepted although it was before: what the window forgot is told apart by the journal."""
        ended = any(item.id == name and item.state != "rejected" for item in self.model.came)
        if ended or any(queued.turn == name for queued in self.started):
            self.came_again.add(name)

    def _came_once(self, key: str) -> bool:
        return key.partition("/")[0].partition("~")[0] not in self.came_again


def explore(examples: int, steps: int, *, start: int | None = None, shrink: bool = True) -> None:
    """Run the machine over `examples` sequences of up to `steps` steps: other ones for each `start`.

    Raises:
        AssertionError: The inbox did what it must not.
    """
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=False,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    machine = InboxMachine if start is None else seed(start)(type("Seeded", (InboxMachine,), {}))
    with (
        patch.multiple(window_module, SIZE=BOUNDS.window, RECENT=BOUNDS.recent),
        patch.multiple(inbox_module, MAX_PARKED=BOUNDS.parked, MAX_DECISIONS=BOUNDS.decisions),
    ):
        run_state_machine_as_test(machine, settings=how)
