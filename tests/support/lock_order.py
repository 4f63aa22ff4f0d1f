"""A transaction that notes which locks its rule takes, and refuses one that comes out of order.

On a backend that locks rows, two rules that take the same two locks in different orders wait for each other for ever.
The order is that of `ORDER`; which row a statement locks is read from its text and parameters.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from inturn.journal.limits import counters
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Rows, Statement

ORDER: Final = (
    "sessions",
    "counters",
    "steps",
    "operations",
    "shared_values",
    "documents",
    "queues",
    "outcomes",
    "counters of permits",
    "spend",
)
"""The tables whose rows more than one transaction may want at once, in the order in which they are locked."""
UNDER: Final = {
    "entries": "its session",
    "contents": "its session",
    "aliases": "its session",
    "forks": "its session",
    "places": "its step's row; who only frees takes one statement",
    "reservations": "its step's row",
    "buckets": "the counter of its scope's permits",
    "queue_items": "its queue",
    "blobs": "one statement; its rows never change",
    "uploads": "one statement; a sweep passes over what somebody names just now",
    "upload_uses": "its session",
    "rewritten": "a copy that nobody uses yet; its rows never change",
    "cursors": "one statement",
    "agents": "a worker's own rows",
    "lacks": "a step's own row",
    "stops": "a step's own row, and a sweep",
    "deltas": "an attempt's own rows, until nobody needs them",
    "watches": "one statement a session, sorted, and a sweep",
}
"""The others, and what is locked before they are written, or why nothing need be."""
MARK: Final = "/* locks */"
_WRITES: Final = re.compile(r"^(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_READS: Final = re.compile(r"FROM (\w+)")
_SWEEP: Final = f"{MARK} SKIP LOCKED"  # waits for nobody
_OF: Final = f"{MARK} OF sessions"  # and not of what is joined
_KEYS: Final = {
    "sessions": 2,
    "counters": 1,
    "counters of permits": 1,
    "steps": 5,
    "operations": 6,
    "shared_values": 3,
    "documents": 2,
    "queues": 3,
    "spend": 3,
}
"""How many parameters name a row, where a rule comes back to one that it has locked."""


class OutOfOrder(AssertionError):
    """A lock was taken after one that others take after it."""


class OrderedTransaction(SqliteTransaction):
    """A transaction of SQLite whose statements are checked as if it locked rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.for_update = MARK
        self.taken: list[tuple[str, tuple[Any, ...]]] = []

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Check the statements: they are run here."""
        for sql, parameters in statements:
            if (table := _locks(sql)) is not None:
                self._take(table, tuple(parameters), sql)

    def guard(self, condition: str, parameters: Sequence[Any] = ()) -> None:
        """Check the statement, and hold its rows."""
        self.execute(f"SELECT {condition}", parameters)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Check the statement, and run it."""
        if "nextval" in sql:
            return [(counters.count_up(SqliteTransaction(self._connection), counters.TICKETS),)]
        if _SWEEP in sql:
            sql = sql.replace(_SWEEP, "")
        elif (table := _locks(sql)) is not None:
            self._take(table, tuple(parameters), sql)
            sql = sql.replace(_OF, "")
        return super().execute(sql, parameters)

    def _take(self, table: str, parameters: tuple[Any, ...], sql: str) -> None:
        if table in UNDER:
            return
        if table == "counters" and str(parameters[0]).endswith("/permits"):
            table = "counters of permits"
        if any(table == held and _names(parameters, key) for held, key in self.taken):
            return
        last = max((ORDER.index(held) for held, _ in self.taken), default=0)
        if ORDER.index(table) < last:
            held = ", ".join(f"{name} {key}" for name, key in self.taken)
            raise OutOfOrder(f"{sql} {parameters}\nlocks {table} after {ORDER[last]}; held: {held}")
        size = _KEYS.get(table)
        if size is not None and sql.startswith(("SELECT", "INSERT")):
            self.taken.append((table, parameters[:size]))
        else:
            self.taken.append((table, ()))


def _locks(sql: str) -> str | None:
    """Return the table of which a statement locks rows."""
    if (writes := _WRITES.match(sql)) is not None:
        return writes[1]
    return _READS.search(sql)[1] if MARK in sql else None  # type: ignore[index]


def _names(parameters: tuple[Any, ...], key: tuple[Any, ...]) -> bool:
    """Return whether a statement's parameters hold this row's key."""
    size = len(key)
    return size > 0 and any(parameters[n : n + size] == key for n in range(len(parameters) - size + 1))
