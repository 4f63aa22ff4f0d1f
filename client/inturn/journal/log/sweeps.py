"""Rows that nobody needs any more, deleted by whoever writes the next ones.

Invariant: a sweep deletes what it judged and nothing that changed since, and it waits for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from inturn.journal.store.store import Transaction

LIMIT: Final = 100
"""Rows that one sweep deletes, at most: whoever sweeps has something else to do."""


def sweep(tx: Transaction, table: str, key: str, over: str, values: Sequence[Any]) -> None:
    """Delete some rows of a table that are over; those that somebody has locked stay.

    Args:
        tx: A transaction that writes.
        table: Which table.
        key: The columns of its primary key.
        over: Says which rows are over; it is asked again of each row that is deleted.
        values: Its parameters.
    """
    free = f"{tx.for_update} SKIP LOCKED" if tx.for_update else ""
    found = f"SELECT {key} FROM {table} WHERE {over} LIMIT {LIMIT} {free}"
    tx.execute(f"DELETE FROM {table} WHERE ({key}) IN ({found}) AND {over}", (*values, *values))
