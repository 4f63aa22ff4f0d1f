"""Rules that meet in the middle, on two connections: each pair that could break a promise where rows are not locked.

Every fight is run twice: as it is, and with the locks of a table taken away, where it must end badly. So each of these
tests is known to see what it is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from inturn.journal.ledger import decisions, rows, steps
from inturn.journal.limits import deadlocks, places
from inturn.journal.limits.requests import Want
from inturn.journal.live import watches
from inturn.journal.log import log, sweeps
from inturn.journal.state import queues, values
from inturn.journal.state.changes import ClaimNext, Push, PutIfAbsent, Scope
from inturn.journal.store.postgres_transaction import PostgresTransaction
from inturn.journal.values import Attempts, Claim
from inturn.keys import SessionKey
from tests.support.duels import Duel
from tests.support.journal import calls
from tests.support.limits import call, write
from tests.support.processes.postgres import PostgresServer

LEASE = 60.0
GONE = -1.0
SHARED = Scope("acme")
Tx = PostgresTransaction


@pytest.fixture(params=[False, True], ids=["as it is", "without its locks"])
def planted(request: pytest.FixtureRequest) -> bool:
    """Whether the locks that a fight is about are taken away."""
    planted: bool = request.param
    return planted


@pytest.fixture
def duel(postgres_server: PostgresServer, planted: bool, request: pytest.FixtureRequest) -> Iterator[Duel]:
    with Duel(postgres_server, *(request.param if planted else ())) as made:
        yield made


def of(*tables: str) -> pytest.MarkDecorator:
    """Say of which tables' locks a fight is."""
    return pytest.mark.parametrize("duel", [tables], ids=["+".join(tables)], indirect=True)


def claimed(duel: Duel, who: int, *wants: Want, lease: float = LEASE, begin: bool = True) -> str:
    """A call's claim; its token."""

    def claim(tx: Tx) -> Claim:
        with log.locked(tx, call(who).session) as journal:
            journal.append(calls("e1", [f"c{who}"]))
        return steps.claim_call(tx, call(who), lease=lease, begin=begin, wants=wants)

    claim_ = duel.run(claim)
    assert claim_.status == "claimed"
    return str(claim_.token)


def taken_over(tx: Tx) -> Claim:
    """Another session's call takes the lock whose holder is dead."""
    return steps.claim_call(tx, call(2), lease=LEASE, begin=True, wants=[write("a")])


def row(duel: Duel, who: int) -> rows.Row:
    found: rows.Row | None = duel.run(lambda tx: rows.find(tx, call(who)))
    assert found is not None
    return found


@of("steps")
def test_a_body_that_begins_is_seen_by_the_claim_that_takes_over(duel: Duel, planted: bool) -> None:
    first = claimed(duel, 1, begin=False)
    claim, began = duel.fight(
        lambda tx: steps.claim_call(tx, call(1), lease=LEASE, begin=False),
        "UPDATE steps",
        lambda tx: steps.begin(tx, call(1), first, lease=LEASE),
    )
    twice = began is True and claim.status == "claimed" and not claim.began
    assert twice is planted, (claim, began)


@of("steps")
def test_a_call_that_was_taken_over_is_told_no_success(duel: Duel, planted: bool) -> None:
    mine = claimed(duel, 1, write("a"), lease=GONE)
    end, claim = duel.fight(
        lambda tx: steps.finish(tx, call(1), mine, {"status": "ok"}, [], None), "UPDATE steps", taken_over
    )
    assert claim.status == "claimed"
    lost = "lost" in row(duel, 1).failed_attempts().counts
    assert (end is not None and lost) is planted, (end, row(duel, 1))


@of("steps")
def test_a_settled_step_holds_no_lock(duel: Duel, planted: bool) -> None:
    mine = claimed(duel, 1)
    fence, _ = duel.fight(
        lambda tx: steps.lock(tx, call(1), mine, write("a"), part="1", lease=LEASE),
        "INSERT INTO places",
        lambda tx: decisions.record(tx, call(1).session, [], [call(1).turn], False),
    )
    assert isinstance(fence, int)
    held = [place.call for place in duel.run(places.listed)]
    assert (held == [str(call(1))]) is planted, held


@of("steps")
def test_a_failure_that_is_told_is_counted(duel: Duel, planted: bool) -> None:
    mine = claimed(duel, 1, write("a"), lease=GONE)
    found = duel.fight(taken_over, "UPDATE steps SET attempts", lambda tx: steps.fail(tx, call(1), mine, "outage"))
    counted = row(duel, 1).failed_attempts().counts
    forgotten = isinstance(found[1], Attempts) and "outage" not in counted
    assert (forgotten or undone(found)) is planted, (found, counted)


@of("steps")
def test_a_renewal_that_says_yes_keeps_the_lock(duel: Duel, planted: bool) -> None:
    mine = claimed(duel, 1, write("a"), lease=GONE)
    claim, renewed = duel.fight(
        taken_over, "DELETE FROM places", lambda tx: steps.renew(tx, call(1), mine, lease=LEASE)
    )
    assert claim.status == "claimed"
    assert (renewed is True) is planted


