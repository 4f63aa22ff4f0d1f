"""The order of sources by example; `tests/property` has the interleavings."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn_workflows.inbox import sequencing
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.sequencing import Sequencer
from tests.support.arrivals import arrival

NOW = 1_763_677_084.0
DENSE = InboxPolicy()
SPARSE = InboxPolicy(sequencing="sparse")


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(dedup=DedupWindow(salt="salt"))


def send(inbox: Inbox, source: str, number: int, policy: InboxPolicy = DENSE, *, at: float = NOW) -> Receipt | Refusal:
    event = Event(event_id=f"{source}{number}", content="x", source=source, sequence=number)
    return (
        inbox.check(arrival(event, 10), at, policy, busy=False) or inbox.admit(arrival(event, 10), at, policy).receipt
    )


def order(inbox: Inbox) -> list[str]:
    return [queued.event_id for queued in inbox.queue.events]


def held(inbox: Inbox) -> list[str]:
    return [queued.event_id for queued in inbox.sequencer.held]


def gaps(inbox: Inbox) -> list[dict[str, Any]]:
    return [decision.body for decision in inbox.books.decisions if decision.type == "session.gap"]


@pytest.mark.promise("ORD-3")
def test_the_missing_one_brings_what_waited_for_it_and_no_other_source_waits(inbox: Inbox) -> None:
    receipts = [send(inbox, "a", n) for n in (2, 1)]
    assert [getattr(receipt, "status", None) for receipt in receipts] == ["held", "held"]
    assert send(inbox, "b", 0) == Receipt("b0", "accepted", position=0)
    assert send(inbox, "a", 0) == Receipt("a0", "accepted", position=1)
    assert order(inbox) == ["b0", "a0", "a1", "a2"]
    assert held(inbox) == []


@pytest.mark.promise("ORD-4")
def test_a_gap_ends_at_its_time_and_not_before(inbox: Inbox) -> None:
    send(inbox, "a", 3)
    send(inbox, "a", 4, at=NOW + 4)
    assert inbox.next_due(DENSE) == NOW + 5
    inbox.release(NOW + 4.999, DENSE)
    assert (order(inbox), gaps(inbox)) == ([], [])
    inbox.release(NOW + 5, DENSE)
    assert order(inbox) == ["a3", "a4"]
    assert gaps(inbox) == [{"source": "a", "missing": [0, 2], "count": 3, "policy": "skip"}]
    assert inbox.next_due(InboxPolicy()) == 0.0


@pytest.mark.promise("ORD-4")
def test_gaps_behind_each_other_have_a_clock_each(inbox: Inbox) -> None:
    send(inbox, "a", 1)
    send(inbox, "a", 3, at=NOW + 3)
    inbox.release(NOW + 5, DENSE)
    assert order(inbox) == ["a1"]
    assert inbox.next_due(DENSE) == 0.0
    inbox.release(NOW + 8, DENSE)
    assert [body["missing"] for body in gaps(inbox)] == [[0, 0], [2, 2]]


@pytest.mark.promise("ORD-4")
def test_what_waited_behind_a_gap_is_set_aside_where_the_policy_says_so(inbox: Inbox) -> None:
    policy = InboxPolicy(on_gap="park")
    for number in (2, 3, 5):
        send(inbox, "a", number, policy)
    inbox.release(NOW + 5, policy)
    assert [parked.event_id for parked in inbox.parked.events] == ["a2", "a3", "a5"]
    assert order(inbox) == []
    assert send(inbox, "a", 6, policy) == Receipt("a6", "accepted", position=0)


@pytest.mark.promise("ORD-4")
def test_a_refusal_stops_the_clock_of_its_source_alone(inbox: Inbox) -> None:
    send(inbox, "a", 1)
    send(inbox, "b", 1)
    event = Event(event_id="a0", content="x", source="a", sequence=0)
    inbox.note_refusal(event, Refusal("Backpressure", "full", 30.0), DENSE, NOW)
    inbox.release(NOW + 5, DENSE)
    assert order(inbox) == ["b1"]
    assert inbox.next_due(InboxPolicy()) == 0.0
    inbox.take(NOW + 5, DENSE)
    assert inbox.next_due(DENSE) == NOW + 35
    assert send(inbox, "a", 0, at=NOW + 31) == Receipt("a0", "accepted", position=0)
    assert order(inbox) == ["a0", "a1"]


@pytest.mark.promise("ORD-4")
@pytest.mark.parametrize(
    ("policy", "mode", "numbers", "retried"),
    [
        ({"hold_capacity": 3}, "queue", (2, 3, 4), 5),
        ({"hold_capacity": 3}, "queue", (2, 3, 4), 1),
        ({"source_quota": 3}, "queue", (2, 3, 4), 5),
        ({"source_quota": 3}, "queue", (2, 3, 4), 1),
        ({"capacity": 3}, "queue", (2, 3, 4), 5),
        ({"capacity": 3}, "queue", (2, 3, 4), 1),
        ({}, "reject", (2,), 3),
        ({}, "reject", (2,), 1),
    ],
)
def test_a_gap_ends_however_often_others_are_refused_behind_it(
    inbox: Inbox, policy: dict[str, Any], mode: Any, numbers: Sequence[int], retried: int
) -> None:
    bounds, now = InboxPolicy(**policy), NOW
    for number in numbers:
        send(inbox, "a", number, bounds)
    event = Event(event_id="again", content="x", source="a", sequence=retried, when_busy=mode)
    while refusal := inbox.check(arrival(event, 10), now, bounds, busy=False):
        inbox.note_refusal(event, refusal, bounds, now)
        assert refusal.retry_after is not None
        now += refusal.retry_after
        assert now < NOW + 6, "number 0 is lost: who obeys the advice must come in"
        inbox.take(now, bounds)
    assert [gap["missing"] for gap in gaps(inbox)] == [[0, numbers[0] - 1]]


@pytest.mark.promise("ORD-4")
@pytest.mark.parametrize(
    ("policy", "mode"), [({"source_quota": 2}, "queue"), ({"capacity": 2}, "queue"), ({}, "reject")]
)
def test_the_missing_one_is_not_shut_out_by_those_that_wait_for_it(
    inbox: Inbox, policy: dict[str, Any], mode: Any
) -> None:
    bounds = InboxPolicy(**policy)
    for number in (1, 2):
        send(inbox, "a", number, bounds)
    missing = Event(event_id="a0", content="x", source="a", sequence=0, when_busy=mode)
    assert inbox.check(arrival(missing, 10), NOW, bounds, busy=False) is None
    inbox.admit(arrival(missing, 10), NOW, bounds)
    assert order(inbox) == ["a0", "a1", "a2"]


@pytest.mark.promise("ORD-5", "ORD-12")
@pytest.mark.parametrize("sequencing", ["dense", "sparse"])
def test_what_has_just_come_is_not_missed_where_room_is_made_for_it(inbox: Inbox, sequencing: Any) -> None:
    policy = InboxPolicy(sequencing=sequencing, first_sequence=1, hold_capacity=3, hold_overflow="release")
    for number in (4, 3, 5):
        send(inbox, "a", number, policy)
    receipt = send(inbox, "a", 2, policy)
    if sequencing == "dense":
        assert receipt == Receipt("a2", "accepted", position=0)
        assert (order(inbox), held(inbox)) == (["a2", "a3", "a4", "a5"], [])
        assert [gap["missing"] for gap in gaps(inbox)] == [[1, 1]], "2 was there"
    else:
        assert receipt == Receipt("a2", "accepted", position=0)
        assert order(inbox) == ["a2", "a3", "a4"]
    assert inbox.parked.events == []


@pytest.mark.promise("ORD-5")
def test_what_made_room_for_itself_behind_a_gap_is_told_that_it_is_parked(inbox: Inbox) -> None:
    policy = InboxPolicy(on_gap="park", hold_capacity=1, hold_overflow="release")
    send(inbox, "a", 3, policy)
    assert send(inbox, "a", 2, policy) == Receipt("a2", "accepted", disposition="parked")
    assert [parked.event_id for parked in inbox.parked.events] == ["a2", "a3"]
    inbox.queue.events = [Queued(turn="a5~1", n=1, at=NOW)]  # of long ago, driven again
    send(inbox, "a", 6, policy)
    assert send(inbox, "a", 5, policy) == Receipt("a5", "accepted", disposition="parked")


@pytest.mark.promise("ORD-3", "ORD-4")
def test_what_a_gaps_end_lets_go_in_a_turn_may_stop_or_steer_it(inbox: Inbox) -> None:
    for number, mode in ((1, "steer"), (3, "interrupt")):
        event = Event(event_id=f"a{number}", content="x", source="a", sequence=number, when_busy=cast("Any", mode))
        inbox.admit(arrival(event, 10), NOW, DENSE)
    assert inbox.release(NOW + 4, DENSE, "host") is None
    assert inbox.release(NOW + 5, DENSE, "host") == "a3"
    assert [queued.event_id for queued in inbox.steer("host", NOW, DENSE)] == ["a1"]


@pytest.mark.promise("ORD-4", "ORD-5")
def test_the_waits_of_five_hundred_sources_end_at_once_and_in_order(inbox: Inbox) -> None:
    policy = InboxPolicy(hold_capacity=500)
    for number in range(500):
        send(inbox, f"s{number % 250}", 1 + number // 250 * 2, policy, at=NOW + number % 250 % 7)
    gc.collect()  # what earlier tests left is not looked at while this one measures
    began = time.process_time()
    inbox.release(NOW + 60, policy)
    assert time.process_time() - began < 0.5, "a task has two seconds, with everything else in it"
    assert len(inbox.queue) == 500
    firsts = [queued for queued in inbox.queue.events if queued.sequence == 1]
    assert firsts == sorted(firsts, key=lambda queued: (queued.at, queued.n))


@pytest.mark.promise("ORD-6")
@pytest.mark.parametrize("number", [0, 2, 3])
def test_what_comes_after_its_place_is_set_aside_as_late_with_its_content(inbox: Inbox, number: int) -> None:
    for n in (2, 3):
        send(inbox, "a", n)
    inbox.release(NOW + 5, DENSE)
    late = Event(event_id="late", content="too late", source="a", sequence=number)
    assert inbox.admit(arrival(late, 10), NOW + 6, DENSE).receipt == Receipt("late", "accepted", disposition="parked")
    decision = inbox.books.decisions[-1]
    assert (decision.type, decision.disposition, decision.body["event"]["content"]) == (
        "event.parked",
        "parked",
        "too late",
    )
    assert "late" in str(decision.body["error"])
    assert order(inbox) == ["a2", "a3"]


@pytest.mark.promise("ORD-6")
def test_a_number_that_is_held_already_does_not_come_twice(inbox: Inbox) -> None:
    send(inbox, "a", 1)
    twice = Event(event_id="other", content="x", source="a", sequence=1)
    assert inbox.admit(arrival(twice, 10), NOW, DENSE).receipt.disposition == "parked"


@pytest.mark.promise("ORD-5")
def test_a_full_hold_buffer_refuses_or_ends_the_oldest_wait(inbox: Inbox) -> None:
    policy = InboxPolicy(hold_capacity=2)
    for number in (5, 6):
        send(inbox, "a", number, policy)
    refusal = send(inbox, "b", 7, policy)
    assert isinstance(refusal, Refusal)
    assert refusal.type == "Backpressure"
    assert isinstance(send(inbox, "b", 0, policy), Receipt), "what is next is not held"
    release = InboxPolicy(hold_capacity=2, hold_overflow="release")
    assert send(inbox, "b", 7, release) == Receipt("b7", "held")
    assert order(inbox) == ["b0", "a5", "a6"]
    assert held(inbox) == ["b7"]


@pytest.mark.promise("ORD-5", "ACC-5")
def test_held_events_never_shut_out_the_one_that_they_wait_for(inbox: Inbox) -> None:
    policy = InboxPolicy(capacity=2)
    for number in (1, 2):
        send(inbox, "a", number, policy)
    assert isinstance(send(inbox, "b", 0, policy), Refusal)
    assert isinstance(send(inbox, "a", 0, policy), Receipt)
    assert order(inbox) == ["a0", "a1", "a2"]


@pytest.mark.promise("ORD-12")
def test_chat_timestamps_wait_for_lower_ones_and_leave_sorted(inbox: Inbox) -> None:
    send(inbox, "a", 30, SPARSE)
    send(inbox, "a", 10, SPARSE, at=NOW + 0.5)
    send(inbox, "a", 40, SPARSE, at=NOW + 0.9)
    assert inbox.next_due(SPARSE) == NOW + 1
    inbox.release(NOW + 1, SPARSE)
    assert order(inbox) == ["a10", "a30"]
    assert held(inbox) == ["a40"]
    assert send(inbox, "a", 20, SPARSE, at=NOW + 1) == Receipt("a20", "accepted", disposition="parked")
    assert gaps(inbox) == []


def test_a_cancelled_one_leaves_its_place_and_no_gap(inbox: Inbox) -> None:
    for number in (1, 2):
        send(inbox, "a", number)
    assert inbox.cancel("a1", NOW, None, DENSE)
    assert inbox.balance(running=False) == {"accepted": 2, "cancelled": 1, "held": 1}
    send(inbox, "a", 0)
    assert order(inbox) == ["a0", "a2"]
    assert gaps(inbox) == []


def test_a_source_that_begins_anywhere_begins_with_what_comes_first(inbox: Inbox) -> None:
    policy = InboxPolicy(first_sequence=None)
    assert send(inbox, "a", 17, policy) == Receipt("a17", "accepted", position=0)
    assert send(inbox, "a", 19, policy) == Receipt("a19", "held")


def test_a_thousand_sources_are_remembered_and_those_with_held_events_never_forgotten(inbox: Inbox) -> None:
    send(inbox, "holding", 1)
    for number in range(sequencing.MAX_SOURCES):
        send(inbox, f"s{number}-", 0)
        if number % 100 == 0:
            inbox.take(NOW, DENSE)
            inbox.queue.clear()
    known = inbox.sequencer.sources
    assert len(known) == sequencing.MAX_SOURCES
    assert "holding" in known
    assert "s0-" not in known


def test_the_place_of_an_event_that_is_held_says_what_it_waits_for() -> None:
    sequencer = Sequencer()
    event = Event(event_id="a5", content="x", source="a", sequence=5).wire()
    sequencer.hold(queued := Queued(turn="a5", n=1, at=NOW, event=event))
    gap = sequencer.missing(queued, DENSE)
    assert gap is not None
    assert (gap.first, gap.last) == (0, 4)
    assert sequencer.missing(queued, SPARSE) is None
    assert sequencer.deadline(queued, SPARSE) == NOW + 1


# What an event says of its source, and what becomes of what comes late.


def say(inbox: Inbox, number: int, policy: InboxPolicy = DENSE, *, at: float = NOW, **fields: Any) -> Receipt:
    event = Event(event_id=f"e{number}", content="x", source="chat", sequence=number, **fields)
    return inbox.admit(arrival(event, 10), at, policy).receipt


@pytest.mark.promise("ORD-12")
def test_a_chats_times_are_sparse_though_the_agents_policy_is_dense(inbox: Inbox) -> None:
    for number in (1_700, 1_400, 1_900):
        assert say(inbox, number, sequencing="sparse").status == "held"
    assert send(inbox, "plain", 0) == Receipt("plain0", "accepted", position=0)
    assert inbox.next_due(DENSE) == 0, "the plain one"
    inbox.release(NOW + DENSE.reorder_window, DENSE)
    assert order(inbox) == ["plain0", "e1400", "e1700", "e1900"]
    assert gaps(inbox) == []


def test_a_source_is_what_the_latest_of_its_events_says_and_one_that_says_nothing_changes_nothing(
    inbox: Inbox,
) -> None:
    say(inbox, 5, SPARSE, sequencing="dense")
    assert not inbox.sequencer.sparse("chat", SPARSE)
    say(inbox, 9, SPARSE)
    assert not inbox.sequencer.sparse("chat", SPARSE)
    say(inbox, 7, SPARSE, sequencing="sparse")
    carried = Inbox.model_validate_json(inbox.model_dump_json())
    assert all(each.sequencer.sparse("chat", DENSE) for each in (inbox, carried))
    assert carried.sequencer.sparse("other", SPARSE)


@pytest.mark.promise("ORD-6")
@pytest.mark.parametrize("sequencing", ["dense", "sparse"])
def test_what_comes_late_is_taken_in_its_turn_where_the_policy_has_it_so(inbox: Inbox, sequencing: Any) -> None:
    policy = InboxPolicy(on_late="accept", first_sequence=None)
    say(inbox, 3, policy, sequencing=sequencing)
    inbox.release(NOW + 9, policy)
    late = say(inbox, 1, policy, at=NOW + 60, sequencing=sequencing)
    assert late == Receipt("e1", "accepted", position=1)
    assert order(inbox) == ["e3", "e1"]
    assert not inbox.queue.events[1].numbered, "it has no place in the order of its source any more"
    assert inbox.balance(running=0) == {"accepted": 2, "pending": 2}
    assert say(inbox, 1, policy).status == "duplicate"
    assert say(inbox, 0, InboxPolicy(), sequencing=sequencing).disposition == "parked"


def test_what_comes_late_to_interrupt_does(inbox: Inbox) -> None:
    policy = InboxPolicy(on_late="accept")
    for number in (0, 1):
        say(inbox, number, policy)
    event = Event(event_id="stop", content="x", source="chat", sequence=0, when_busy="interrupt")
    admitted = inbox.admit(arrival(event, 10), NOW, policy, turn="e0")
    assert (admitted.interrupts, admitted.receipt.position) == ("stop", 0)


@pytest.mark.parametrize("said", ["loose", "", 7, ["dense"], True])
def test_what_no_source_can_be_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="sequencing"):
        Event(event_id="e", content="x", sequencing=said)
