"""Counters of scopes: they number fences and tickets, and who has locked one is the only one that grants there.

A scope's locks have one counter, its permits and rates another, which comes last in the order of locks: so many share
those that they may be locked only for the moment of a commit.

Invariant: a number is given once, and while a counter is locked nobody else grants what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from inturn.journal.limits.requests import Want
from inturn.journal.store.store import Transaction

TICKETS: Final = "~tickets"
"""The counter that numbers tickets: no tenant's name has a `~`."""


def of(want: Want) -> str:
    """Return the counter under which something is granted."""
    return want.scope if want.is_lock else f"{want.scope}/permits"


def lock(tx: Transaction, wants: Sequence[Want]) -> None:
    """Lock the counters of what is wanted, where the backend has not locked everything."""
    for counter in _sorted(wants) if tx.for_update else ():
        tx.execute("INSERT INTO counters (scope, number) VALUES (?, 0) ON CONFLICT DO NOTHING", (counter,))
        tx.ahead([(f"SELECT number FROM counters WHERE scope = ? {tx.for_update}", (counter,))])


def guard(tx: Transaction, wants: Sequence[Want]) -> None:
    """Lock their counters from here to the commit, and wait for no answer."""
    for counter in _sorted(wants):
        tx.guard(f"(SELECT number FROM counters WHERE scope = ? {tx.for_update}) >= 0", (counter,))


def count_up(tx: Transaction, counter: str) -> int:
    """Return the next number of a counter."""
    rows = tx.execute(
        "INSERT INTO counters (scope, number) VALUES (?, 1) "
        "ON CONFLICT (scope) DO UPDATE SET number = counters.number + 1 RETURNING number",
        (counter,),
    )
    return int(rows[0][0])


def next_fence(tx: Transaction, counter: str) -> int:
    """Return a number above all that were given here, those too that a failover has taken back."""
    rows = tx.execute(
        f"INSERT INTO counters (scope, number) VALUES (?, {tx.epoch} + 1) ON CONFLICT (scope) DO UPDATE "
        "SET number = CASE WHEN counters.number < excluded.number THEN excluded.number ELSE counters.number + 1 END "
        "RETURNING number",
        (counter,),
    )
    return int(rows[0][0])


def next_ticket(tx: Transaction) -> int:
    """Return the number of a new ticket; where rows are locked it is a sequence's, which nobody waits for."""
    return int(tx.execute("SELECT nextval('tickets')")[0][0]) if tx.for_update else count_up(tx, TICKETS)


def last_ticket(tx: Transaction) -> int:
    """Return the highest number that a ticket had, or one above it."""
    if tx.for_update:
        return int(tx.execute("SELECT last_value FROM tickets")[0][0])
    rows = tx.execute("SELECT number FROM counters WHERE scope = ?", (TICKETS,))
    return int(rows[0][0]) if rows else 0


def number_tickets_behind(tx: Transaction, last: int) -> None:
    """Give new tickets numbers above one: what waits already stays before them."""
    if tx.for_update:
        tx.execute("SELECT setval('tickets', ?)", (max(last, 1),))
    else:
        tx.execute("INSERT INTO counters (scope, number) VALUES (?, ?)", (TICKETS, last))


def _sorted(wants: Iterable[Want]) -> list[str]:
    return sorted({of(want) for want in wants})
