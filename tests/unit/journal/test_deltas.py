"""Rows of previews, and who looks at them."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.encryption import parse_keys
from inturn.encryption.columns import CLEAR, Sealing
from inturn.journal import Claim, NewDelta, NewEntry, Recorded
from inturn.journal.ledger import decisions, steps
from inturn.journal.live import deltas, watches
from inturn.journal.log import log
from inturn.journal.store.store import Transaction
from inturn.journal.values import BEGINNING, DeltaRow
from inturn.keys import SessionKey, StepKey
from tests.support.journal import OTHER, SESSION, answer, applied, memory, opening
from tests.support.keys import keys

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.promise("MOD-7")]

STEP = SESSION.turn("e1").step(0)


def claim(tx: Transaction, step: StepKey = STEP) -> Claim:
    claimed = steps.claim_model(tx, step, opening(step.turn.turn), lease=7.0)
    assert claimed.status == "claimed"
    return claimed


def new(claimed: Claim, index: int, text: str = "so", step: StepKey = STEP) -> NewDelta:
    return NewDelta(step, claimed.token, claimed.fence, index, [[0, "t", text]])


def said(tx: Transaction, *sessions: SessionKey, after: tuple[int, int] = BEGINNING) -> list[DeltaRow]:
    found = deltas.read(tx, dict.fromkeys(sessions or (SESSION,), after))
    return [row for rows in found.values() for row in rows]


def test_rows_are_read_behind_a_place_in_order_of_fence_and_index() -> None:
    with memory() as tx:
        first = claim(tx)
        deltas.publish(tx, [new(first, n, str(n)) for n in (2, 0, 1)])
        again = claim(tx)
        deltas.publish(tx, [new(again, 0, "again")])
        assert [(row.fence - first.fence, row.index) for row in said(tx)] == [(0, 0), (0, 1), (0, 2), (1, 0)]
        assert [row.said[0][2] for row in said(tx, after=(first.fence, 1))] == ["2", "again"]
        assert said(tx, OTHER) == []


def test_what_an_attempt_says_that_does_not_hold_its_step_is_dropped() -> None:
    with memory() as tx:
        zombie = claim(tx)
        deltas.publish(tx, [new(zombie, 0)])
        holder = claim(tx)
        deltas.publish(tx, [new(zombie, 1), new(holder, 0)])
        assert [(row.fence, row.index) for row in said(tx)] == [(zombie.fence, 0), (holder.fence, 0)]
        steps.finish(tx, STEP, holder.token, {"stop": "end_turn"}, answer("e1"), applied("e1"))
        deltas.publish(tx, [new(holder, 1)])
        assert len(said(tx)) == 2


def test_what_a_settled_step_says_is_dropped() -> None:
    with memory() as tx:
        held = claim(tx)
        decisions.record(tx, SESSION, [], [STEP.turn], close=False)
        deltas.publish(tx, [new(held, 0)])
        assert said(tx) == []


@pytest.mark.parametrize(
    "ends", [{"settle": [STEP.turn], "close": False}, {"settle": [], "close": True}], ids=["a turn", "all"]
)
def test_what_was_said_and_had_no_answer_is_gone_when_its_turn_or_the_session_ends(ends: dict[str, Any]) -> None:
    with memory() as tx:
        dead = claim(tx)
        other = claim(tx, OTHER.turn("e1").step(0))
        deltas.publish(tx, [new(dead, 0), new(dead, 1), new(other, 0, step=OTHER.turn("e1").step(0))])
        decisions.record(tx, SESSION, [], [STEP.turn], close=False, number="0")  # its calls alone
        assert len(said(tx)) == 2
        decisions.record(tx, SESSION, [], **ends)
        assert said(tx) == []
        assert len(said(tx, OTHER)) == 1


def test_a_row_that_is_there_is_not_written_again() -> None:
    with memory() as tx:
        held = claim(tx)
        for text in ("first", "second"):
            deltas.publish(tx, [new(held, 0, text), new(held, 1, text)])
        assert [row.said[0][2] for row in said(tx)] == ["first", "first"]


def test_many_rows_of_many_sessions_are_published_at_once() -> None:
    with memory() as tx:
        held = {key: claim(tx, key.turn("e1").step(0)) for key in (SESSION, OTHER)}
        deltas.publish(tx, [new(c, n, "x", key.turn("e1").step(0)) for n in range(250) for key, c in held.items()])
        for key in held:
            assert [row.index for row in said(tx, key)] == list(range(250))


def test_a_look_reads_so_many_rows_and_the_next_one_reads_on() -> None:
    with memory() as tx:
        held = claim(tx)
        deltas.publish(tx, [new(held, n) for n in range(deltas.LIMIT + 5)])
        rows = said(tx)
        assert len(rows) == deltas.LIMIT
        assert len(said(tx, after=(rows[-1].fence, rows[-1].index))) == 5


@pytest.mark.parametrize("data", ["", "{", "[" * 100_000, "\x01inturn:k:AAAA", "1" * 5_000])
def test_a_row_that_cannot_be_read_is_a_hole_in_its_own_answer_alone(data: str) -> None:
    with memory() as tx:
        held = {key: claim(tx, key.turn("e1").step(0)) for key in (SESSION, OTHER)}
        deltas.publish(tx, [new(c, n, "x", key.turn("e1").step(0)) for n in range(3) for key, c in held.items()])
        tx.execute("UPDATE deltas SET data = ? WHERE session = ? AND idx = 1", (data, SESSION.session_id))
        assert [(row.index, row.said is None) for row in said(tx)] == [(0, False), (1, True), (2, False)]
        assert [row.said for row in said(tx, SESSION, OTHER) if row.said] == [[[0, "t", "x"]]] * 5


@pytest.mark.parametrize("column", ["fence", "idx"])
def test_a_row_whose_place_is_no_number_is_none(store: str, column: str) -> None:
    if store == "postgres":
        pytest.skip("PostgreSQL keeps no text in a column of numbers")
    with memory() as tx:
        held = claim(tx)
        deltas.publish(tx, [new(held, n) for n in range(3)])
        tx.execute(f"UPDATE deltas SET {column} = 'x' WHERE idx = 1")
        assert [row.index for row in said(tx)] == [0, 2]


def test_rows_under_a_key_that_is_not_here_are_holes() -> None:
    with memory() as tx:
        tx.sealing = Sealing(parse_keys(keys("a")))
        held = claim(tx)
        deltas.publish(tx, [new(held, n) for n in range(2)])
        assert [row.said for row in said(tx)] == [[[0, "t", "so"]]] * 2
        for ring in (Sealing(parse_keys(keys("b"))), CLEAR):
            tx.sealing = ring
            assert [(row.index, row.said) for row in said(tx)] == [(0, None), (1, None)]


def test_rows_are_forgotten_up_to_a_fence_or_once_they_are_old() -> None:
    with memory() as tx:
        first = claim(tx)
        deltas.publish(tx, [new(first, 0)])
        second = claim(tx)
        deltas.publish(tx, [new(second, 0)])
        deltas.forget(tx, [(SESSION, first.fence), (OTHER, 10**6)])
        assert [row.fence for row in said(tx)] == [second.fence]
        deltas.forget(tx, [], age=60)
        assert len(said(tx)) == 1
        tx.now += 61
        deltas.forget(tx, [], age=60)
        assert said(tx) == []


def test_a_session_is_watched_until_its_lease_runs_out() -> None:
    with memory() as tx:
        assert not claim(tx).watched
        watches.watch(tx, [SESSION, OTHER], seconds=15)
        assert watches.watched(tx, [OTHER, SESSION, SessionKey("acme", "s3")]) == {SESSION, OTHER}
        assert claim(tx).watched
        watches.watch(tx, [SESSION], seconds=1)
        tx.now += 14
        assert claim(tx).watched
        tx.now += 2
        assert watches.watched(tx, [SESSION]) == set()
        assert not claim(tx).watched
        watches.watch(tx, [SESSION], seconds=15)
        assert watches.watched(tx, [SESSION, OTHER]) == {SESSION}


def test_a_claim_that_somebody_watches_takes_away_what_earlier_attempts_said() -> None:
    with memory() as tx:
        watches.watch(tx, [SESSION], seconds=15)
        first = claim(tx)
        deltas.publish(tx, [new(first, 0)])
        second = claim(tx)
        assert said(tx) == []
        deltas.publish(tx, [new(second, 0)])
        assert len(said(tx)) == 1


@pytest.mark.parametrize("kept", ["{", "7", "\x01inturn:k:AAAA"])
def test_a_turn_ends_though_what_its_answer_had_said_cannot_be_read(kept: str) -> None:
    with memory() as tx:
        held = claim(tx)
        steps.release(tx, STEP, held.token, said="It rains")
        tx.execute("UPDATE steps SET checkpoint = ?", (kept,))
        ended = NewEntry("turn.interrupted", {"turn": "e1", "reason": "enough"}, "e1", key="e1/end")
        decisions.record(tx, SESSION, [Recorded(ended)], [STEP.turn], close=False)
        [found] = log.read(tx, SESSION, types=["turn.interrupted"])
        assert found.body == {"turn": "e1", "reason": "enough"}
