"""Whatever a session took, the next run takes what it carries: by construction, and over any sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inturn import names, sizes
from inturn.events import Event
from inturn.policy import InboxPolicy
from inturn.signals import Signal
from inturn_activities.messages import CallPlan, Decision, DeliverInput, Policy
from inturn_workflows.inbox import books, parked, sequencing
from inturn_workflows.inbox.dedup import RECENT, SIZE, DedupWindow
from inturn_workflows.inbox.events import Arrival, ParkedEvent, Queued, Refusal
from inturn_workflows.inbox.inbox import MAX_REDRIVEN, Inbox
from inturn_workflows.notices import notices_of
from inturn_workflows.state import MAX_CONTROLS, MAX_REDELIVERED, Limits, SessionState
from inturn_workflows.turn_state import MAX_JOINED, CallState, Decided, TurnState

pytestmark = pytest.mark.promise("SUR-15", "SUR-6", "ACC-5")

NOW: Final = 1_763_677_084.123456
POLICY: Final = InboxPolicy(capacity=2_000, merge_limit=200, hold_capacity=500, first_sequence=None)
BAD: Final = "\x01"
"""Six bytes as JSON."""
COMPARTMENTS: Final = (
    "WAITING RUNNING CALLS MERGED PARKED REDRIVEN DECISIONS COUNTED CONTROLS EARLY SETTLED SOURCES WINDOW NOTICES REST"
).split()
MAX_CALLS: Final = 64


def long(name: object, length: int = 128) -> str:
    """An id as long as ids get."""
    return f"{name}-".ljust(length, "i")


def test_the_compartments_together_are_below_what_is_carried_and_that_below_what_the_server_takes() -> None:
    assert sum(getattr(sizes, name) for name in COMPARTMENTS) < sizes.CARRIED
    assert sizes.CARRIED + 150_000 < sizes.PAYLOAD
    assert sizes.CONTROLS + sizes.EARLY + sizes.SETTLED == 96 * 1024, "never lent to events"


def session() -> SessionState:
    return SessionState(inbox=Inbox(dedup=DedupWindow(salt="s" * 16)))


def come(state: SessionState, name: object, *, signal: bool = True, **fields: Any) -> None:
    """Send an event the way the session takes it."""
    said: dict[str, Any] = {"content": BAD * 40, "source": long("s"), **fields}
    event = Event(event_id=long(name), **said)
    arrival, running = Arrival.of(event), state.answered
    refusal = state.inbox.check(arrival, NOW, POLICY, busy=state.turn is not None, running=running)
    if refusal is not None:
        if signal:
            state.inbox.reject(event, refusal, NOW)
        return
    turn = state.turn.turn if state.turn else None
    state.inbox.admit(arrival, NOW, POLICY, inline=True, turn=turn, running=running)


def take(state: SessionState) -> None:
    if state.turn is None and (taken := state.inbox.take(NOW, POLICY)):
        state.turn = TurnState.of(taken[0], NOW)
        state.turn.join(taken[1:])


def end(state: SessionState) -> None:
    if state.turn is not None:
        state.inbox.endings.finish(state.turn.event_id, "applied")
        for event_id, known in state.turn.merged.items():
            state.inbox.endings.merge(event_id, state.turn.event_id, NOW, known)
        state.turn = None


def step(state: SessionState) -> None:
    """The running turn's step was recorded: what it said is in the journal."""
    if state.turn is not None:
        state.turn.event, state.turn.joined = None, []
        state.turn.step += 1
        state.turn.join(state.inbox.steer(state.turn.turn, NOW, POLICY, state.turn.room))


