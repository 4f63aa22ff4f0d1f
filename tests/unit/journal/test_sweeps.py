"""A sweep looks at what is over, however long its table is: whoever sweeps has something else to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from inturn.journal.ledger import serving, steps, stops
from inturn.journal.limits import places
from inturn.journal.limits.places import Caller, Ticket
from inturn.journal.live import deltas
from inturn.journal.state import operations, values
from inturn.journal.state.changes import Put, Scope
from inturn.journal.state.operations import OperationKey
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Rows
from inturn.journal.values import NewDelta
from tests.support.journal import memory
from tests.support.limits import call, permit, write

pytestmark = pytest.mark.usefixtures("store")

PRESENT = 1_000
"""Rows that are not over, enough for a database to know that reading them all is no good plan."""


@pytest.fixture
def tx() -> Iterator[SqliteTransaction]:
    with memory() as made:
        yield made


def _waiters(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        places.queue(tx, Caller(call(name)), {write(name): "waiting"}, Ticket(number))


def _permits(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for name in names:
        places.hold(tx, Caller(call(name)), [permit()], fence=0, lease=5.0, lasts=0.0)


def _lacks(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for name in names:
        serving.lacking(tx, call(name))


def _stops(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for name in names:
        stops.put(tx, call(name))


def _values(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for name in names:
        values.put(tx, Scope("acme"), Put(name, "1", None))


def _keys(tx: SqliteTransaction, names: Sequence[str]) -> None:
    for name in names:
        operations.reserve(tx, OperationKey(("acme", "", "~key", name, 0), 0, keyed=True))


def _deltas(tx: SqliteTransaction, names: Sequence[str]) -> None:
    step = call("model").turn.step(0)
    claim = steps.claim_model(tx, step, [], lease=5.0)
    deltas.publish(tx, [NewDelta(step, claim.token, claim.fence, n, []) for n, _ in enumerate(names)])


Fill = Callable[[SqliteTransaction, Sequence[str]], None]
SWEPT: dict[str, tuple[str, Fill]] = {
    "tickets": ("places", _waiters),
    "permits": ("places", _permits),
    "lacks": ("lacks", _lacks),
    "stops": ("stops", _stops),
    "previews": ("deltas", _deltas),
    "values": ("shared_values", _values),
    "keys of operations": ("operations", _keys),
}


@pytest.mark.parametrize("what", SWEPT)
def test_a_sweep_reads_by_an_index_what_is_over(
    tx: SqliteTransaction, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, fill = SWEPT[what]
    fill(tx, [f"n{number}" for number in range(PRESENT)])
    tx.define(f"ANALYZE {table}")
    swept: list[tuple[str, Sequence[Any]]] = []
    execute = type(tx).execute

    def watched(self: SqliteTransaction, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        if sql.startswith(f"DELETE FROM {table} "):
            swept.append((sql, parameters))
        return execute(self, sql, parameters)

    monkeypatch.setattr(type(tx), "execute", watched)
    _sweep(tx, what)
    monkeypatch.undo()
    assert swept
    for sql, parameters in swept:
        plan = _plan(tx, sql, parameters)
        assert "Seq Scan" not in plan, plan
        assert f"SCAN {table}" not in plan, plan


def _sweep(tx: SqliteTransaction, what: str) -> None:
    if what in ("tickets", "permits"):
        places.forget(tx, [permit()])
    elif what == "previews":
        deltas.forget(tx, [], age=60.0)
    else:
        SWEPT[what][1](tx, ["another"])


def _plan(tx: SqliteTransaction, sql: str, parameters: Sequence[Any]) -> str:
    explain = "EXPLAIN" if tx.for_update else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row[-1]) for row in tx.execute(f"{explain} {sql}", parameters))
