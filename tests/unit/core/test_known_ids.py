"""What waits, runs or is parked here is known by its id, whatever the window has forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox.dedup import SIZE, DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState

pytestmark = pytest.mark.promise("ACC-2", "ACC-8", "SUR-6")
NOW = 1_763_677_084.5
POLICY = InboxPolicy()


def session() -> SessionState:
    return SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))


def send(state: SessionState, event_id: str, **fields: Any) -> Receipt | Refusal:
    said: dict[str, Any] = {"content": "hi", **fields}
    arrival = Arrival.of(Event(event_id=event_id, **said))
    refusal = state.inbox.check(arrival, NOW, POLICY, busy=state.turn is not None, running=state.answered)
    if refusal is not None:
        return refusal
    turn = state.turn.turn if state.turn else None
    return state.inbox.admit(arrival, NOW, POLICY, turn=turn, running=state.answered).receipt


def begin(state: SessionState) -> TurnState:
    taken = state.inbox.take(NOW, POLICY)
    state.turn = TurnState.of(taken[0], NOW)
    state.turn.join(taken[1:])
    return state.turn


def forget(state: SessionState, event_id: str) -> None:
    """Let so many come and be cancelled that the window forgets an id."""
    for number in range(2 * SIZE):
        send(state, f"other{number}")
        state.inbox.cancel(f"other{number}", NOW, None, POLICY)
    state.inbox.books.drain_decisions(NOW)
    assert event_id not in state.inbox.dedup


def test_an_event_that_runs_is_a_duplicate_though_the_window_forgot_it() -> None:
    state = session()
    send(state, "e1")
    begin(state)
    forget(state, "e1")
    assert send(state, "e1") == Receipt("e1", "duplicate", disposition="running")
    assert state.inbox.park_invalid("e1", "no event", NOW, "", state.answered).status == "duplicate"
    assert not state.inbox.queue


def test_an_event_that_joined_a_turn_is_a_duplicate_until_it_is_no_part_of_it_any_more() -> None:
    state = session()
    send(state, "e1")
    turn = begin(state)
    send(state, "e2", when_busy="steer")
    turn.join(state.inbox.steer("e1", NOW, POLICY, turn.room))
    forget(state, "e2")
    assert send(state, "e2") == Receipt("e2", "duplicate", disposition="running")
    state.inbox.requeue(turn.part(["e2"]))
    assert send(state, "e2") == Receipt("e2", "duplicate", position=0, disposition="pending")
    assert [queued.turn for queued in state.inbox.queue.events] == ["e2"]


def test_an_event_that_is_parked_here_is_a_duplicate_and_so_is_one_that_is_driven_again() -> None:
    state = session()
    send(state, "e1")
    turn = begin(state)
    state.inbox.endings.park(ParkedEvent(turn=turn.turn, n=turn.n, error="it broke", at=NOW))
    state.turn = None
    forget(state, "e1")
    assert send(state, "e1") == Receipt("e1", "duplicate", disposition="parked")
    state.inbox.redrive("e1", NOW)
    assert send(state, "e1") == Receipt("e1", "duplicate", position=0, disposition="pending")
    begin(state)
    assert send(state, "e1") == Receipt("e1", "duplicate", disposition="running")
    assert state.inbox.balance(running=1)["accepted"] == 1 + 2 * SIZE


def test_what_only_a_delivery_of_is_parked_has_ended_and_is_no_duplicate_by_that() -> None:
    state = session()
    state.inbox.parked.add(ParkedEvent(turn="e1", delivery="deliver", error="nobody there"))
    assert not state.inbox.knows("e1")


def test_copies_of_one_id_never_break_the_queue_or_a_turn() -> None:
    state = session()
    copies = [Queued(turn=turn, n=n, event={"content": "hi"}, size=9) for n, turn in enumerate(["e", "e", "e~1"])]
    for queued in copies:
        state.inbox.queue.append(queued)
    assert state.inbox.duplicate("e") == Receipt("e", "duplicate", position=0, disposition="pending")
    carried = SessionState.model_validate_json(state.model_dump_json())
    for each in (state, carried):
        turn = TurnState(turn="host")
        turn.join([each.inbox.queue.pop(0) for _ in copies])
        assert (len(each.inbox.queue), each.inbox.queue.bytes) == (0, 0)
        each.inbox.requeue(turn.part(["e"]))
        assert turn.merged == {}
        assert [queued.turn for queued in each.inbox.queue.events] == ["e", "e", "e~1"]
        assert each.inbox.cancel("e", NOW, None, POLICY)
        assert len(each.inbox.queue) == 2
        assert each.inbox.clear("cancelled", NOW, "x") == ["e", "e"]
        assert not each.inbox.knows("f")


def test_what_came_as_no_event_is_made_whole_by_the_one_that_was_meant() -> None:
    state = session()
    state.inbox.park_invalid("e1", "content is empty", NOW, "{")
    assert state.inbox.park_invalid("e1", "content is empty", NOW, "{").status == "duplicate"
    assert isinstance(state.inbox.redrive("e1", NOW), Refusal), "there is nothing to drive"
    receipt = send(state, "e1", content="what was meant", sender="ann", metadata={"to": "C1"}, sent_at=NOW - 9)
    assert receipt == Receipt("e1", "accepted", position=0)
    assert send(state, "e1") == Receipt("e1", "duplicate", position=0, disposition="pending")
    assert len(state.inbox.parked) == 0
    turn = begin(state)
    assert (turn.turn, turn.event_id) == ("e1~1", "e1"), "a turn of its own: the journal has the first as parked"
    said = {"event_id": "e1", "content": "what was meant", "sender": "ann", "metadata": {"to": "C1"}}
    assert turn.event == said | {"sent_at": NOW - 9}
    assert state.inbox.balance(running=1) == {"accepted": 1, "running": 1}
    state.inbox.endings.finish("e1", "applied")
    assert state.inbox.balance(running=0) == {"accepted": 1, "applied": 1}


def test_what_was_meant_is_refused_where_there_is_no_room_and_may_come_again() -> None:
    state = session()
    state.inbox.park_invalid("e1", "content is empty", NOW, "{")
    for number in range(POLICY.capacity):
        send(state, f"e-{number}")
    refused = send(state, "e1")
    assert isinstance(refused, Refusal)
    assert refused.type == "Backpressure"
    begin(state)
    assert send(state, "e1") == Receipt("e1", "accepted", position=POLICY.capacity - 1)


def test_an_event_that_was_set_aside_is_not_replaced_by_another_under_its_id() -> None:
    state = session()
    send(state, "e1")
    turn = begin(state)
    state.inbox.endings.park(ParkedEvent(turn=turn.turn, n=turn.n, error="it broke", at=NOW))
    state.turn = None
    assert send(state, "e1", content="something else") == Receipt("e1", "duplicate", disposition="parked")
