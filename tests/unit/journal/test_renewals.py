"""All claims of a process held for longer by one transaction."""

from __future__ import annotations

import pytest

from inturn.journal import Want
from inturn.journal.ledger import steps
from inturn.journal.ledger.renewals import renew_all
from inturn.journal.limits import places
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey
from tests.support.journal import SESSION, memory

pytestmark = pytest.mark.usefixtures("store")

LEASE = 10.0
LOCK = Want("acme", "lock a", "write")
PERMIT = Want("acme", "steps", "permit", 1)


def call(index: int) -> StepKey:
    return SESSION.turn("e1").step(0, index)


def claim(tx: Transaction, index: int, *wants: Want) -> tuple[StepKey, str]:
    return call(index), steps.claim_call(tx, call(index), lease=LEASE, begin=True, wants=wants).token


def test_what_is_held_stays_held_and_what_is_not_is_named() -> None:
    with memory() as tx:
        held, taken, done, free = claim(tx, 0), claim(tx, 1), claim(tx, 2), (call(3), "")
        steps.finish(tx, *done, {"status": "ok"}, (), None)
        tx.now += LEASE + 1
        again = claim(tx, 1)
        assert renew_all(tx, [held, taken, done, free, again], lease=LEASE) == [taken, done, free]
        tx.now += LEASE - 1
        assert steps.claim_call(tx, held[0], lease=LEASE, begin=True).status == "leased"
        assert steps.claim_call(tx, again[0], lease=LEASE, begin=True).status == "leased"


def test_what_was_granted_is_held_with_its_claim_alone() -> None:
    with memory() as tx:
        held, left = claim(tx, 0, LOCK), claim(tx, 1, Want("acme", "lock b", "write"))
        tx.now += LEASE - 1
        assert renew_all(tx, [held], lease=LEASE) == []
        tx.now += 2
        until = {place.call: place.present for place in places.listed(tx)}
        assert until == {str(held[0]): True, str(left[0]): False}


def test_a_permit_that_ran_out_is_not_revived() -> None:
    with memory() as tx:
        late = claim(tx, 0, PERMIT)
        tx.now += LEASE + 1
        claim(tx, 1, PERMIT)
        assert renew_all(tx, [late], lease=LEASE) == []
        assert [place.call for place in places.listed(tx) if place.present] == [str(call(1))]


def test_nothing_to_renew_asks_nothing() -> None:
    with memory() as tx:
        assert renew_all(tx, [], lease=LEASE) == []
