"""Notices of stops in the journal."""

from __future__ import annotations

import pytest

from inturn.journal.ledger import stops
from tests.support.journal import OTHER, SESSION, memory

pytestmark = pytest.mark.usefixtures("store")

STEP = SESSION.turn("e1").step(0)
CALL = OTHER.turn("e1~2").step(3, 1)


def test_a_notice_is_found_by_its_steps_key() -> None:
    with memory() as tx:
        stops.put(tx, STEP)
        tx.now += 10
        stops.put(tx, CALL)
        assert sorted(stops.since(tx, 0.0), key=str) == sorted([(STEP, 1000.0), (CALL, 1010.0)], key=str)
        assert stops.since(tx, 1010.0) == [(CALL, 1010.0)]


def test_a_look_goes_back_behind_what_it_found_for_those_that_commit_late() -> None:
    with memory() as tx:
        stops.put(tx, STEP)
        tx.now += stops.OVERLAP - 0.1
        stops.put(tx, CALL)
        assert {step for step, _ in stops.since(tx, tx.now)} == {STEP, CALL}


def test_a_second_notice_of_a_step_is_a_new_one() -> None:
    with memory() as tx:
        stops.put(tx, STEP)
        tx.now += 30
        stops.put(tx, STEP)
        assert stops.since(tx, 0.0) == [(STEP, 1030.0)]


def test_a_notice_lives_for_a_minute() -> None:
    with memory() as tx:
        stops.put(tx, STEP)
        tx.now += stops.LIFE + 1
        stops.put(tx, CALL)
        assert [step for step, _ in stops.since(tx, 0.0)] == [CALL]
