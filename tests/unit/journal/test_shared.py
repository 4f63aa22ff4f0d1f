"""The rules of shared state: values with versions, queues with leases, and each operation once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from inturn.errors import ToolError
from inturn.journal.ledger import decisions, steps
from inturn.journal.state import apply, operations, values
from inturn.journal.state.changes import (
    Change,
    ClaimNext,
    Complete,
    Delete,
    Done,
    Incr,
    Operation,
    Push,
    Put,
    PutIfAbsent,
    Release,
    Scope,
    Update,
)
from inturn.journal.store.sqlite_connection import SqliteTransaction
from tests.support.journal import SESSION, memory

pytestmark = pytest.mark.usefixtures("store")

SHARED = Scope("acme")
CALL = SESSION.turn("e1").step(0, 0)
ONCE = Operation()
"""An operation that nobody repeats."""


@pytest.fixture
def tx() -> Iterator[SqliteTransaction]:
    with memory() as made:
        yield made


def do(tx: SqliteTransaction, change: Change, operation: Operation = ONCE, scope: Scope = SHARED) -> Done:
    done = apply.change(tx, scope, change, operation)
    assert done is not None
    return done


def put(tx: SqliteTransaction, text: str, version: int | None = None, name: str = "v") -> Done:
    return do(tx, Put(name, text, version))


def claimed(tx: SqliteTransaction, lease: float = 10, operation: Operation = ONCE) -> dict[str, Any]:
    value: dict[str, Any] = do(tx, ClaimNext("q", lease), operation).value
    return value


def records(tx: SqliteTransaction) -> int:
    [(count,)] = tx.execute("SELECT COUNT(*) FROM operations")
    return int(count)


class Attempt:
    """An attempt of the call: claims it, and numbers its operations."""

    def __init__(self, tx: SqliteTransaction) -> None:
        self.token = steps.claim_call(tx, CALL, lease=0, begin=True).token
        self.ordinal = -1

    def operation(self, key: str | None = None) -> Operation:
        self.ordinal += key is None
        return Operation(CALL, self.token, self.ordinal, key)


# Values


def test_a_version_counts_each_change_of_a_name(tx: SqliteTransaction) -> None:
    assert put(tx, "1").value == {"value": 1, "version": 1}
    assert do(tx, Incr("v", 2)).value == 3
    assert put(tx, '"x"', 2).value == {"value": "x", "version": 3}
    assert values.get(tx, SHARED, "v") == ("x", 3)
    assert values.get(tx, SHARED, "w") is None


@pytest.mark.parametrize("change", [Put("v", "9", 7), Update("v", "9", 7), Delete("v", 7), Put("v", "9", 0)])
def test_a_change_of_another_version_is_refused_and_changes_nothing(tx: SqliteTransaction, change: Change) -> None:
    put(tx, "1")
    assert "'v' is at version 1" in (do(tx, change).conflict or "")
    assert values.get(tx, SHARED, "v") == (1, 1)


def test_version_zero_means_only_where_there_is_none(tx: SqliteTransaction) -> None:
    assert put(tx, "1", 0).conflict is None
    assert put(tx, "2", 0).conflict == "'v' is at version 1, and was to be changed only where there is none"
    assert put(tx, "2", 1, name="w").conflict == "'w' does not exist, and was to be changed at version 1"


def test_a_version_read_before_a_deletion_fits_nothing_that_is_put_after_it(tx: SqliteTransaction) -> None:
    put(tx, "1")
    assert do(tx, Delete("v", None)).value is True
    assert do(tx, Delete("v", None)).value is False
    assert put(tx, "2", 1).conflict
    assert put(tx, "2", 0).value == {"value": 2, "version": 2}
    assert put(tx, "3", 1).conflict


def test_a_value_with_a_ttl_is_gone_after_it(tx: SqliteTransaction) -> None:
    assert do(tx, PutIfAbsent("v", "1", 5)).value is True
    assert do(tx, PutIfAbsent("v", "2", 5)).value is False
    tx.now += 5
    assert values.get(tx, SHARED, "v") is None
    assert put(tx, "3", 1).conflict
    assert do(tx, PutIfAbsent("v", "2", None)).value is True
    assert values.get(tx, SHARED, "v") == (2, 2)


def test_counting_keeps_an_expiry_and_putting_ends_it(tx: SqliteTransaction) -> None:
    for name in ("counted", "updated", "put"):
        do(tx, PutIfAbsent(name, "1", 5))
    do(tx, Incr("counted", 1))
    do(tx, Update("updated", "2", 1))
    put(tx, "2", name="put")
    tx.now += 5
    assert [values.get(tx, SHARED, name) for name in ("counted", "updated", "put")] == [None, None, (2, 2)]


@pytest.mark.parametrize("text", ['"1"', "1.0", "true", "null", "[]"])
def test_only_a_whole_number_can_be_added_to(tx: SqliteTransaction, text: str) -> None:
    put(tx, text)
    with pytest.raises(ValueError, match=r"'v' holds .* which is no whole number"):
        do(tx, Incr("v", 1))


def test_names_that_are_gone_for_a_day_leave_no_row(tx: SqliteTransaction) -> None:
    for n in range(10):
        do(tx, PutIfAbsent(f"n{n}", "1", 1))
        put(tx, "1", name=f"d{n}")
        do(tx, Delete(f"d{n}", None))
    put(tx, "1", name="kept")
    tx.now += values.REMEMBER_FOR + 2
    put(tx, "1")
    assert tx.execute("SELECT name FROM shared_values ORDER BY name") == [("kept",), ("v",)]


@pytest.mark.promise("SHR-10")
def test_scopes_share_nothing(tx: SqliteTransaction) -> None:
    scopes = [Scope("a"), Scope("b"), Scope("a", "s"), Scope("a", "t"), Scope("b", "s")]
    for n, scope in enumerate(scopes):
        do(tx, Incr("v", n + 1), Operation(key="k"), scope)
        do(tx, Push("q", str(n)), ONCE, scope)
    for n, scope in enumerate(scopes):
        assert values.get(tx, scope, "v") == (n + 1, 1)
        assert do(tx, ClaimNext("q", 10), ONCE, scope).value["item"] == n
        assert do(tx, ClaimNext("q", 10), ONCE, scope).value is None


# Queues


def test_items_are_claimed_in_the_order_of_their_push(tx: SqliteTransaction) -> None:
    for n in range(3):
        do(tx, Push("q", str(n)))
    assert [claimed(tx)["item"] for _ in range(3)] == [0, 1, 2]
    assert claimed(tx) is None


def test_a_released_item_and_one_whose_lease_ran_out_come_back_to_their_places(tx: SqliteTransaction) -> None:
    for n in range(4):
        do(tx, Push("q", str(n)))
    claims = [claimed(tx, lease) for lease in (5, 20, 20)]
    do(tx, Release("q", claims[1]["seq"], claims[1]["token"]))
    tx.now += 5
    again = [claimed(tx) for _ in range(3)]
    assert [(claim["item"], claim["claims"]) for claim in again] == [(0, 2), (1, 2), (3, 1)]


def test_only_the_latest_claim_completes_an_item(tx: SqliteTransaction) -> None:
    do(tx, Push("q", "0"))
    first = claimed(tx)
    tx.now += 11
    second = claimed(tx)
    assert "over: its item was completed" in (do(tx, Complete("q", first["seq"], first["token"])).conflict or "")
    do(tx, Release("q", first["seq"], first["token"]))
    assert claimed(tx) is None
    assert do(tx, Complete("q", second["seq"], second["token"])).conflict is None
    assert do(tx, Complete("q", second["seq"], second["token"])).conflict
    tx.now += 60
    assert claimed(tx) is None


def test_a_claim_whose_lease_ran_out_completes_as_long_as_nobody_else_claimed(tx: SqliteTransaction) -> None:
    do(tx, Push("q", "0"))
    claim = claimed(tx)
    tx.now += 60
    assert do(tx, Complete("q", claim["seq"], claim["token"])).conflict is None


def test_an_empty_queue_leaves_no_row(tx: SqliteTransaction) -> None:
    claimed(tx)
    for _ in range(2):
        do(tx, Push("q", "0"))
    for _ in range(2):
        claim = claimed(tx)
        do(tx, Complete("q", claim["seq"], claim["token"]))
    assert tx.execute("SELECT queue FROM queues UNION ALL SELECT queue FROM queue_items") == []


# Operations


@pytest.mark.promise("SHR-6")
def test_the_next_attempt_gets_what_the_one_before_did(tx: SqliteTransaction) -> None:
    changes: list[Change] = [
        Incr("n", 2),
        Incr("n", 2),
        Put("p", "1", 0),
        PutIfAbsent("a", "1", 60),
        PutIfAbsent("a", "2", 60),
        Push("q", "1"),
        Delete("p", None),
    ]
    first = Attempt(tx)
    done = [do(tx, change, first.operation()) for change in changes]
    second = Attempt(tx)
    assert [do(tx, change, second.operation()) for change in changes] == done
    assert [d.value for d in done] == [2, 4, {"value": 1, "version": 1}, True, False, None, True]
    assert values.get(tx, SHARED, "n") == (4, 2)
    assert tx.execute("SELECT COUNT(*) FROM queue_items") == [(1,)]


@pytest.mark.promise("SHR-6")
def test_after_an_attempt_that_gave_its_claim_back_the_next_one_claims_anew(tx: SqliteTransaction) -> None:
    do(tx, Push("q", "0"))
    first = Attempt(tx)
    claim = claimed(tx, operation=first.operation())
    do(tx, Release("q", claim["seq"], claim["token"]), first.operation())
    another = claimed(tx)
    assert another["item"] == 0
    assert claimed(tx, operation=Attempt(tx).operation()) is None, "it is somebody else's"
    do(tx, Release("q", another["seq"], another["token"]))
    again = claimed(tx, operation=Attempt(tx).operation())
    assert do(tx, Complete("q", again["seq"], again["token"])).conflict is None


@pytest.mark.promise("SHR-6")
def test_an_attempt_that_lost_its_call_changes_nothing(tx: SqliteTransaction) -> None:
    zombie = Attempt(tx)
    do(tx, Incr("n", 1), zombie.operation())
    alive = Attempt(tx)
    assert apply.change(tx, SHARED, Incr("n", 1), zombie.operation()) is None
    assert apply.change(tx, SHARED, Incr("n", 1), zombie.operation(key="k")) is None
    do(tx, Incr("n", 1), alive.operation())
    steps.finish(tx, CALL, alive.token, {}, [], None)
    assert apply.change(tx, SHARED, Incr("n", 1), alive.operation()) is None
    assert values.get(tx, SHARED, "n") == (1, 1)


def test_another_operation_in_the_place_of_a_recorded_one_names_both(tx: SqliteTransaction) -> None:
    do(tx, Incr("n", 1), Attempt(tx).operation())
    second = Attempt(tx)
    both = r"operation 0 .* was shared.incr\('n'\) when .* and is state.push\('q'\) now"
    with pytest.raises(ToolError, match=both):
        do(tx, Push("q", "1"), second.operation(), Scope("acme", "s1"))
    with pytest.raises(ToolError, match="and is shared"):
        apply.recall(tx, SHARED, Operation(CALL, second.token, 0), "shared.update('n')")
    assert records(tx) == 1


def test_a_conflict_at_the_end_of_an_attempt_is_asked_anew_by_the_next(tx: SqliteTransaction) -> None:
    put(tx, "1")
    assert do(tx, Put("v", "2", 7), Attempt(tx).operation()).conflict
    assert do(tx, Put("v", "2", 1), Attempt(tx).operation()).value == {"value": 2, "version": 2}


@pytest.mark.promise("SHR-6")
def test_a_conflict_that_the_attempt_went_on_from_stands(tx: SqliteTransaction) -> None:
    put(tx, "1")
    first = Attempt(tx)
    assert do(tx, Put("v", "2", 7), first.operation()).conflict
    assert do(tx, Put("v", "2", 1), first.operation()).value == {"value": 2, "version": 2}
    second = Attempt(tx)  # its body reads version 2 now, and would add once more
    assert do(tx, Put("v", "3", 2), second.operation()).conflict
    assert do(tx, Put("v", "3", 2), second.operation()).value == {"value": 2, "version": 2}
    assert values.get(tx, SHARED, "v") == (2, 2)


def test_the_next_attempt_takes_up_a_claim(tx: SqliteTransaction) -> None:
    for n in range(2):
        do(tx, Push("q", str(n)))
    first = claimed(tx, operation=Attempt(tx).operation())
    tx.now += 60  # its lease ran out, but nobody came
    second = claimed(tx, operation=Attempt(tx).operation())
    assert (second["item"], second["token"]) == (0, first["token"])
    assert second["until"] == tx.now + 10
    assert claimed(tx)["item"] == 1


def test_the_next_attempt_claims_another_item_where_its_own_went_to_somebody(tx: SqliteTransaction) -> None:
    for n in range(2):
        do(tx, Push("q", str(n)))
    claimed(tx, operation=Attempt(tx).operation())
    tx.now += 60
    assert claimed(tx)["item"] == 0
    assert claimed(tx, operation=Attempt(tx).operation())["item"] == 1


def test_a_completed_claim_stays_what_it_was_for_the_next_attempt(tx: SqliteTransaction) -> None:
    for n in range(2):
        do(tx, Push("q", str(n)))
    for _ in range(2):
        attempt = Attempt(tx)
        claim = claimed(tx, operation=attempt.operation())
        assert claim["item"] == 0
        done = do(tx, Complete("q", claim["seq"], claim["token"]), attempt.operation())
        assert done.conflict is None
    assert tx.execute("SELECT item FROM queue_items") == [("1",)]


def test_an_updates_refusals_leave_no_record(tx: SqliteTransaction) -> None:
    attempt = Attempt(tx)
    update = attempt.operation()
    put(tx, "1")
    assert do(tx, Update("v", "2", 0), update).conflict
    do(tx, Incr("n", 1), attempt.operation())
    assert do(tx, Update("v", "2", 1), update).value == {"value": 2, "version": 2}
    assert apply.recall(tx, SHARED, update, "shared.update('v')") == Done({"value": 2, "version": 2})


def test_a_key_is_done_once_whoever_uses_it(tx: SqliteTransaction) -> None:
    by_key = Operation(key="k")
    assert [do(tx, Incr("n", 1), by_key).value for _ in range(2)] == [1, 1]
    assert do(tx, Incr("n", 1), Attempt(tx).operation(key="k")).value == 1
    with pytest.raises(ValueError, match=r"the key 'k' was used for shared.incr\('n'\) and .* for shared.push\('n'\)"):
        do(tx, Push("n", "1"), by_key)


def test_a_calls_records_go_with_its_end(tx: SqliteTransaction) -> None:
    attempt = Attempt(tx)
    for _ in range(3):
        do(tx, Incr("n", 1), attempt.operation())
    steps.finish(tx, CALL, attempt.token, {}, [], None)
    assert records(tx) == 0


def test_a_turns_records_go_when_it_is_settled(tx: SqliteTransaction) -> None:
    do(tx, Incr("n", 1), Attempt(tx).operation())
    decisions.record(tx, SESSION, [], [SESSION.turn("e1")], False)
    assert records(tx) == 0


def test_keys_are_forgotten_after_a_week(tx: SqliteTransaction) -> None:
    do(tx, Incr("n", 1), Operation(key="old"))
    do(tx, Incr("n", 1), Attempt(tx).operation())
    tx.now += operations.REMEMBER_FOR
    do(tx, Incr("n", 1), Operation(key="new"))
    assert tx.execute("SELECT step FROM operations ORDER BY step") == [("0",), ("new",)]


def test_the_records_of_cancelled_calls_go_with_them_and_those_of_other_steps_stay(tx: SqliteTransaction) -> None:
    do(tx, Incr("v", 1), Attempt(tx).operation())
    assert records(tx) == 1
    decisions.settle_turns(tx, [CALL.turn], number="7")
    assert records(tx) == 1
    decisions.settle_turns(tx, [CALL.turn], number=CALL.step)
    assert records(tx) == 0
