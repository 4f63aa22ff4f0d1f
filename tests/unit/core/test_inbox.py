"""What the inbox takes, gives and refuses, at its real bounds; `test_inbox_model.py` has the interleavings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import from_json

from inturn import sizes
from inturn.errors import InvalidEvent
from inturn.events import MAX_CONTENT_BYTES, MAX_NESTING, Event, make_event
from inturn.keys import SHORT_NAME, short_name
from inturn.policy import InboxPolicy
from inturn.signals import Signal, read_marks
from inturn_activities.messages import Decision
from inturn_workflows.controls import Control
from inturn_workflows.inbox.books import MAX_DECISIONS
from inturn_workflows.inbox.dedup import SIZE, DedupWindow
from inturn_workflows.inbox.events import Admission, ParkedEvent, Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.parked import MAX_PARKED
from inturn_workflows.state import SessionInput, SessionState
from tests.support.arrivals import arrival

POLICY = InboxPolicy()
NOW = 1_763_677_084.5


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(dedup=DedupWindow(salt="salt"))


def event(event_id: str, **fields: Any) -> Event:
    return Event(event_id=event_id, content=fields.pop("content", f"hello from {event_id}"), **fields)


def send(inbox: Inbox, event_id: str, size: int = 100, **fields: Any) -> Receipt | Refusal:
    admission = arrive(inbox, event_id, size, **fields)
    return admission if isinstance(admission, Refusal) else admission.receipt


def arrive(inbox: Inbox, event_id: str, size: int = 100, **fields: Any) -> Admission | Refusal:
    sent = arrival(event(event_id, **fields), size)
    return inbox.check(sent, NOW, POLICY, busy=False) or inbox.admit(sent, NOW, POLICY)


def interrupts(answer: Admission | Refusal) -> str | None:
    assert isinstance(answer, Admission)
    return answer.interrupts


def running(inbox: Inbox) -> Queued:
    [taken] = inbox.take(NOW, POLICY)
    return taken


def fail(inbox: Inbox, *, effects: bool = False) -> str:
    """Fail the next turn for good. Returns its name."""
    taken = running(inbox)
    inbox.endings.park(ParkedEvent(turn=taken.turn, n=taken.n, error="it broke", at=NOW, effects=effects))
    return taken.turn


def refused(answer: object) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


# Order.


@pytest.mark.promise("ORD-1")
def test_events_are_taken_in_the_order_of_acceptance(inbox: Inbox) -> None:
    receipts = [send(inbox, f"e{number}") for number in range(5)]
    assert receipts == [Receipt(f"e{number}", "accepted", position=number) for number in range(5)]
    taken = [running(inbox) for _ in range(5)]
    assert [(queued.turn, queued.n) for queued in taken] == [(f"e{number}", number + 1) for number in range(5)]
    assert inbox.take(NOW, POLICY) == []


@pytest.mark.promise("ACC-2")
@pytest.mark.parametrize("sequence", [None, 7], ids=["queued", "held"])
def test_what_waits_for_longer_than_the_window_remembers_is_a_duplicate_still(
    inbox: Inbox, sequence: int | None
) -> None:
    first = send(inbox, "e1", sequence=sequence)
    for number in range(2 * SIZE):
        inbox.dedup.add(f"other-{number}", "cancelled")
    assert "e1" not in inbox.dedup
    again = send(inbox, "e1", sequence=sequence)
    assert isinstance(first, Receipt)
    assert isinstance(again, Receipt)
    assert again.status == "duplicate"
    assert (again.position, inbox.books.accepted) == (first.position, 1)


@pytest.mark.promise("ORD-1")
def test_an_interrupting_event_is_next_and_the_others_keep_their_order(inbox: Inbox) -> None:
    for name in ("a", "b"):
        send(inbox, name)
    assert send(inbox, "now", when_busy="interrupt") == Receipt("now", "accepted", position=0)
    assert [running(inbox).turn for _ in range(3)] == ["now", "a", "b"]


@pytest.mark.promise("ORD-3")
def test_what_joined_a_turn_that_was_interrupted_comes_behind_what_interrupted_it(inbox: Inbox) -> None:
    for event_id in ("host", "joined"):
        send(inbox, event_id, when_busy="merge")
    send(inbox, "behind")
    _, joined = inbox.take(NOW, POLICY)
    send(inbox, "now", when_busy="interrupt")
    inbox.requeue([joined])
    assert [queued.event_id for queued in inbox.queue.events] == ["now", "joined", "behind"]


def test_numbered_events_that_interrupt_go_before_others_but_behind_their_source(inbox: Inbox) -> None:
    send(inbox, "other")
    numbered: dict[str, Any] = {"source": "hook", "when_busy": "interrupt"}
    assert send(inbox, "h0", sequence=0, **numbered) == Receipt("h0", "accepted", position=0)
    for number in (3, 2):
        held = arrive(inbox, f"h{number}", sequence=number, **numbered)
        assert held == Admission(Receipt(f"h{number}", "held")), "what is held stops nothing"
    assert interrupts(arrive(inbox, "h1", source="hook", sequence=1)) == "h3", "it was let go"
    assert [running(inbox).turn for _ in range(5)] == ["h0", "other", "h1", "h2", "h3"]


@pytest.mark.promise("ORD-3", "ORD-10")
def test_a_numbered_event_that_interrupts_stays_behind_the_whole_group_of_its_source(inbox: Inbox) -> None:
    send(inbox, "h0", source="hook", sequence=0, when_busy="merge")
    send(inbox, "more", source="hook", when_busy="merge")
    send(inbox, "other")
    send(inbox, "h1", source="hook", sequence=1, when_busy="interrupt")
    turns = [[queued.turn for queued in inbox.take(NOW, POLICY)] for _ in range(3)]
    assert turns == [["h0", "more"], ["h1"], ["other"]]


@pytest.mark.promise("ORD-3")
def test_a_numbered_event_steers_no_turn_before_what_waits_of_its_source(inbox: Inbox) -> None:
    send(inbox, "host")
    running(inbox)
    send(inbox, "h0", source="hook", sequence=0)
    for event_id, fields in (("h1", {"source": "hook", "sequence": 1}), ("free", {"source": "hook"})):
        inbox.admit(arrival(event(event_id, when_busy="steer", **fields), 100), NOW, POLICY, turn="host")
    assert [queued.turn for queued in inbox.steer("host", NOW, POLICY)] == ["free"]
    assert [running(inbox).turn for _ in range(2)] == ["h0", "h1"]


@pytest.mark.promise("EFF-8", "ACC-6")
def test_an_event_that_had_expired_when_it_came_interrupts_nothing(inbox: Inbox) -> None:
    assert interrupts(arrive(inbox, "stop", when_busy="interrupt", sent_at=NOW - 60, expires_after=30)) is None
    assert inbox.take(NOW, POLICY) == []
    assert inbox.books.counts == {"expired": 1}
    assert interrupts(arrive(inbox, "again", when_busy="interrupt", sent_at=NOW - 20, expires_after=30)) == "again"


@pytest.mark.promise("ACC-3")
def test_after_a_termination_an_event_without_an_id_is_another_one_than_before(inbox: Inbox) -> None:
    hi, again = Event(content="hi"), Inbox(dedup=inbox.dedup)
    first = inbox.identify(hi, "one")
    assert again.identify(hi, "one") == first, "a reset keeps the chain of runs"
    assert Inbox(dedup=inbox.dedup).identify(hi, "two") != first
    sent = Event(content="hi", sent_at=NOW)
    assert inbox.identify(sent, "one") == inbox.identify(sent, "two"), "it may be a retry"


@pytest.mark.promise("ACC-8")
def test_an_event_that_waited_too_long_is_expired_when_it_would_be_taken(inbox: Inbox) -> None:
    send(inbox, "from-acceptance", expires_after=10)
    send(inbox, "from-sent-at", expires_after=10, sent_at=NOW - 8)
    send(inbox, "patient")
    assert inbox.take(NOW + 10, POLICY)[0] == Queued(
        turn="from-acceptance", n=1, at=NOW, size=100, event=event("from-acceptance", expires_after=10).wire()
    )
    assert inbox.take(NOW + 10, POLICY)
    assert inbox.books.counts == {"expired": 1}
    [expired] = inbox.books.drain_decisions(NOW)
    assert (expired.type, expired.turn, expired.disposition) == ("event.expired", "from-sent-at", "expired")
    assert expired.body["preview"] == "hello from from-sent-at"


# Once.


@pytest.mark.promise("ACC-2")
def test_a_duplicate_is_told_how_its_original_stands(inbox: Inbox) -> None:
    send(inbox, "a")
    send(inbox, "b")
    assert send(inbox, "b") == Receipt("b", "duplicate", position=1, disposition="pending")
    running(inbox)
    assert send(inbox, "a") == Receipt("a", "duplicate", disposition="running")
    inbox.endings.finish("a", "applied")
    assert send(inbox, "a") == Receipt("a", "duplicate", disposition="applied")
    assert inbox.books.accepted == 2


@pytest.mark.promise("ACC-2", "ACC-5")
def test_a_duplicate_is_never_refused_even_when_nothing_fits(inbox: Inbox) -> None:
    send(inbox, "a", size=POLICY.capacity_bytes)
    assert refused(send(inbox, "b")).type == "Backpressure"
    assert send(inbox, "a", size=POLICY.capacity_bytes) == Receipt("a", "duplicate", position=0, disposition="pending")


@pytest.mark.promise("ACC-2")
def test_a_refused_or_rejected_id_may_come_again(inbox: Inbox) -> None:
    blocker = send(inbox, "blocker", size=POLICY.capacity_bytes)
    assert isinstance(blocker, Receipt)
    refusal = refused(send(inbox, "a"))
    inbox.reject(Event(event_id="a", content="x"), refusal, NOW)
    running(inbox)
    assert send(inbox, "a") == Receipt("a", "accepted", position=0)


def test_an_event_without_an_id_gets_one_that_its_retries_share_where_it_says_when_it_was_sent(inbox: Inbox) -> None:
    sent, unsent = Event(content="yes", sent_at=1.0), Event(content="yes")
    first = [inbox.identify(sent, "chain"), inbox.identify(unsent, "chain")]
    assert inbox.identify(sent, "chain") == first[0]
    assert inbox.identify(unsent, "chain") != first[1], "a second 'yes' may be meant"
    assert inbox.identify(event("own"), "chain").event_id == "own"


# Bounds.


def _advice(inbox: Inbox, *, source: str = "client", sequence: int | None = None, **policy: Any) -> float | None:
    more = Event(event_id="more", content="x", source=source, sequence=sequence)
    return refused(inbox.check(arrival(more, 10), NOW, InboxPolicy(**{"capacity": 1} | policy), busy=False)).retry_after


@pytest.mark.promise("ACC-5")
def test_the_inbox_takes_a_thousand_events_and_refuses_the_next_with_advice(inbox: Inbox) -> None:
    for number in range(1_000):
        assert isinstance(send(inbox, f"e{number}"), Receipt)
    refusal = refused(send(inbox, "one-more"))
    assert (refusal.type, refusal.retry_after) == ("Backpressure", 60.0)
    assert inbox.books.accepted == 1_000
    assert "one-more" not in inbox.dedup
    running(inbox)
    assert isinstance(send(inbox, "one-more"), Receipt)


@pytest.mark.promise("ACC-5")
def test_the_inbox_takes_512_kib_and_gives_the_bytes_back(inbox: Inbox) -> None:
    half = 256 * 1024
    assert isinstance(send(inbox, "a", size=half), Receipt)
    assert isinstance(send(inbox, "b", size=half), Receipt)
    assert refused(send(inbox, "c", size=1)).type == "Backpressure"
    assert inbox.cancel("b", NOW, None, POLICY)
    assert isinstance(send(inbox, "c", size=half), Receipt)
    running(inbox)
    inbox.clear("cancelled", NOW, "enough")
    assert inbox.queue.bytes == 0


@pytest.mark.promise("ACC-5")
def test_the_advice_is_the_time_in_which_a_tenth_of_the_queue_is_done_at_the_latest_pace(inbox: Inbox) -> None:
    inbox.queue.events = [Queued(turn=f"e{number}", n=number, at=NOW) for number in range(200)]
    assert _advice(inbox) == 20.0, "a second a turn, before anything is known"
    for _ in range(50):
        inbox.record_turn_duration(0.05)
    assert _advice(inbox) == pytest.approx(1.0, rel=0.01)
    for _ in range(50):
        inbox.record_turn_duration(3600.0)  # a person was asked
    assert _advice(inbox) == 60.0


@pytest.mark.promise("ACC-5", "ORD-7")
def test_the_advice_allows_for_the_rate_of_turns(inbox: Inbox) -> None:
    inbox.record_turn_duration(0.01)
    inbox.queue.events = [Queued(turn=f"e{number}", n=number, at=NOW) for number in range(200)]
    assert _advice(inbox, rate=0.5, burst=5) == 30.0, "five may start now, and fifteen more two seconds apart"
    assert _advice(inbox, rate=0.1) == 60.0


@pytest.mark.promise("ACC-5")
def test_the_advice_for_a_source_with_its_quota_is_when_its_first_one_is_done(inbox: Inbox) -> None:
    for number in range(30):
        send(inbox, f"e{number}", source="loud" if number in (9, 20) else "other")
    assert _advice(inbox, source="loud", source_quota=2, capacity=1_000) == 10.0


@pytest.mark.promise("ACC-5", "ORD-5")
def test_the_advice_behind_a_full_hold_buffer_is_when_its_first_gap_ends(inbox: Inbox) -> None:
    send(inbox, "h5", source="hook", sequence=5)
    limits: dict[str, Any] = {"hold_capacity": 1, "capacity": 1_000, "gap_timeout": 7.0}
    assert _advice(inbox, source="hook", sequence=6, **limits) == 7.0


@pytest.mark.parametrize(("busy", "waiting"), [(True, False), (False, True)])
def test_an_event_that_asked_so_is_refused_while_anything_runs_or_waits(
    inbox: Inbox, busy: bool, waiting: bool
) -> None:
    if waiting:
        send(inbox, "waiting")
    sent = event("a", when_busy="reject")
    assert refused(inbox.check(arrival(sent, 10), NOW, POLICY, busy=busy)).type == "SessionBusy"


def test_an_event_that_asked_so_is_taken_while_nothing_runs_or_waits(inbox: Inbox) -> None:
    assert inbox.check(arrival(event("a", when_busy="reject"), 10), NOW, POLICY, busy=False) is None


@pytest.mark.promise("ACC-5", "ACC-7", "ACC-8")
def test_a_flood_that_is_rejected_is_booked_to_the_last_event_and_told_in_bounded_space(inbox: Inbox) -> None:
    for number in range(2_000):
        inbox.reject(
            Event(event_id=f"e{number}", content="x"),
            Refusal("Backpressure", f"the inbox is full: {number} bytes wait"),
            NOW,
        )
    inbox.reject(Event(event_id="closed", content="x"), Refusal("SessionClosed", "the session is closed"), NOW)
    counted = {"event.rejected Backpressure client": 1_500, "event.rejected SessionClosed client": 1}
    assert inbox.books.overflowed == counted
    assert inbox.balance(running=False) == {"accepted": 2_001, "rejected": 2_001}
    drained = inbox.books.drain_decisions(NOW)
    assert len(drained) == MAX_DECISIONS + 2 == 502
    assert sum(decision.body.get("count", 1) for decision in drained) == 2_001
    assert drained[0].body["error"] == "Backpressure"
    assert len({decision.key for decision in drained}) == len(drained)
    assert inbox.books.drain_decisions(NOW) == []


@pytest.mark.promise("ACC-5", "ACC-8")
def test_what_was_only_counted_is_told_by_source_and_by_so_many_sorts_at_most(inbox: Inbox) -> None:
    for number in range(600):
        event = Event(event_id=f"e{number}", content="x", source=f"s{number % 2 if number < 580 else number}")
        inbox.reject(event, Refusal("Backpressure", "full"), NOW, Signal("run-1", number))
    counted = [decision.body for decision in inbox.books.drain_decisions(NOW)[MAX_DECISIONS:]]
    marks = read_marks(counted[0].pop("signals"))
    assert counted[:2] == [{"reason": "Backpressure", "count": 40, "source": source} for source in ("s0", "s1")]
    assert len(counted) == 21
    assert counted[-1] == {"reason": "Backpressure", "count": 2}, "two sources too many"
    assert marks == {"run-1": sum(1 << number for number in range(500, 600))}


@pytest.mark.promise("ACC-8")
def test_what_had_waited_and_is_only_counted_is_named_until_it_comes_again(inbox: Inbox) -> None:
    for number in range(503):
        send(inbox, f"e{number}")
        inbox.cancel(f"e{number}", NOW, None, POLICY)
    inbox.books.accept("e500")
    body = inbox.books.drain_decisions(NOW)[-1].body
    assert body["count"] == 3
    assert body["ids"] == short_name("e501") + short_name("e502")


@pytest.mark.promise("ACC-8", "SUR-15")
def test_in_a_flood_of_any_size_it_is_known_which_events_were_rejected(inbox: Inbox) -> None:
    for number in range(1, 10_001):  # no run is sent more signals
        refusal = Refusal("Backpressure", "full")
        if number % 3:
            inbox.reject(Event(event_id=f"e{number}", content="x"), refusal, NOW, Signal("run-1", number))
        else:
            inbox.park_invalid(f"invalid:{number}", "no event", NOW)
    assert sizes.written(inbox.books) <= sizes.DECISIONS + sizes.COUNTED
    drained = inbox.books.drain_decisions(NOW)
    told = {decision.turn for decision in drained}
    [marks] = [read_marks(decision.body["signals"]) for decision in drained if "signals" in decision.body]
    for number in range(1, 10_001):
        assert (marks["run-1"] >> number & 1) == (number % 3 > 0 and f"e{number}" not in told), number
    assert (inbox.books.names, inbox.books.signals) == ({}, {})


@pytest.mark.promise("ACC-8", "SUR-15")
def test_however_many_are_taken_out_each_is_named_and_what_is_carried_fits_once_they_are_recorded() -> None:
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))
    for number in range(12_000):  # no run is sent more signals and updates
        send(state.inbox, f"e{number}", size=100, content=" " + "x" * 200)
        state.inbox.cancel(f"e{number}", NOW, "r" * 500, POLICY)
    [body] = [d.body for d in state.inbox.books.drain_decisions(NOW) if "count" in d.body]
    assert body["count"] == len(body["ids"]) // SHORT_NAME
    assert sizes.written(body) < sizes.RECORD
    assert state.fit()


@pytest.mark.promise("ACC-7", "ACC-8")
def test_a_flood_of_nonsense_is_parked_as_far_as_it_can_be_told_and_then_rejected(inbox: Inbox) -> None:
    ends = [inbox.park_invalid(f"invalid:{number}", "no event", NOW).disposition for number in range(700)]
    assert ends == ["parked"] * 500 + ["rejected"] * 200
    assert len(inbox.parked) == MAX_PARKED == 100
    assert inbox.balance(running=False) == {"accepted": 700, "parked": 500, "rejected": 200}
    assert inbox.books.overflowed == {"event.rejected InvalidEvent": 200}


@pytest.mark.promise("ACC-8")
def test_events_that_are_sent_and_cancelled_for_ever_take_bounded_space(inbox: Inbox) -> None:
    for number in range(800):
        send(inbox, f"e{number}")
        inbox.cancel(f"e{number}", NOW, f"reason {number}", POLICY)
    assert inbox.balance(running=False) == {"accepted": 800, "cancelled": 800}
    assert len(inbox.books.decisions) == MAX_DECISIONS
    assert inbox.books.overflowed == {"event.cancelled cancelled": 300}


@pytest.mark.promise("ACC-8")
def test_what_was_only_counted_is_told_under_another_key_each_time(inbox: Inbox) -> None:
    keys = []
    for _ in range(2):
        for number in range(MAX_DECISIONS + 1):
            inbox.reject(Event(event_id=f"e{number}", content="x"), Refusal("Backpressure", "full"), NOW)
        keys += [decision.key for decision in inbox.books.drain_decisions(NOW)]
    assert len(set(keys)) == len(keys)


# Parked.


@pytest.mark.promise("ACC-8")
def test_a_redriven_event_has_a_turn_of_its_own_each_time(inbox: Inbox) -> None:
    send(inbox, "a")
    turns = [fail(inbox)]
    for _ in range(3):
        assert isinstance(inbox.redrive("a", NOW), ParkedEvent)
        assert inbox.balance(running=False) == {"accepted": 1, "pending": 1}
        turns.append(fail(inbox))
    assert turns == ["a", "a~1", "a~2", "a~3"]
    assert inbox.balance(running=False) == {"accepted": 1, "parked": 1}


@pytest.mark.promise("EFF-1", "ACC-8")
def test_a_redriven_event_never_gets_an_older_turns_name_whatever_else_was_parked(inbox: Inbox) -> None:
    send(inbox, "a")
    fail(inbox)
    inbox.redrive("a", NOW)
    inbox.endings.park_delivery(ParkedEvent(turn="a~1", error="nobody there", delivery="ask-0-0"), NOW)
    for number in range(MAX_PARKED):
        inbox.park_invalid(f"invalid:{number}", "no event", NOW)
    assert fail(inbox) == "a~1"
    inbox.redrive("a", NOW)
    assert running(inbox).turn == "a~2"


def test_a_redriven_event_carries_no_content_since_the_journal_has_it(inbox: Inbox) -> None:
    send(inbox, "a", size=400)
    fail(inbox)
    inbox.redrive("a", NOW)
    assert inbox.queue.events == [Queued(turn="a~1", n=1, at=NOW)]
    assert inbox.queue.bytes == 0


def test_an_event_that_had_effects_is_redriven_only_by_force(inbox: Inbox) -> None:
    send(inbox, "a")
    fail(inbox, effects=True)
    assert "force" in refused(inbox.redrive("a", NOW)).message
    assert isinstance(inbox.redrive("a", NOW, force=True), ParkedEvent)


@pytest.mark.promise("ACC-7")
def test_what_was_never_an_event_can_only_be_discarded(inbox: Inbox) -> None:
    assert inbox.park_invalid("a", "not JSON", NOW, "\ufffd\ufffd") == Receipt("a", "accepted", disposition="parked")
    assert "not JSON" in refused(inbox.redrive("a", NOW, force=True)).message
    assert inbox.discard("a", NOW) is None
    assert inbox.balance(running=False) == {"accepted": 1, "discarded": 1}
    parked, discarded = inbox.books.drain_decisions(NOW)
    assert (parked.key, parked.body["preview"]) == ("a/parked", "\ufffd\ufffd")
    assert (discarded.key, discarded.disposition) == ("a/discarded", "discarded")


def test_an_event_whose_sender_named_it_like_what_is_set_aside_unread_is_redriven_as_any_other(inbox: Inbox) -> None:
    send(inbox, "sealed:a")
    fail(inbox)
    assert isinstance(inbox.redrive("sealed:a", NOW), ParkedEvent)
    inbox.park_invalid("sealed:b", "its key is not here", NOW)
    assert "a client that has its key" in refused(inbox.redrive("sealed:b", NOW)).message


def test_what_is_not_parked_is_neither_redriven_nor_discarded(inbox: Inbox) -> None:
    send(inbox, "a")
    before = inbox.model_copy(deep=True)
    assert "not parked" in refused(inbox.redrive("a", NOW)).message
    assert "not parked" in refused(inbox.discard("a", NOW)).message
    assert inbox == before


@pytest.mark.promise("ACC-12", "ACC-8")
def test_a_parked_delivery_is_given_back_alone_and_changes_no_count(inbox: Inbox) -> None:
    send(inbox, "a")
    running(inbox)
    inbox.endings.finish("a", "applied")
    delivery = ParkedEvent(turn="a", error="nobody there", delivery="deliver", message={"kind": "turn"}, effects=True)
    inbox.endings.park_delivery(delivery, NOW)
    assert inbox.redrive("a", NOW) == delivery
    assert inbox.queue.events == []
    assert inbox.balance(running=False) == {"accepted": 1, "applied": 1}


@pytest.mark.promise("ACC-8")
def test_a_queue_that_is_parked_leaves_its_content_to_the_journal(inbox: Inbox) -> None:
    for number in range(MAX_DECISIONS + 50):
        send(inbox, f"e{number}")
    assert len(inbox.clear("parked", NOW, "the session was closed")) == 550
    drained = inbox.books.drain_decisions(NOW)
    assert [decision.body["event"]["event_id"] for decision in drained] == [f"e{number}" for number in range(550)]
    assert inbox.balance(running=False) == {"accepted": 550, "parked": 550}


def test_cancel_takes_out_only_what_waits(inbox: Inbox) -> None:
    for name in ("a", "b", "c"):
        send(inbox, name)
    running(inbox)
    assert not inbox.cancel("a", NOW, "too late: it runs", POLICY)
    assert not inbox.cancel("never", NOW, None, POLICY)
    assert inbox.cancel("b", NOW, "not needed", POLICY)
    assert [queued.turn for queued in inbox.queue.events] == ["c"]
    assert inbox.books.drain_decisions(NOW) == [
        Decision(
            type="event.cancelled",
            turn="b",
            key="b/disposition",
            disposition="cancelled",
            body={"preview": "hello from b", "source": "client", "n": 2, "reason": "not needed"},
            at=NOW,
        )
    ]


# Whatever comes in; `tests/property/test_event_properties.py` has more.


@pytest.mark.promise("ACC-7", "SUR-6")
@pytest.mark.parametrize("field", ["content", "metadata", "of_tomorrow"])
def test_an_event_nests_no_deeper_than_continue_as_new_can_carry(field: str) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = "deep"
        for _ in range(depth - 2):
            value = [value]
        block = {"type": "text", "text": value}
        return {"event_id": "e1", "content": "x", field: [block] if field == "content" else {"a": [value]}}

    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))
    state.inbox.admit(arrival(Event.model_validate(nested(MAX_NESTING - 1)), 10), NOW, POLICY)
    carried = from_json(SessionInput(state=state).model_dump_json())
    assert SessionState.model_validate(carried["state"]) == state
    with pytest.raises(ValidationError, match="within each other"):
        Event.model_validate(nested(MAX_NESTING + 1))


@pytest.mark.promise("ACC-7")
def test_an_oversized_event_is_refused_with_its_size_and_the_limit() -> None:
    with pytest.raises(InvalidEvent, match="content has 262,146 bytes as JSON, the limit is 262,144"):
        make_event(content="x" * MAX_CONTENT_BYTES)
    assert make_event(content="x" * (MAX_CONTENT_BYTES - 2)).preview.endswith("…")
    with pytest.raises(InvalidEvent, match="metadata has"):
        make_event(content="x", metadata={"k": "v" * 17_000})


@pytest.mark.promise("ACC-7")
@pytest.mark.parametrize("field", ["control_id", "event_id", "reason", "approval_id", "by"])
def test_a_control_is_short_since_the_session_remembers_it(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Control.model_validate({"control_id": "c1", "op": "pause", field: "x" * 1_000})


@pytest.mark.promise("SUR-6")
def test_state_written_before_a_field_was_known_is_still_read() -> None:
    state = SessionState.model_validate(json.loads('{"inbox": {"dedup": {"salt": "s"}}}'))
    assert state == SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")))