@of("shared_values")
def test_a_sweep_takes_no_value_that_was_just_written(duel: Duel, planted: bool) -> None:
    duel.run(lambda tx: values.put_if_absent(tx, SHARED, PutIfAbsent("old", "1", 60)))
    duel.run(lambda tx: tx.execute("UPDATE shared_values SET expires = 1, forget = 1"))
    put, _ = duel.fight(
        lambda tx: (
            tx.execute("SELECT 1 FROM shared_values WHERE name = 'old' FOR NO KEY UPDATE"),
            values.put_if_absent(tx, SHARED, PutIfAbsent("old", "2", None)),
        ),
        "UPDATE shared_values",
        lambda tx: values.put_if_absent(tx, SHARED, PutIfAbsent("new", "1", None)),
    )
    assert put[1].value is True
    assert (duel.run(lambda tx: values.get(tx, SHARED, "old")) is None) is planted


@of("queues", "queue_items")
def test_an_item_has_one_holder(duel: Duel, planted: bool) -> None:
    duel.run(lambda tx: queues.push(tx, SHARED, Push("q", '"x"')))
    mine = duel.run(lambda tx: queues.claim(tx, SHARED, ClaimNext("q", GONE))).value
    theirs, renewed = duel.fight(
        lambda tx: queues.claim(tx, SHARED, ClaimNext("q", LEASE)),
        "UPDATE queue_items",
        lambda tx: queues.renew(tx, SHARED, ClaimNext("q", LEASE), mine),
    )
    assert theirs.value is not None
    assert (renewed is not None) is planted


def circle(duel: Duel) -> tuple[str, str]:
    """Two calls that wait for each other."""
    tokens = claimed(duel, 1, write("a")), claimed(duel, 2, write("b"))
    duel.run(lambda tx: steps.lock(tx, call(1), tokens[0], write("b"), part="1", lease=LEASE))
    duel.run(lambda tx: steps.lock(tx, call(2), tokens[1], write("a"), part="1", lease=LEASE))
    return tokens


def notes(duel: Duel, who: int) -> int:
    return len(duel.run(lambda tx: log.read(tx, call(who).session, types=("tool.progress",))))


@of("sessions", "counters")
def test_a_circle_is_broken_once(duel: Duel, planted: bool) -> None:
    circle(duel)
    found = duel.fight(
        lambda tx: deadlocks.break_cycle(tx, call(1), "oldest_waiter"),
        "UPDATE places",
        lambda tx: deadlocks.break_cycle(tx, call(2), "youngest"),
    )
    told = [deadlock for deadlock in found if deadlock is not None]
    assert (len(told) != 1 or (notes(duel, 1), notes(duel, 2)) != (1, 1)) is planted, found


def undone(found: tuple[Any, Any]) -> bool:
    return any(isinstance(one, psycopg.errors.DeadlockDetected) for one in found)


@of("steps")
def test_a_calls_end_and_its_taking_over_do_not_wait_for_each_other(duel: Duel, planted: bool) -> None:
    mine = claimed(duel, 1, write("a"), lease=GONE)
    found = duel.fight(
        lambda tx: steps.finish(tx, call(1), mine, {"status": "ok"}, [], None), "DELETE FROM places", taken_over
    )
    assert undone(found) is planted, found


@of("sessions")
def test_a_circles_end_and_a_calls_end_do_not_wait_for_each_other(
    duel: Duel, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = circle(duel)
    if planted:  # the sessions come last, as they once did
        monkeypatch.setattr(deadlocks, "_lock", lambda tx, scope, edges: {call(1).session, call(2).session})
        duel.lock_all()
    found = duel.fight(
        lambda tx: deadlocks.break_cycle(tx, call(1), "oldest_waiter"),
        r"SELECT head, hash, first, fence, closed, until FROM sessions",
        lambda tx: steps.finish(tx, call(1), first, {"status": "ok"}, [], None),
    )
    assert undone(found) is planted, found


@of()
def test_two_that_begin_to_look_do_not_wait_for_what_the_other_sweeps(duel: Duel, planted: bool) -> None:
    over = [SessionKey("acme", f"s{n:03}") for n in range(2 * sweeps.LIMIT)]
    duel.run(lambda tx: watches.watch(tx, over, seconds=LEASE))
    duel.run(lambda tx: tx.execute("UPDATE watches SET until = 1"))

    def look(tx: Tx, at: SessionKey) -> None:
        if planted:  # the sweep comes first, as it once did
            watches.watch(tx, [], seconds=LEASE)
        watches.watch(tx, [at], seconds=LEASE)

    found = duel.fight(
        lambda tx: look(tx, over[-1]),
        "INSERT INTO watches" if planted else "DELETE FROM watches",
        lambda tx: look(tx, over[0]),
    )
    assert undone(found) is planted, found
