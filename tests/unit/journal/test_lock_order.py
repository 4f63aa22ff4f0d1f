"""The order in which rules lock rows: one for all of them, or two of them wait for each other for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from inturn.journal import Journal
from inturn.journal.ledger import steps
from inturn.journal.limits import counters, places
from inturn.journal.log import log
from inturn.journal.store import schema
from inturn.journal.store.store import Transaction
from inturn.testing.memory import MemoryStore
from tests.support.journal import OTHER, memory, opening
from tests.support.limits import call, permit, write
from tests.support.lock_order import ORDER, UNDER, OrderedTransaction, OutOfOrder
from tests.support.port_calls import PAYING, PORT, READS, STEP, methods

T = TypeVar("T")


class OrderedStore(MemoryStore):
    """A store in memory whose transactions keep to the order."""

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        return await super().write(lambda tx: work(OrderedTransaction(self._connection)), durable=durable)


def test_every_table_has_its_place_in_the_order() -> None:
    with memory() as tx:
        tables = {name for (name,) in tx.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables - {"journal_schema"} == {*ORDER, *UNDER} - {"counters of permits"}
    assert schema.VERSION


def test_every_method_of_the_port_is_called_here_or_only_reads() -> None:
    called = {next(name for name in sorted(methods(), key=len, reverse=True) if case.startswith(name)) for case in PORT}
    assert called | READS == methods()
    assert not called & READS


@pytest.mark.parametrize("name", PORT)
async def test_a_rule_locks_in_the_order_of_all(name: str) -> None:
    await (await PORT[name](Journal(OrderedStore())))()


async def test_a_call_that_takes_over_several_expired_locks_keeps_to_the_order() -> None:
    store = OrderedStore()
    journal = Journal(store)
    for who in (3, 1, 2):
        await journal.claim_call(call(who), lease=-1.0, wants=[write(f"of {who}")])
    wants = [*(write(f"of {who}") for who in (1, 2, 3)), permit(of=3)]
    assert (await journal.claim_call(call(9), lease=5.0, wants=wants)).status == "claimed"
    held = {place.call for place in await journal.places() if place.state == "held"}
    assert held == {str(call(9))}


def test_a_claim_that_looks_at_the_money_keeps_to_the_order() -> None:
    with memory() as made:
        tx = OrderedTransaction(made._connection)
        claim = steps.claim_model(tx, STEP, opening("e1"), token="t", wants=[permit(of=3)], lease=5.0, paying=PAYING)
        assert claim.reserved is not None
        assert [table for table, _ in tx.taken][-1] == "spend"


def test_a_rule_that_locks_out_of_order_is_found() -> None:
    with memory() as made:
        tx = OrderedTransaction(made._connection)
        step = call(1)
        steps.claim_call(tx, step, lease=5.0, begin=True)
        with pytest.raises(OutOfOrder, match="locks sessions after steps"), log.locked(tx, OTHER):
            pass
        with pytest.raises(OutOfOrder, match="locks counters"):
            counters.lock(tx, [write("a")])
        places.leave(tx, step)
