"""One counter per scope: it numbers fences and tickets, and who has locked it is the only one that grants there.

Invariant: a number is given once, and while a scope is locked nobody else takes or judges anything of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from inturn.journal.limits.requests import Want
from inturn.journal.store.store import Transaction


def lock(tx: Transaction, wants: Sequence[Want]) -> None:
    """Lock the scopes of what is wanted, where the backend has not locked everything; before any step's row."""
    for scope in sorted({want.scope for want in wants}) if tx.for_update else ():
        tx.execute("INSERT INTO counters (scope, number) VALUES (?, 0) ON CONFLICT DO NOTHING", (scope,))
        tx.execute(f"SELECT number FROM counters WHERE scope = ? {tx.for_update}", (scope,))


def count_up(tx: Transaction, scope: str) -> int:
    """Return the next number of a scope."""
    rows = tx.execute(
        "INSERT INTO counters (scope, number) VALUES (?, 1) "
        "ON CONFLICT (scope) DO UPDATE SET number = counters.number + 1 RETURNING number",
        (scope,),
    )
    return int(rows[0][0])