LARGEST: Final[dict[str, Any]] = {
    "content": "x" * (sizes.CONTENT - 2),
    "metadata": {"m": BAD * ((sizes.METADATA - 8) // 6)},
    "other": BAD * ((sizes.METADATA - 12) // 6),
    "sender": BAD * 256,
    "trace": BAD * 128,
    "agent": long("a"),
}


def fill_waiting(state: SessionState) -> None:
    state.inbox.sequencer.extend_wait(long("h"), NOW)
    state.inbox.sequencer.sources[long("h")].next = 0
    for number in range(1, 600):
        come(state, f"h{number}", source=long("h"), sequence=2**62 + number, content="x" * 900, signal=False)
    for number in range(50):
        state.inbox.cancel(long(f"h{number + 1}"), NOW, None, POLICY)
    come(state, "zero", source=long("h"), sequence=0, **LARGEST)
    for number in range(2_000):
        come(state, f"q{number}", when_busy="steer", content=BAD, signal=False)


def fill_running(state: SessionState) -> None:
    come(state, "large", **LARGEST)
    take(state)


def fill_calls(state: SessionState) -> None:
    assert state.turn is not None
    plan = CallPlan(tool=long("t"), preview='"\\' * 100, hash="0" * 12, timeout=1e308, retries=99, failures=99)
    plan.approval, plan.locks = True, ["l" * 10_000] * 4
    for number in range(MAX_CALLS):
        call = CallState.of(plan.model_copy(update={"id": long(number), "approval_timeout": 86_399.999999999}))
        call.asked_at, call.delivered, call.done, call.failed, call.cancelled = NOW, True, True, True, True
        call.decide(
            Decided(answer="approved", by="b" * sizes.WHO, via="v" * sizes.VIA, reason="r" * sizes.REASON, at=NOW)
        )
        state.turn.calls.append(call)


def fill_merged(state: SessionState) -> None:
    assert state.turn is not None
    for number in range(MAX_JOINED + 100):
        queued = Queued(turn=long(f"m{number}"), n=10**9, event={"content": BAD * 100, "source": long("s")})
        inbox = state.inbox.queue
        queued.steers = state.turn.turn
        inbox.insert(0, queued)
        state.turn.join(state.inbox.steer(state.turn.turn, NOW, POLICY, state.turn.room))
        if inbox.events and inbox.events[0] is queued:
            inbox.pop(0)
    state.turn.joined = []


def fill_parked(state: SessionState) -> None:
    for number in range(parked.MAX_PARKED + 50):
        one = ParkedEvent(turn=f"{long(number)}~99", n=10**9, error=BAD * 5_000, attempts=99, at=NOW)
        one.preview, one.effects, one.lost, one.valid = BAD * 40, True, True, False
        state.inbox.parked.add(one)


def fill_redriven(state: SessionState) -> None:
    for number in range(MAX_REDRIVEN + 20):
        state.inbox.parked.add(ParkedEvent(turn=f"{long(f'r{number}')}~98", n=10**9, at=NOW, error="x"))
        state.inbox.redrive(long(f"r{number}"), NOW)
    state.inbox.parked.events, state.inbox.parked.bytes = [], 0
    for number in range(MAX_REDELIVERED):
        notice = largest_notice(state)
        message = DeliverInput(kind="notice", notice=notice, agent=long("a"), trace=BAD * 128).model_dump()
        state.redeliver.append(ParkedEvent(turn=long(number), delivery="deliver", error=BAD * 85, message=message))


def largest_notice(state: SessionState) -> dict[str, Any]:
    other = session()
    event = Event(event_id="e", content=BAD * 100, source=long("s"), metadata={"m": BAD * 28})
    for number in range(30):
        named = event.model_copy(update={"event_id": long(number)})
        other.inbox.reject(named, Refusal(names.INVALID_EVENT, "m" * 300), NOW)
    return notices_of(other.inbox.books.drain_decisions(NOW), overflow="busy_reply")[0]


def fill_decisions(state: SessionState) -> None:
    late = Queued(turn=long("late"), n=10**9, event=Event(event_id=long("late"), **LARGEST).wire(), size=295_000)
    state.inbox.endings.set_aside_or_reject(late, "late", NOW, POLICY)
    for number in range(1_000):
        event = Event(event_id=long(number), content=BAD * 100, source=long(number), metadata={"m": BAD * 28})
        signal = Signal("chain-of-runs", 9_000 + number)
        state.inbox.reject(event, Refusal(names.BACKPRESSURE, "m" * 300), NOW, signal)


def fill_controls(state: SessionState) -> None:
    for number in range(MAX_CONTROLS + 50):
        decided = Decided(answer="approved", by="b" * sizes.WHO, reason="r" * sizes.REASON, at=NOW)
        state.remember_control(long(number), {"ok": True, "answer": "approved", "by": "b" * sizes.WHO, "early": True})
        state.decide_early(long(number, 256), decided)
        state.settle_approval(long(number, 256), decided)


def fill_sources(state: SessionState) -> None:
    for number in range(sequencing.MAX_SOURCES + 50):
        state.inbox.sequencer.extend_wait(long(number), NOW)
        state.inbox.sequencer.sources[long(number)].next = 2**63
        state.inbox.sequencer.sources[long(number)].sparse = False


def fill_window(state: SessionState) -> None:
    for number in range((SIZE // RECENT + 4) * RECENT - 1):
        state.inbox.dedup.add(long(number), "interrupted")


def fill_notices(state: SessionState) -> None:
    state.keep_notices([largest_notice(state)] * 20)


def fill_rest(state: SessionState) -> None:
    state.agent = state.wanted = long("a")
    policy = InboxPolicy(rate=0.123456789, burst=10_000, gap_timeout=3_599.5, on_gap="park", sequencing="sparse")
    state.policy = Policy(hash="0" * 64, deliver=True, inbox=policy.model_dump(mode="json"))
    state.limits = Limits(events=2**30, bytes=2**30, signals=2**30, cut_signals=2**30, updates=2**30)
    state.closing, state.journal, state.seal, state.head = "rejected", "j" * 128, (2**60, "s" * 64), 2**60
    turn = TurnState(turn=f"{long('t')}~99", n=10**9, step=10**6, preview=BAD * 40, trace=BAD * 128, agent=long("a"))
    turn.stop, turn.aliases = "r" * sizes.REASON, [long(number) for number in range(4)]
    state.turn = state.turn or turn
    for disposition in "applied merged cancelled expired rejected parked discarded repeated".split():
        state.inbox.books.count(disposition, 2**40)


FILLS: Final[dict[str, tuple[int, Callable[[SessionState], None]]]] = {
    "waiting": (sizes.WAITING, fill_waiting),
    "running": (sizes.RUNNING, fill_running),
    "calls": (sizes.CALLS, fill_calls),
    "merged": (sizes.MERGED, fill_merged),
    "parked": (sizes.PARKED, fill_parked),
    "redriven": (sizes.REDRIVEN, fill_redriven),
    "decisions": (sizes.DECISIONS + sizes.COUNTED, fill_decisions),
    "controls": (96 * 1024, fill_controls),
    "sources": (sizes.SOURCES, fill_sources),
    "window": (sizes.WINDOW, fill_window),
    "notices": (sizes.NOTICES, fill_notices),
    "rest": (sizes.REST, fill_rest),
}
_NEEDS_TURN: Final = ("calls", "merged")


@pytest.mark.parametrize("name", FILLS)
def test_a_compartment_that_is_full_of_the_worst_keeps_its_bound(name: str) -> None:
    most, fill = FILLS[name]
    state = session()
    if name in _NEEDS_TURN:
        state.turn = TurnState(turn="t")
    before = sizes.written(state)
    if name == "waiting":
        known = session()  # what was refused, and the window, are others' compartments
        fill(state)
        state.inbox.books, state.inbox.dedup = known.inbox.books, known.inbox.dedup
        state.inbox.sequencer.sources = {}
    else:
        fill(state)
    if name == "merged":
        state.inbox.dedup = session().inbox.dedup
    used = sizes.written(state) - before
    assert used <= most, f"{used:,} of {most:,}"
    assert used > (0.4 if name == "rest" else 0.6) * most, f"only {used:,} of {most:,}: it was not filled"


def test_all_compartments_full_at_once_fit_and_nothing_but_answers_goes() -> None:
    state = session()
    fill_running(state)
    for name, (_, fill) in FILLS.items():
        if name not in ("running", "redriven"):
            fill(state)
    for number in range(100):
        state.keep_answer(long(number), {"text": BAD * 4096, "event_id": long(number)})
    queued, notices, sources = len(state.inbox.queue), len(state.notices), len(state.inbox.sequencer.sources)
    assert sizes.written(state) > 1_600_000
    assert state.fit()
    assert sizes.written(state) < sizes.CARRIED
    assert (len(state.inbox.queue), len(state.notices)) == (queued, notices)
    assert len(state.inbox.sequencer.sources) == sources, "a source's place is not forgotten in an attack"
    assert SessionState.model_validate_json(state.model_dump_json()) == state


def test_what_does_not_fit_for_decisions_fits_once_they_are_recorded() -> None:
    state = session()
    for number in range(3_000):
        state.inbox.endings.merge(long(number), long("host"), NOW, {"preview": "p" * 96, "source": long("s"), "n": "1"})
    assert not state.fit()
    state.inbox.books.drain_decisions(NOW)
    assert state.fit()


def test_of_more_than_is_carried_the_last_are_set_aside_until_the_rest_fits() -> None:
    state = session()
    for number in range(10):  # accepted at once, before any could be refused for the others
        arrival = Arrival.of(Event(event_id=long(number), **LARGEST))
        state.inbox.admit(arrival, NOW, POLICY)
    recorded: list[Decision] = []
    while not state.fit():
        assert state.inbox.books.pending or state.inbox.set_last_aside(NOW)
        recorded += state.inbox.books.drain_decisions(NOW)
    kept = [queued.event_id for queued in state.inbox.queue.events]
    assert kept == [long(number) for number in range(6)]
    assert [decision.turn for decision in recorded] == [long(number) for number in (9, 8, 7, 6)]
    assert all(decision.body["event"]["content"] == LARGEST["content"] for decision in recorded)
    assert state.inbox.balance(running=0) == {"accepted": 10, "parked": 4, "pending": 6}
    assert not session().inbox.set_last_aside(NOW)


def test_a_control_finds_room_whatever_events_took() -> None:
    state = session()
    for number in range(3_000):
        come(state, number)
    decided = Decided(answer="approved", by="b" * sizes.WHO, reason="r" * sizes.REASON, at=NOW)
    state.decide_early("call:0", decided)
    state.remember_control("c", {"ok": True})
    for number in range(3_000):
        come(state, number + 10_000)
    assert state.early == {"call:0": decided}
    assert state.controls == {"c": {"ok": True}}


@pytest.mark.parametrize("deliveries", [False, True])
def test_what_is_driven_again_is_bounded_however_often_it_is_parked_and_driven(deliveries: bool) -> None:
    state = session()
    refused = 0
    for number in range(5_000):
        state.inbox.parked.add(ParkedEvent(turn=long(number), n=number, at=NOW, error=BAD * 100))
        refused += isinstance(state.inbox.redrive(long(number), NOW), Refusal)
    assert refused == 5_000 - MAX_REDRIVEN
    assert sizes.written(state) < sizes.PARKED + sizes.REDRIVEN + sizes.REST


def _reject_all(state: SessionState, number: int) -> None:
    for each in range(60):
        come(state, f"f{number}-{each}", content="x" * 300, metadata={"m": BAD * 28})


def _steers(state: SessionState, number: int) -> None:
    for each in range(60):
        come(state, f"s{number}-{each}", when_busy="steer", content=BAD)


def _malformed(state: SessionState, number: int) -> None:
    for each in range(20):
        state.inbox.park_invalid(long(f"x{number}-{each}"), BAD * 5_000, NOW, BAD * 40, state.answered)


def _approvals(state: SessionState, number: int) -> None:
    for each in range(40):
        decided = Decided(answer="denied", by=BAD * 42, reason=BAD * 85, at=NOW)
        state.decide_early(long(f"{number}-{each}", 256), decided)
        state.settle_approval(long(f"{number}-{each}", 256), decided)
        state.remember_control(long(f"{number}-{each}"), {"ok": True, "answer": "denied", "by": BAD * 42})


def _held(state: SessionState, number: int) -> None:
    for each in range(60):
        come(state, f"g{number}-{each}", source=long(f"g{number % 7}"), sequence=5 + each, content="x" * 700)


def _many_sources(state: SessionState, number: int) -> None:
    for each in range(60):
        come(state, f"o{number}-{each}", source=long(f"o{number}-{each}"), sequence=0, content=BAD)


def _redrive_all(state: SessionState, number: int) -> None:
    for one in list(state.inbox.parked.events):
        state.inbox.redrive(one.event_id, NOW, force=True)


def _discard_all(state: SessionState, number: int) -> None:
    for one in list(state.inbox.parked.events)[:30]:
        state.inbox.discard(one.event_id, NOW, "r" * sizes.REASON)


def _large(state: SessionState, number: int) -> None:
    come(state, f"l{number}", **LARGEST)
    come(state, f"late{number}", source=long("late"), sequence=number % 3, **LARGEST)


def _fail(state: SessionState, number: int) -> None:
    if (turn := state.turn) is not None:
        state.inbox.endings.park(ParkedEvent(turn=turn.turn, n=turn.n, error=BAD * 4_096, at=NOW))
        state.turn = None


def _set_apart(state: SessionState, number: int) -> None:
    if state.turn is not None:
        state.inbox.requeue(state.turn.part(list(state.turn.merged)))


def _record(state: SessionState, number: int) -> None:
    decisions = state.inbox.books.drain_decisions(NOW)
    state.keep_notices(notices_of(decisions, overflow="busy_reply"))
    for portion in sizes.portions(decisions, sizes.RECORD):
        assert sizes.written(portion) < sizes.RECORD + 1_000


ACTS: Final[list[Callable[[SessionState, int], None]]] = [
    _reject_all,
    _steers,
    _malformed,
    _approvals,
    _held,
    _many_sources,
    _redrive_all,
    _discard_all,
    _large,
    _fail,
    _set_apart,
    _record,
    lambda state, number: take(state),
    lambda state, number: step(state),
    lambda state, number: end(state),
    lambda state, number: state.release_held(NOW + 100 * number),
    lambda state, number: state.keep_answer(long(number), {"text": BAD * 4_096}),
]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=st.lists(st.sampled_from(ACTS), min_size=10, max_size=80))
def test_over_any_sequence_of_what_comes_and_ends_the_next_run_takes_what_is_carried(
    acts: list[Callable[[SessionState, int], None]],
) -> None:
    state = session()
    for number, act in enumerate(acts):
        act(state, number)
        waiting = [*state.inbox.queue.events, *state.inbox.sequencer.held]
        running = state.turn.joined if state.turn else []
        assert sizes.written(waiting) + sizes.written(running) <= sizes.WAITING + sizes.RUNNING + sizes.REDRIVEN
        assert state.inbox.books.bytes >= sizes.written(state.inbox.books.decisions) - len(acts) * 600
    while not state.fit():
        assert state.inbox.books.pending, "nothing is left to record, and it does not fit"
        state.inbox.books.drain_decisions(NOW)
    assert sizes.written(state) <= sizes.CARRIED


@given(st.lists(st.integers(0, 60)), st.integers(1, 50))
def test_portions_keep_order_and_bytes_and_lose_nothing(lengths: list[int], most: int) -> None:
    values = ["x" * length for length in lengths]
    portions = sizes.portions(values, most)
    assert [value for portion in portions for value in portion] == values
    assert len(portions) >= 1
    for portion in portions:
        assert len(portion) == 1 or sum(sizes.written(value) + 1 for value in portion) <= most
        assert portion or not values


def test_the_largest_end_of_a_turn_fits_one_record_with_what_was_decided_before() -> None:
    joined = [{"event_id": long(n), "content": BAD * 400} for n in range(100)]
    event = Event(event_id=long("e"), **LARGEST).wire()
    body = {"error": BAD * 680, "turn": long("e"), "preview": BAD * 40, "event": event, "joined": joined}
    answers = [Decision(type="approval.answered", key=long("k", 300), body={"by": "b" * 256, "reason": "r" * 512})] * 64
    end = [Decision(type=type_, turn=long("e"), key=long("e", 140), body=body) for type_ in ("a", "event.parked")]
    assert sizes.written([*answers, *end]) + sizes.OTHERS < sizes.PAYLOAD
    assert sizes.RECORD + sizes.WHOLE + sizes.NOTE < sizes.PAYLOAD


def test_a_step_is_told_no_more_than_the_server_takes() -> None:
    state = session()
    fill_running(state)
    assert state.turn is not None
    assert sizes.written(state.model_input(state.turn)) < sizes.RUNNING + sizes.REST
    state = session()
    come(state, "host", when_busy="merge", content="x" * 100)
    for number in range(300):
        come(state, number, when_busy="merge", content="x" * 1_000)
    take(state)
    assert state.turn is not None
    assert len(state.turn.joined) > 100
    assert sizes.written(state.model_input(state.turn)) < sizes.RUNNING + sizes.REST


def test_books_count_what_they_hold_and_keep_no_more() -> None:
    state = session()
    for number in range(books.MAX_DECISIONS + 100):
        state.inbox.reject(Event(event_id=f"e{number}", content="x"), Refusal(names.BACKPRESSURE, "full"), NOW)
        assert state.inbox.books.bytes + len(state.inbox.books.decisions) + 1 == sizes.written(
            state.inbox.books.decisions
        )
    assert len(state.inbox.books.decisions) == books.MAX_DECISIONS
