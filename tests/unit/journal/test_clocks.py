"""A clock that jumps costs nobody more than two minutes: what was held or taken by another time ends by this one."""

from __future__ import annotations

import pytest

from inturn.journal.ledger import steps
from inturn.journal.limits import grants
from inturn.journal.limits.grants import Grant
from inturn.journal.limits.places import LONGEST, Caller
from inturn.journal.limits.requests import ResourceWait, Want
from inturn.journal.store.sqlite_connection import SqliteTransaction
from tests.support.journal import OTHER, SESSION
from tests.support.stores import memory

pytestmark = [pytest.mark.usefixtures("store"), pytest.mark.promise("SHR-2")]

LEASE = 7.0
HOUR = 3_600.0
NOW = 1_000_000.0
CALL = SESSION.turn("e1").step(0, 0)
FIRST, SECOND = Caller(CALL), Caller(OTHER.turn("e1").step(0, 0))


def _call(tx: SqliteTransaction) -> str:
    return steps.claim_call(tx, CALL, lease=LEASE, begin=True).status


def _asked(tx: SqliteTransaction, caller: Caller, want: Want) -> bool:
    return isinstance(grants.take(tx, caller, [want], lease=LEASE), Grant)


def test_a_call_of_a_dead_worker_is_taken_over_soon_after_the_clock_was_set_back() -> None:
    with memory(NOW) as tx:
        _call(tx)
        tx.now = NOW - HOUR
        assert _call(tx) == "leased"
        tx.now += LONGEST + 0.1
        assert _call(tx) == "claimed"


def test_a_call_that_lives_is_not_taken_over_though_the_clock_was_set_back() -> None:
    with memory(NOW) as tx:
        token = steps.claim_call(tx, CALL, lease=LEASE, begin=True).token
        tx.now = NOW - HOUR
        for _ in range(20):
            assert _call(tx) == "leased"
            tx.now += LEASE / 4
            assert steps.renew(tx, CALL, token, lease=LEASE)


@pytest.mark.parametrize(
    "want",
    [Want("acme", "order:1", "write"), Want("acme", "steps", "permit", capacity=1)],
    ids=["lock", "permit"],
)
def test_what_a_dead_worker_holds_is_free_soon_after_the_clock_was_set_back(want: Want) -> None:
    with memory(NOW) as tx:
        assert _asked(tx, FIRST, want)
        tx.now = NOW - HOUR
        assert not _asked(tx, SECOND, want)
        tx.now += LONGEST + 0.1
        assert _asked(tx, SECOND, want)


def test_a_waiter_that_is_gone_is_passed_soon_after_the_clock_was_set_back() -> None:
    want = Want("acme", "order:1", "write")
    third = Caller(SESSION.turn("e2").step(0, 0))
    with memory(NOW) as tx:
        assert _asked(tx, FIRST, want)
        assert not _asked(tx, SECOND, want)
        tx.now = NOW - HOUR
        assert not _asked(tx, third, want)
        tx.now += LONGEST + 0.1
        assert _asked(tx, third, want)


def test_a_rate_refills_from_where_the_clock_was_set_back_to() -> None:
    want = Want("acme", "model", "rate", capacity=1, refill=1.0)
    with memory(NOW) as tx:
        assert _asked(tx, FIRST, want)
        tx.now = NOW - HOUR
        assert not _asked(tx, SECOND, want)
        tx.now += 1.1
        assert _asked(tx, SECOND, want)


def test_a_clock_that_jumps_ahead_grants_nothing_twice() -> None:
    want = Want("acme", "model", "rate", capacity=2, refill=1.0)
    with memory(NOW) as tx:
        token = steps.claim_call(tx, CALL, lease=LEASE, begin=True).token
        tx.now += HOUR
        assert _call(tx) == "claimed", "nobody can tell it from a worker that is gone"
        assert not steps.renew(tx, CALL, token, lease=LEASE), "and who lives finds out before it writes"
        found = [_asked(tx, Caller(SESSION.turn(f"e{n}").step(0, 0)), want) for n in range(9)]
        assert found == [True] * 2 + [False] * 7, "a bucket never holds more than its capacity"
        waits = grants.take(tx, SECOND, [want], lease=LEASE)
        assert isinstance(waits, ResourceWait)
