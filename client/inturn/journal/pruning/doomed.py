"""What a session has in the journal, and which of it goes.

Invariant: everything goes but the session's row, which says for ever that it is closed and where its log stood; what
that was before it was encrypted anew; the entry that says what went; and keys of operations for as long as they are
promised to be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from inturn.journal.log.log import micros
from inturn.journal.moving.tables import Table, tables
from inturn.journal.state.operations import REMEMBER_FOR
from inturn.journal.store.pages import weight
from inturn.journal.store.store import Rows, Transaction
from inturn.keys import SessionKey

_ORDER: Final = (
    "entries",
    "upload_uses",
    "contents",
    "lacks",
    "steps",
    "reservations",
    "operations",
    "shared_values",
    "queues",
    "queue_items",
    "outcomes",
    "aliases",
    "blobs",
    "forks",
)
"""The tables that a session has rows in, in the order in which rows are locked."""
_BESIDE: Final = 200
"""Bytes that a row takes beside that, about, with its indexes."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """The rows of one table that go with a session.

    Attributes:
        where: Says which.
        values: Its parameters.
    """

    table: Table
    where: str
    values: tuple[Any, ...]

    def count(self, tx: Transaction) -> tuple[int, int]:
        """Count the rows, and about how many bytes they take."""
        size = f"COALESCE(SUM({weight(self.table.large)}), 0)"
        [(rows, said_bytes)] = tx.execute(
            f"SELECT COUNT(*), {size} FROM {self.table.name} WHERE {self.where}", self.values
        )
        return int(rows), int(said_bytes) + _BESIDE * int(rows)

    def pages(self, tx: Transaction) -> Iterator[Rows]:
        """Yield the rows in order of their keys."""
        return self.table.some(tx, self.where, self.values)

    def delete(self, tx: Transaction, limit: int) -> int:
        """Delete some rows; return how many."""
        key, name = ", ".join(self.table.key), self.table.name
        some = f"SELECT {key} FROM {name} WHERE {self.where} ORDER BY {key} LIMIT {limit}"
        return len(tx.execute(f"DELETE FROM {name} WHERE ({key}) IN ({some}) RETURNING 1", self.values))


def doomed(tx: Transaction, session: SessionKey, upto: int) -> list[Doomed]:
    """Return what goes with a session: its entries up to a seq, and all that is beside them."""
    known, mine = {table.name: table for table in tables()}, (session.tenant, session.session_id)
    more: dict[str, tuple[str, int]] = {
        "entries": ("seq <= ?", upto),
        "operations": ("NOT (turn = '~key' AND at > ?)", micros(tx.now - REMEMBER_FOR)),
    }
    found: list[Doomed] = []
    for name in _ORDER:
        which, value = more.get(name, ("? = 0", 0))
        found.append(Doomed(known[name], f"tenant = ? AND session = ? AND {which}", (*mine, value)))
    return found


def kept(session: SessionKey) -> Doomed:
    """Return what a session's entries name and others may name, too: it goes later, where nobody does any more."""
    (uploads,) = (table for table in tables() if table.name == "uploads")
    where = "tenant = ? AND ref IN (SELECT ref FROM upload_uses WHERE tenant = ? AND session = ?)"
    return Doomed(uploads, where, (session.tenant, session.tenant, session.session_id))
