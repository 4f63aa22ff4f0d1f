"""Reading many rows, in the order of their keys.

Invariant: what is read at once is bounded in bytes as well as in number, but for one row that is larger by itself: a
session may hold rows that are thousands of times as large as most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from inturn.journal.store.store import Rows, Transaction

PAGE: Final = 500
"""Rows that are read at once, at most."""
PAGE_BYTES: Final = 4 * 1024 * 1024
"""What they have of `large` columns, at most."""


def pages(
    tx: Transaction,
    table: str,
    columns: Sequence[str],
    *,
    key: Sequence[str],
    large: Sequence[str] = (),
    where: str = "1 = 1",
    values: Sequence[Any] = (),
) -> Iterator[Rows]:
    """Yield a table's rows, or some of them.

    Args:
        tx: Reads them.
        table: Its name.
        columns: What of each row; the key's are among them.
        key: Orders the rows, and tells each from all others.
        large: Columns that may hold much.
        where: Says which rows.
        values: Its parameters.
    """
    order, places = ", ".join(key), [columns.index(column) for column in key]
    rest, given = where, tuple(values)
    while True:
        behind = f"FROM {table} WHERE {rest} ORDER BY {order} LIMIT"
        limit = _fitting(tx.execute(f"SELECT {weight(large)} {behind} {PAGE}", given)) if large else PAGE
        rows = tx.execute(f"SELECT {', '.join(columns)} {behind} {limit}", given)
        if not rows:
            return
        yield rows
        last = tuple(rows[-1][place] for place in places)
        rest, given = f"{where} AND ({order}) > ({', '.join('?' * len(last))})", (*values, *last)


def weight(large: Sequence[str]) -> str:
    """Return the expression of what a row has in these columns."""
    return " + ".join(f"COALESCE(LENGTH({column}), 0)" for column in large) or "0"


def _fitting(sizes: Rows) -> int:
    """Return how many rows of these sizes are read at once: one at least."""
    return max(1, sum(together <= PAGE_BYTES for together in accumulate(int(size) for (size,) in sizes)))
