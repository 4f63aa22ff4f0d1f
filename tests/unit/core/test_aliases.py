"""One thing that comes under several ids is one event: while it waits, runs, is parked or remembered."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.errors import InvalidEvent
from inturn.events import Event, make_event
from inturn.policy import InboxPolicy
from inturn_activities.messages import Ended
from inturn_workflows.inbox import recovered
from inturn_workflows.inbox.dedup import RECENT, SIZE, DedupWindow
from inturn_workflows.inbox.endings import parked_as
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState

pytestmark = pytest.mark.promise("ACC-2", "SUR-6")
NOW = 1_763_677_084.5
POLICY = InboxPolicy()


def session() -> SessionState:
    return SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))


def arrival(event_id: str, *aliases: str, **fields: Any) -> Arrival:
    said: dict[str, Any] = {"content": "hi", **fields}
    return Arrival.of(Event(event_id=event_id, aliases=aliases, **said))


def send(state: SessionState, event_id: str, *aliases: str, **fields: Any) -> Receipt:
    came = arrival(event_id, *aliases, **fields)
    assert state.inbox.check(came, NOW, POLICY, busy=False, running=state.answered) is None
    turn = state.turn.turn if state.turn else None
    return state.inbox.admit(came, NOW, POLICY, turn=turn, running=state.answered).receipt


def begin(state: SessionState) -> TurnState:
    taken = state.inbox.take(NOW, POLICY)
    state.turn = TurnState.of(taken[0], NOW)
    state.turn.join(taken[1:])
    return state.turn


def carried(state: SessionState) -> SessionState:
    return SessionState.model_validate_json(state.model_dump_json())


TWINS = [
    ("own id", "e1", ()),
    ("its own among others", "e1", ("x",)),
    ("another one of it", "e2", ("a",)),
    ("under one of its others", "a", ()),
    ("its own id as another", "e2", ("e1",)),
    ("one of several", "e2", ("x", "y", "b")),
]


@pytest.mark.parametrize(("event_id", "aliases"), [twin[1:] for twin in TWINS], ids=[twin[0] for twin in TWINS])
@pytest.mark.parametrize("again", [False, True], ids=["", "carried"])
def test_what_is_known_under_any_of_its_ids_is_a_duplicate_wherever_the_first_stands(
    event_id: str, aliases: tuple[str, ...], again: bool
) -> None:
    state = session()
    send(state, "e1", "a", "b")

    def duplicate(receipt: Receipt) -> Receipt:
        nonlocal state
        state = carried(state) if again else state
        found = send(state, event_id, *aliases)
        assert found.status == "duplicate"
        assert state.inbox.balance(running=state.running)["accepted"] == 1, "nothing came of it"
        assert receipt.disposition in (found.disposition, "running") or found.event_id != "e1"
        return found

    assert duplicate(Receipt("e1", "duplicate", disposition="pending")).event_id == "e1"
    begin(state)
    duplicate(Receipt("e1", "duplicate", disposition="running"))
    state.inbox.endings.park(ParkedEvent(turn="e1", n=1, error="it broke", at=NOW))
    state.turn = None
    duplicate(Receipt("e1", "duplicate", disposition="parked"))
    state.inbox.redrive("e1", NOW)
    duplicate(Receipt("e1", "duplicate", disposition="pending"))
    begin(state)
    state.inbox.endings.finish("e1", "applied")
    state.turn = None
    duplicate(Receipt("e1", "duplicate", disposition="applied"))


def test_what_is_held_or_runs_is_known_by_its_other_ids_though_the_window_forgot_them() -> None:
    state = session()
    send(state, "e1", "a")
    begin(state)
    send(state, "h", "b", source="s", sequence=7)
    for number in range(2 * SIZE):
        send(state, f"o{number}")
        state.inbox.cancel(f"o{number}", NOW, None, POLICY)
    assert not state.inbox.dedup.has_alias("a")
    assert send(state, "e2", "a").status == "duplicate"
    assert send(state, "e2", "b") == Receipt("h", "duplicate", disposition="held")
    assert send(carried(state), "e2", "b").status == "duplicate"


def test_an_event_brings_its_own_id_and_one_twice_and_that_is_one_place_in_the_window() -> None:
    state = session()
    send(state, "e1", "e1", "a", "a")
    assert len(state.inbox.dedup) == 2
    assert send(state, "e1", "a", "e1").status == "duplicate"


def test_a_duplicate_teaches_the_session_no_new_ids() -> None:
    state = session()
    send(state, "e1", "a")
    before = len(state.inbox.dedup)
    send(state, "e1", "w", "x", "y", "z")
    assert len(state.inbox.dedup) == before, "or who repeats one event could have all others forgotten"
    assert send(state, "w").status == "accepted"


def test_what_is_rejected_takes_no_place_of_what_was_no_event_with_it() -> None:
    state = session()
    state.inbox.park_invalid("a", "no event", NOW)
    send(state, "e1", "a", "b")
    state.inbox.clear("rejected", NOW, "the session was closed")
    assert "a" in state.inbox.dedup
    assert not state.inbox.dedup.has_alias("a")
    assert send(state, "e2", "b").status == "accepted"


def test_two_in_flight_that_name_each_other_are_one_and_those_that_share_nothing_are_two() -> None:
    state = session()
    assert send(state, "e1", "e2").status == "accepted"
    assert send(state, "e2", "e1").status == "duplicate"
    assert send(state, "e3", "c").status == "accepted"
    assert [queued.event_id for queued in state.inbox.queue.events] == ["e1", "e3"]


@pytest.mark.parametrize("way", ["refused", "rejected as it came", "rejected later"])
def test_the_other_ids_of_what_was_refused_or_rejected_may_come_again(way: str) -> None:
    state = session()
    came = arrival("e1", "a", when_busy="reject")
    if way == "rejected later":
        send(state, "e1", "a")
        state.inbox.clear("rejected", NOW, "the session was closed")
    else:
        refusal = state.inbox.check(came, NOW, POLICY, busy=True)
        assert isinstance(refusal, Refusal)
        if way == "rejected as it came":
            state.inbox.reject(came.event, refusal, NOW)
    assert send(state, "e2", "a").status == "accepted"


def test_what_was_no_event_does_not_stand_for_one_that_names_it_beside_its_own_id() -> None:
    state = session()
    state.inbox.park_invalid("a", "no event", NOW)
    assert send(state, "e1", "a").status == "accepted"
    assert send(state, "e2", "a").status == "duplicate"


def test_the_window_counts_ids_and_says_for_sure_only_what_it_knows() -> None:
    window = DedupWindow(salt="s")
    for number in range(1, 30_001):
        window.add(f"e{number}", "applied", number)
        if number % 3 == 0:
            for other in range(4):
                window.add_alias(f"a{number}-{other}", number)
    known = [number for number in range(1, 30_001) if f"e{number}" in window]
    sure = [number for number in range(1, 30_001) if window.reaches(number)]
    assert set(sure) <= set(known)
    assert len(window) < SIZE + 2 * RECENT
    assert len(sure) > (SIZE - RECENT) * 3 / 7, "nor does it say so of much less"
    plain = DedupWindow(salt="s")
    for number in range(1, 30_001):
        plain.add(f"e{number}", "applied", number)
    assert plain.reaches(30_001 - SIZE), "of events without other ids, the last 10,000"
    assert not plain.reaches(30_001 - SIZE - 3 * RECENT)
    assert len(window.marks) <= SIZE // RECENT


def test_a_duplicate_that_only_the_journal_knows_is_counted_as_one_and_not_as_a_second_end() -> None:
    state = session()
    for number in range(1, SIZE + 3 * RECENT):
        send(state, f"e{number}", f"a{number}")
        begin(state)
        state.inbox.endings.finish(f"e{number}", "applied")
    assert send(state, "twin", "a1").status == "accepted"
    turn = begin(state)
    end = Ended(disposition="applied", n=1, turn="e1")
    state.inbox.endings.take_over(end, parked_as(end, turn.turn, turn.n, NOW, ""))
    counts = state.inbox.balance(running=0)
    assert (counts["repeated"], counts["applied"]) == (1, counts["accepted"] - 1)


def test_the_journal_learns_the_other_ids_of_what_ends_without_a_turn() -> None:
    state = session()
    send(state, "e1", "a")
    send(state, "e2", "b", expires_after=1.0)
    send(state, "e3", "c", source="s", sequence=0)
    send(state, "e4", "d", source="s", sequence=0)
    state.inbox.cancel("e1", NOW, None, POLICY)
    state.inbox.take(NOW + 5, POLICY)
    told = {
        d.turn: d.body.get("aliases") or (d.body.get("event") or {}).get("aliases") for d in state.inbox.books.decisions
    }
    assert told == {"e1": ["a"], "e2": ["b"], "e4": ["d"]}


def test_what_comes_again_after_a_termination_is_known_by_all_of_its_ids() -> None:
    inbox = session().inbox
    recovered.admit(inbox, arrival("e1", "a"), NOW)
    assert inbox.ids.of(arrival("e2", "a")) == "a"
    assert inbox.duplicate("a") == Receipt("e1", "duplicate", position=0, disposition="pending")


@pytest.mark.parametrize(
    "aliases",
    [["a", "b", "c", "d", "e"], ["a b"], [""], ["x" * 129], "abc", [7], {"a": 1}, [["a"]], ["a\n"], ["~"], None],
)
def test_what_is_no_list_of_few_ids_is_refused(aliases: Any) -> None:
    with pytest.raises(InvalidEvent, match="aliases"):
        make_event(event_id="e1", content="hi", aliases=aliases)


def test_a_list_of_a_million_costs_nothing() -> None:
    with pytest.raises(InvalidEvent, match="1,000,000 aliases, the limit is 4"):
        make_event(event_id="e1", content="hi", aliases=["é"] * 1_000_000)


def test_a_plain_event_says_nothing_of_them() -> None:
    assert Event(event_id="e1", content="hi").wire() == {"event_id": "e1", "content": "hi"}
