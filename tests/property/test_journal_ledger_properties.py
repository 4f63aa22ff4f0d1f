"""The ledger under any order of claims, deaths, late comers and decisions."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from inturn.journal import NewEntry, Outcome, Recorded
from inturn.journal.ledger import decisions, rows, steps
from inturn.journal.log import log
from inturn.journal.views import outcomes
from inturn.journal.views.transcript import Transcript
from inturn.keys import StepKey
from tests.support.journal import SESSION, answer, applied, calls, memory, opening, result
from tests.support.stores import examples

TURNS = st.sampled_from(["e1", "e2"])
INDEX = st.integers(0, 1)
LEASE = 10.0
Attempt = tuple[StepKey, str]
Claimed = Attempt | MultipleResults[Attempt]


class Ledger(RuleBasedStateMachine):
    """Attempts come and go; each holds a token for as long as it likes. The clock is the test's."""

    attempts: Bundle[Attempt] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.tx = self.open.enter_context(memory(now=0.0))
        self.records: dict[StepKey, dict[str, object]] = {}
        self.ends: dict[str, str] = {}
        self.entries: list[str] = []
        self.holder: dict[StepKey, tuple[str, float]] = {}

    def teardown(self) -> None:
        self.open.close()

    @rule(target=attempts, turn=TURNS, step=st.integers(0, 1))
    def claim_model(self, turn: str, step: int) -> Claimed:
        key = SESSION.turn(turn).step(step)
        claim = steps.claim_model(self.tx, key, opening(turn) if step == 0 else [])
        if claim.status == "claimed":
            assert key not in self.records, "a recorded step was claimed again"
            assert turn not in self.ends, "a step of an ended turn was claimed"
            return (key, claim.token)
        if claim.status in ("done", "settled"):
            assert claim.result == self.records[key]
        return multiple()

    @rule(target=attempts, turn=TURNS, index=INDEX, begin=st.booleans())
    def claim_call(self, turn: str, index: int, begin: bool) -> Claimed:
        key = SESSION.turn(turn).step(0, index)
        claim = steps.claim_call(self.tx, key, lease=LEASE, begin=begin)
        if claim.status == "claimed":
            assert key not in self.records, "a recorded call was claimed again"
            _, until = self.holder.get(key, ("", 0.0))
            assert until <= self.tx.now, "a running body was taken over before its lease ran out"
            self.holder[key] = (claim.token, self.tx.now + LEASE if begin else 0.0)
            return (key, claim.token)
        if claim.status == "leased":
            assert self.holder[key][1] > self.tx.now
        else:
            assert claim.result == self.records[key]
        return multiple()

    @rule(attempt=attempts, value=st.integers(0, 99), end=st.booleans())
    def finish(self, attempt: Attempt, value: int, end: bool) -> None:
        key, token = attempt
        turn = key.turn.turn
        record: dict[str, object] = {"value": value, "by": token}
        if key.index is not None:
            done = steps.finish(self.tx, key, token, record, [result(turn, key.index, f"{turn}-c{key.index}")], None)
        elif end:
            done = steps.finish(self.tx, key, token, record, answer(turn, step=int(key.step)), applied(turn))
        else:
            ids = [f"{turn}-c0", f"{turn}-c1"]
            done = steps.finish(self.tx, key, token, record, calls(turn, ids, step=int(key.step)), None)
        if done is None:
            return
        if key in self.records:
            assert self.records[key].get("by") == token, "two attempts finished one step"
            return
        self.records[key] = record
        self.holder.pop(key, None)
        if key.index is None and end:
            self.ends.setdefault(turn, "applied")

    @rule(attempt=attempts)
    def fail(self, attempt: Attempt) -> None:
        key, token = attempt
        steps.fail(self.tx, key, token, "unknown")
        self._let_go(key, token)

    @rule(attempt=attempts)
    def release(self, attempt: Attempt) -> None:
        key, token = attempt
        steps.release(self.tx, key, token)
        self._let_go(key, token)

    @rule(attempt=attempts)
    def renew(self, attempt: Attempt) -> None:
        key, token = attempt
        held, until = self.holder.get(key, ("", 0.0))
        if steps.renew(self.tx, key, token, lease=LEASE) and held == token and until:
            self.holder[key] = (token, self.tx.now + LEASE)

    @rule(attempt=attempts)
    def report(self, attempt: Attempt) -> None:
        key, token = attempt
        before = log.head(self.tx, SESSION)
        head = steps.append(self.tx, key, token, [NewEntry("tool.progress", {"text": "…"}, key.turn.event_id)])
        assert (head is None) == (log.head(self.tx, SESSION) == before)
        assert head is None or key not in self.records, "a step wrote after its end"

    @rule(turn=TURNS, disposition=st.sampled_from(["cancelled", "parked"]))
    def end_turn(self, turn: str, disposition: str) -> None:
        entry = NewEntry("turn.interrupted", {"turn": turn}, turn, key=f"{turn}/end")
        outcome = Outcome(turn, turn, disposition)  # type: ignore[arg-type]
        decisions.record(self.tx, SESSION, [Recorded(entry, outcome)], [SESSION.turn(turn)], False)
        for row in self.tx.execute("SELECT step, call FROM steps WHERE turn = ? AND state = 'settled'", (turn,)):
            key = SESSION.turn(turn).step(row[0], None if row[1] == rows.NO_CALL else row[1])
            self.records.setdefault(key, steps.SETTLED_RESULT)
            self.holder.pop(key, None)
        self.ends.setdefault(turn, disposition)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.tx.now += seconds

    @invariant()
    def the_log_is_immutable_and_chained(self) -> None:
        hashes = [e.hash for e in log.read(self.tx, SESSION, limit=10_000)]
        assert hashes[: len(self.entries)] == self.entries
        assert log.verify(self.tx, SESSION) == []
        self.entries = hashes

    @invariant()
    def the_first_end_of_each_turn_stands(self) -> None:
        for turn, disposition in self.ends.items():
            outcome = outcomes.get(self.tx, SESSION, turn)
            assert outcome is not None
            assert outcome.disposition == disposition

    @invariant()
    def each_call_has_one_result_at_most(self) -> None:
        results = [e.body["call_id"] for e in log.read(self.tx, SESSION, limit=10_000, types=("agent.tool_result",))]
        assert len(results) == len(set(results))
        Transcript(log.read(self.tx, SESSION, limit=10_000)).request_messages()

    def _let_go(self, key: StepKey, token: str) -> None:
        if self.holder.get(key, ("", 0.0))[0] == token:
            self.holder[key] = ("", 0.0)


@pytest.mark.promise("ORD-8")
def test_each_step_happens_once_in_any_order(store: str) -> None:
    run_state_machine_as_test(
        Ledger, settings=settings(max_examples=examples(40, store), stateful_step_count=30, deadline=None)
    )
