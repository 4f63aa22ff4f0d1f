"""A session's state goes from run to run whole, small, and with what a newer version added."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from inturn import sizes
from inturn.events import MAX_CONTENT_BYTES, Event
from inturn.policy import InboxPolicy
from inturn_activities.messages import Decision, ModelResult, Policy
from inturn_workflows import state as state_module
from inturn_workflows.inbox import books as books_module
from inturn_workflows.inbox import sequencing
from inturn_workflows.inbox.dedup import RECENT, SIZE, DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued, Receipt, Refusal
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.inbox.parked import MAX_PARKED
from inturn_workflows.inbox.queue import BACKLOG
from inturn_workflows.inbox.rate import TokenBucket
from inturn_workflows.state import SessionInput, SessionState
from inturn_workflows.turn_state import CallState, Decided, TurnState
from tests.support.arrivals import arrival

pytestmark = pytest.mark.promise("SUR-6")

ID = "i" * 120
NOW = 1_763_677_084.123
PREVIEW = "p" * 80
MIB = 1024 * 1024


def carried(state: SessionState) -> SessionState:
    """Continue as new: the input as JSON, and back as `restore` reads it."""
    given = json.loads(SessionInput(agent=state.agent, state=state).model_dump_json())
    return SessionState.model_validate(given["state"])


def empty() -> SessionState:
    return SessionState(inbox=Inbox(dedup=DedupWindow(salt="salt")))


def full() -> SessionState:
    """Hold as much as a session ever does, with the longest ids."""
    dedup = DedupWindow(salt="salt")
    for number in range((SIZE // RECENT + 4) * RECENT - 1):
        dedup.add(f"{ID}{number}", "cancelled")
    state = SessionState(inbox=Inbox(dedup=dedup), agent="support", chain="12345678", policy=Policy(hash="12345678"))
    _fill_queue(state.inbox)
    for number in range(books_module.MAX_DECISIONS + 100):
        event = Event(event_id=f"{ID}{number:07}", content=PREVIEW, source="s" * 128, metadata={"to": "a" * 150})
        state.inbox.reject(event, Refusal("Backpressure", "m" * 80), 1e9)
    state.inbox.parked.events = [
        ParkedEvent(turn=f"{ID}{number:03}~12", n=number, error="e" * 500, attempts=3, at=1e9, preview=PREVIEW)
        for number in range(MAX_PARKED)
    ]
    state.turn = TurnState(turn=ID, step=7, calls=[_call(number) for number in range(32)], preview=PREVIEW)
    state.turn.join([Queued(turn=ID, event={"event_id": ID, "content": "c" * (MAX_CONTENT_BYTES - 200)})])
    for number in range(sequencing.MAX_SOURCES):
        state.inbox.sequencer.extend_wait(f"{'s' * 120}{number}", 1_763_677_084.123)
    for number in range(state_module.MAX_CONTROLS + 10):
        state.remember_control(f"{ID}{number:03}", {"ok": True, "answer": "approved", "by": "b" * 80})
    for number in range(state_module.MAX_DECIDED + 10):
        decided = Decided(answer="approved", by="b" * 80, reason="r" * 200)
        state.decide_early(f"{ID}{number}", decided)
        state.settle_approval(f"{ID}{number}", decided)
    for number in range(100):
        state.keep_answer(f"{ID}{number}", {"text": "t" * 4096, "event_id": ID})
    return state


def _fill_queue(inbox: Inbox) -> None:
    policy = InboxPolicy(capacity=2_000, capacity_bytes=512 * 1024)  # the most that a policy allows
    for number in range(policy.capacity):
        event = Event(event_id=f"{ID}q{number:06}", content="c" * 105)
        size = len(to_json(event.wire()))
        assert inbox.check(arrival(event, size), NOW, policy, busy=True) is None
        inbox.admit(arrival(event, size), NOW, policy)
    more = Event(event_id="more", content="c")
    refusal = inbox.check(arrival(more, 40), NOW, policy, busy=True)
    assert refusal is not None
    assert refusal.type == "Backpressure"
    assert len(inbox.queue) == policy.capacity
    assert inbox.queue.bytes > 0.95 * policy.capacity_bytes


def _call(number: int) -> CallState:
    approval = {"approval": True, "asked_at": 1e9, "delivered": True}
    return CallState(id=f"toolu_{number:024}", tool="t" * 64, preview="a" * 200, hash="0" * 12, **approval)


@pytest.fixture(scope="module")
def biggest() -> SessionState:
    return full()


@pytest.mark.promise("ACC-5")
def test_the_fullest_session_fits_continue_as_new_with_room_to_spare(biggest: SessionState) -> None:
    fitting = biggest.model_copy(deep=True)
    fitting.fit()
    size = len(fitting.model_dump_json().encode())
    assert size < 2_000_000, f"{size:,} bytes; the server takes 2 MiB"
    assert len(fitting.inbox.queue) == 2_000
    assert fitting.answers == {}


def test_a_session_that_fits_lets_go_of_nothing() -> None:
    state = empty()
    state.keep_answer("t", {"text": "short"})
    state.inbox.sequencer.extend_wait("source", 1.0)
    state.fit()
    assert (list(state.answers), list(state.inbox.sequencer.sources)) == (["t"], ["source"])


def test_the_fullest_session_survives_continue_as_new_whole(biggest: SessionState) -> None:
    assert carried(biggest) == biggest


def test_an_empty_session_costs_little() -> None:
    assert len(empty().model_dump_json()) < 1_500


def test_what_is_remembered_is_bounded_and_the_oldest_go_first() -> None:
    state = empty()
    for number in range(300):
        state.remember_control(f"c{number}", {"ok": True})
        state.decide_early(f"a{number}", Decided(answer="denied"))
        state.settle_approval(f"a{number}", Decided(answer="expired"))
        state.keep_answer(f"t{number}", {"text": "short"})
    assert list(state.controls) == [f"c{number}" for number in range(44, 300)]
    assert list(state.early) == list(state.settled) == [f"a{number}" for number in range(200, 300)]
    assert list(state.answers) == [f"t{number}" for number in range(236, 300)]


def test_kept_answers_are_bounded_in_bytes() -> None:
    state = empty()
    for number in range(50):
        state.keep_answer(f"t{number}", {"text": "é" * 5_000})
    kept = sum(len(answer.encode()) for answer in state.answers.values())
    assert 100_000 < kept <= sizes.ANSWERS
    assert list(state.answers)[-1] == "t49"
    state.keep_answer("huge", {"text": "x" * 10**6})
    assert state.answers == {}, "what does not fit at all is in the journal"


def test_a_kept_answer_is_given_as_it_came_also_by_the_next_run() -> None:
    state, answer = empty(), {"text": 'é "quoted"\n', "usage": {"steps": 1}, "disposition": "applied"}
    state.keep_answer("t1", answer)
    for holder in (state, carried(state)):
        assert holder.answer_of("t1") == answer
        assert holder.answer_of("t2") is None


def test_an_idle_session_keeps_little_beside_its_answers() -> None:
    def session() -> SessionState:
        state = empty()
        for number in range(10):
            state.keep_answer(
                f"t{number}", {"event_id": f"t{number}", "text": f"{number}" * 500, "stop_reason": "end_turn"}
            )
        state.agent, state.policy = "bench", Policy(hash="abc")
        return state

    session()
    tracemalloc.start()
    try:
        kept = [session() for _ in range(100)]
        each = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    assert each < 13 * 1024, f"{each / 1024:.1f} KiB"


def test_no_message_keeps_which_of_its_fields_were_set() -> None:
    state = empty()
    state.agent = "bench"
    copied = state.limits.model_copy(update={"events": 50})
    told = {id(one.model_fields_set) for one in (state, state.inbox, copied, carried(state), Policy(hash="abc"))}
    assert len(told) == 1
    assert state.model_fields_set == set()


def test_fields_of_a_newer_version_stay_wherever_they_stand() -> None:
    state = empty()
    state.inbox.admit(arrival(Event(event_id="e1", content="hi"), 10), 1.0, InboxPolicy())
    state.inbox.parked.events = [ParkedEvent(turn="e0")]
    state.inbox.books.decisions = [Decision(type="event.expired", turn="e0", key="e0/disposition")]
    state.turn = TurnState(turn="e2", calls=[CallState(id="c1")])
    state.early = {"c1:0": Decided(answer="approved")}
    state.policy = Policy(hash="abc")
    state.inbox.rate = TokenBucket(full_at=1.0)
    state.inbox.sequencer.extend_wait("hook", 1.0)
    given = json.loads(state.model_dump_json())
    places = _places(given)
    for place in places:
        place["of_tomorrow"] = {"kept": [1]}
    kept = json.loads(SessionState.model_validate(given).model_dump_json())
    assert kept == given
    assert len(places) == 16


def _places(given: dict[str, Any]) -> list[dict[str, Any]]:
    inbox, turn = given["inbox"], given["turn"]
    queued, parked, decision = (inbox["queue"]["events"], inbox["parked"]["events"], inbox["books"]["decisions"])
    parts = [inbox[name] for name in ("queue", "parked", "books", "dedup", "sequencer", "rate")]
    nested = [queued[0], queued[0]["event"], parked[0], decision[0]]
    return [given, inbox, *parts, *nested, turn, turn["calls"][0], given["early"]["c1:0"], given["policy"]]


def test_one_session_shares_nothing_with_another() -> None:
    one, other = empty(), empty()
    one.inbox.admit(arrival(Event(event_id="e1", content="hi"), 10), 1.0, InboxPolicy())
    one.remember_control("c1", {})
    one.limits.events = 5
    one.policy.deliver = True
    one.answers["t"] = ""
    assert other == empty()


turns = st.builds(
    TurnState,
    turn=st.from_regex(r"[a-z]{1,8}(~[1-9])?", fullmatch=True),
    n=st.integers(0, 10**9),
    step=st.integers(0, 50),
    started_at=st.floats(0, 1e10),
    event=st.none() | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    preview=st.text(max_size=80),
    calls=st.lists(
        st.builds(
            CallState,
            id=st.text(max_size=9),
            done=st.booleans(),
            approval=st.booleans(),
            answer=st.sampled_from([None, "approved", "denied", "expired"]),
            timeout=st.floats(0.1, 1e5),
        ),
        max_size=4,
    ),
)


@settings(max_examples=40)
@given(turn=turns)
def test_any_running_turn_survives_continue_as_new_whole(turn: TurnState) -> None:
    state = empty()
    state.turn = turn
    assert carried(state) == state


def test_a_receipt_on_the_wire_leaves_out_what_says_nothing() -> None:
    assert Receipt("e1", "duplicate").wire() == {"event_id": "e1", "status": "duplicate"}
    assert Receipt("e1", "accepted", position=0).wire() == {"event_id": "e1", "status": "accepted", "position": 0}


def test_a_model_step_is_given_what_it_needs_and_no_more() -> None:
    state = empty()
    state.wanted = "support"
    first = TurnState(turn="e1", n=4, event={"content": "hi"}, trace="00-1")
    assert state.model_input(first).model_dump() == {
        "event": {"content": "hi"},
        "n": 4,
        "agent": "support",
        "trace": "00-1",
    }
    assert not state.model_input(first).model_extra, "a field that the steps do not know"
    state.policy, state.agent = Policy(hash="abc"), "support"
    later = TurnState(turn="e1", n=4, step=2)
    assert state.model_input(later).model_dump() == {"agent": "support", "policy": "abc"}


def test_a_model_step_that_begins_a_turn_is_told_of_a_long_queue_behind_it() -> None:
    state = empty()
    for number in range(BACKLOG):
        assert not state.model_input(TurnState(turn="e1", event={"content": "hi"})).backlogged
        state.inbox.admit(arrival(Event(event_id=f"q{number}", content="hi"), 10), NOW, InboxPolicy())
    assert state.model_input(TurnState(turn="e1", event={"content": "hi"})).backlogged
    assert not state.model_input(TurnState(turn="e1", step=1)).backlogged
    assert not state.model_input(TurnState(turn="e1", event={"content": "hi", "when_busy": "interrupt"})).backlogged


def test_half_a_small_inbox_is_a_long_queue() -> None:
    inbox, policy = Inbox(dedup=DedupWindow(salt="salt")), InboxPolicy(capacity=4)
    inbox.admit(arrival(Event(event_id="q1", content="hi"), 10), NOW, policy)
    assert not inbox.queue.backlogged(policy)
    inbox.admit(arrival(Event(event_id="q2", content="hi"), 10), NOW, policy)
    assert inbox.queue.backlogged(policy)


def test_a_stop_that_came_after_the_last_step_of_a_run_goes_with_its_turn() -> None:
    state = empty()
    state.interrupt_for("early")
    assert state.turn is None, "nothing runs that it could stop"
    state.turn = TurnState(turn="e1")
    state.interrupt_for(None)
    assert state.turn.stop is None
    state.interrupt_for("now")
    after = carried(state)
    assert after.turn is not None
    assert after.turn.stop == "interrupted by event now"


@pytest.mark.promise("ORD-4")
def test_an_event_that_a_gap_lets_go_in_a_turn_stops_it() -> None:
    state = empty()
    state.turn = TurnState(turn="host")
    event = Event(event_id="h1", content="stop", source="hook", sequence=1, when_busy="interrupt")
    state.inbox.admit(arrival(event, 10), NOW, state.inbox_policy(), turn="host")
    state.release_held(NOW + 4)
    assert state.turn.stop is None
    state.release_held(NOW + 5)
    assert state.turn.stop == "interrupted by event h1"


def test_a_call_waits_for_a_person_from_its_question_to_its_answer() -> None:
    state, call = empty(), CallState(id="c1", approval=True, approval_timeout=60.0)
    state.turn = TurnState(turn="e1", calls=[call])
    assert (state.waiting_calls, state.status, state.rare_state) == ([], "running", None)
    assert call.expires_at > NOW + 1e9, "nobody was asked yet"
    call.asked_at = NOW
    assert call.expires_at == NOW + 60
    assert (state.waiting_calls, state.status, state.rare_state) == ([call], "requires_action", "requires_action")
    call.decide(Decided(answer="approved"))
    assert (state.waiting_calls, state.status) == ([], "running")


@pytest.mark.parametrize(
    ("fields", "status", "rare"),
    [
        ({}, "idle", None),
        ({"paused": True}, "paused", "paused"),
        ({"paused": True, "turn": TurnState(turn="e1")}, "running", "paused"),
        ({"paused": True, "closing": "park"}, "paused", None),
        ({"paused": True, "closing": "park", "closed": True}, "closed", "closed"),
    ],
)
def test_only_a_rare_state_has_a_search_attribute(fields: dict[str, Any], status: str, rare: str | None) -> None:
    state = empty().model_copy(update=fields)
    assert (state.status, state.rare_state) == (status, rare)


@pytest.mark.parametrize("mode", ["queue", "steer"])
def test_an_arrivals_size_is_what_continue_as_new_writes_of_it_at_most(mode: Any) -> None:
    came = Arrival.of(Event(event_id="e" * 128, content="hi", sent_at=1e10, when_busy=mode))
    queued = Queued(turn="e" * 128, n=10**9, at=NOW, event=came.wire, size=292_000, inline=True, joins=True)
    if mode == "steer":
        queued.steers = f"{'t' * 128}~999"
    assert came.size - 64 < sizes.written(queued) < came.size


@pytest.mark.promise("ORD-1", "SUR-11")
def test_a_chain_of_runs_is_named_until_a_turn_of_it_began_in_the_journal() -> None:
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")), chain="12345678")
    turn = TurnState(turn="e1", event={"event_id": "e1", "content": "hi"})
    assert state.model_input(turn).recover
    state.learn(turn, ModelResult(recorded=True))
    assert state.model_input(turn).chain == "12345678", "it was done in the chain before, and says nothing of this one"
    assert not state.model_input(turn).recover, "but what that left open was asked for"
    turn.step = 1
    state.learn(turn, ModelResult())
    assert state.chain == "12345678", "only a turn's first step says so"
    state.learn(TurnState(turn="e2"), ModelResult())
    assert state.chain is None
