"""Shared state beside a naive model, under any order of attempts, deaths, zombies and other callers.

A call runs a program: a fixed list of operations. Attempts of it come and go, each runs on from its first operation;
the model does each operation once, when an attempt that holds the call first gets to it.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from inturn.journal.ledger import steps
from inturn.journal.state import apply, values
from inturn.journal.state.changes import Change, ClaimNext, Complete, Incr, Operation, Push, PutIfAbsent, Release, Scope
from tests.support.journal import SESSION, memory
from tests.support.stores import examples

SCOPE = Scope("acme")
CALLS = [SESSION.turn("e1").step(0, index) for index in range(2)]
NAMES = ["a", "b"]
LEASE = 10.0
OPERATIONS = st.one_of(
    st.builds(Incr, st.sampled_from(NAMES), st.integers(-2, 2)),
    st.builds(Push, st.just("q"), st.integers(0, 9).map(str)),
    st.builds(PutIfAbsent, st.sampled_from(["x", "y"]), st.integers(0, 9).map(str), st.none()),
)


class Attempt:
    """One attempt of a call: how far its body is."""

    def __init__(self, call: int, token: str) -> None:
        self.call = call
        self.token = token
        self.at = 0


class SharedState(RuleBasedStateMachine):
    """Two calls with a program each, and claimers who come from outside. The clock is the test's."""

    attempts: Bundle[Attempt] = Bundle("attempts")
    claims: Bundle[dict[str, Any]] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.tx = self.open.enter_context(memory(now=0.0))
        self.programs: list[list[Change]] = [[], []]
        self.results: list[list[Any]] = [[], []]
        self.holders = ["", ""]
        self.ended: set[int] = set()
        # The naive model: one dictionary, one list.
        self.values: dict[str, int] = {}
        self.queue: list[dict[str, Any]] = []

    def teardown(self) -> None:
        self.open.close()

    @rule(target=attempts, call=st.integers(0, 1))
    def begin(self, call: int) -> Attempt:
        claim = steps.claim_call(self.tx, CALLS[call], lease=0, begin=True)
        if claim.status == "claimed":
            self.holders[call] = claim.token
        return Attempt(call, claim.token)

    @rule(attempt=attempts, fresh=OPERATIONS)
    def go_on(self, attempt: Attempt, fresh: Change) -> None:
        """Run the body's next operation: the program's, which grows where no attempt has come so far yet."""
        call, program, results = attempt.call, self.programs[attempt.call], self.results[attempt.call]
        holds = attempt.token != "" and self.holders[call] == attempt.token and call not in self.ended
        if attempt.at == len(program):
            if not holds:
                return  # what it would do next is its own: no attempt that counts has come so far
            program.append(fresh)
        change = program[attempt.at]
        done = apply.change(self.tx, SCOPE, change, Operation(CALLS[call], attempt.token, attempt.at))
        assert (done is not None) == holds, "only the attempt that holds the call may change anything"
        if done is None:
            return
        if attempt.at == len(results):
            results.append(self.naive(change))
        elif isinstance(change, PutIfAbsent) and not results[attempt.at] and not self.built_on(attempt):
            results[attempt.at] = self.naive(change)  # refused at the end of an attempt: asked anew
        assert done.value == results[attempt.at]
        attempt.at += 1

    @rule(change=OPERATIONS)
    def come_by(self, change: Change) -> None:
        """Somebody else, without a key."""
        done = apply.change(self.tx, SCOPE, change, Operation())
        assert done is not None
        assert done.value == self.naive(change)

    @rule(attempt=consumes(attempts))
    def end(self, attempt: Attempt) -> None:
        if steps.finish(self.tx, CALLS[attempt.call], attempt.token, {}, [], None) is not None:
            assert self.holders[attempt.call] == attempt.token
            self.ended.add(attempt.call)

    @rule(target=claims)
    def claim(self) -> dict[str, Any]:
        done = apply.change(self.tx, SCOPE, ClaimNext("q", LEASE), Operation())
        assert done is not None
        free = next((item for item in self.queue if item["until"] <= self.tx.now), None)
        if free is None:
            assert done.value is None
            return {"token": "none", "seq": 0}
        assert done.value["item"] == free["item"], "an item was overtaken"
        free.update(until=self.tx.now + LEASE, token=done.value["token"])
        return dict(done.value)

    @rule(claim=claims)
    def complete(self, claim: dict[str, Any]) -> None:
        held = [item for item in self.queue if item["token"] == claim["token"]]
        done = apply.change(self.tx, SCOPE, Complete("q", claim["seq"], claim["token"]), Operation())
        assert done is not None
        assert (done.conflict is None) == bool(held)
        for item in held:
            self.queue.remove(item)

    @rule(claim=claims)
    def release(self, claim: dict[str, Any]) -> None:
        apply.change(self.tx, SCOPE, Release("q", claim["seq"], claim["token"]), Operation())
        for item in self.queue:
            if item["token"] == claim["token"]:
                item.update(until=0.0, token="")

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.tx.now += seconds

    @invariant()
    def the_values_are_the_models(self) -> None:
        for name in (*NAMES, "x", "y"):
            found = values.get(self.tx, SCOPE, name)
            assert (found[0] if found else None) == self.values.get(name)

    @invariant()
    def the_queue_is_the_models(self) -> None:
        rows = self.tx.execute("SELECT item FROM queue_items ORDER BY seq")
        assert [json.loads(item) for (item,) in rows] == [item["item"] for item in self.queue]

    @invariant()
    def ended_calls_leave_no_record(self) -> None:
        for call in self.ended:
            where = "SELECT 1 FROM operations WHERE turn = 'e1' AND call = ?"
            assert self.tx.execute(where, (CALLS[call].index,)) == []

    def naive(self, change: Change) -> Any:
        match change:
            case Incr(name, by):
                self.values[name] = self.values.get(name, 0) + by
                return self.values[name]
            case Push(_, text):
                self.queue.append({"item": json.loads(text), "until": 0.0, "token": ""})
                return None
            case PutIfAbsent(name, text):
                return name not in self.values and not self.values.update({name: json.loads(text)})
            case _:
                raise AssertionError(change)

    def built_on(self, attempt: Attempt) -> bool:
        later = list(zip(self.programs[attempt.call], self.results[attempt.call], strict=False))[attempt.at + 1 :]
        return any(not isinstance(change, PutIfAbsent) or result for change, result in later)


@pytest.mark.promise("SHR-6")
def test_each_change_happens_once_in_any_order(store: str) -> None:
    run_state_machine_as_test(
        SharedState, settings=settings(max_examples=examples(60, store), stateful_step_count=40, deadline=None)
    )
