"""The journal's tables on PostgreSQL: made, tuned and brought up to date by one at a time.

Invariant: whoever only uses a journal needs no right to change its tables: an empty database is filled by whoever may,
and tables that are there are changed only where that was asked for.
"""

from __future__ import annotations

import time
from typing import Final

from psycopg.errors import LockNotAvailable

from inturn.journal.store import schema
from inturn.journal.store.postgres_transaction import Connection, PostgresTransaction

_CHANGING: Final = (
    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0"
)
_TUNING: Final = (
    f"ALTER TABLE sessions SET (fillfactor = 50, {_CHANGING})",
    f"ALTER TABLE steps SET (fillfactor = 80, {_CHANGING})",
    f"ALTER TABLE places SET ({_CHANGING})",
    f"ALTER TABLE counters SET (fillfactor = 20, {_CHANGING})",
    "ALTER TABLE buckets SET (fillfactor = 20)",
    "ALTER TABLE spend SET (fillfactor = 20)",
    f"ALTER TABLE reservations SET ({_CHANGING})",
    f"ALTER TABLE deltas SET ({_CHANGING})",
    "ALTER TABLE entries SET (autovacuum_vacuum_insert_scale_factor = 0.05)",
)
"""Rows that change have room beside them, so that no index is touched; what changes all the time is vacuumed often."""
_LOCK_TIMEOUT: Final = "2s"
_TRIES: Final = 10
"""A change of a table waits for whoever uses it, and all others behind it: it gives up soon, and tries again."""


def prepare(connection: Connection, *, migrate: bool = False) -> None:
    """Check the tables; make them in a database that has none, and bring them to this version where asked to.

    Raises:
        JournalUnavailable: They are of another version.
    """
    tx = PostgresTransaction(connection)
    if tx.execute("SELECT to_regclass('journal_schema')")[0][0] is None:
        return _create(connection)
    if migrate and schema.is_behind(tx):
        for _ in range(_TRIES - 1):
            try:
                return _create(connection)
            except LockNotAvailable:
                time.sleep(1.0)
        return _create(connection)
    return schema.check(tx)


def _create(connection: Connection) -> None:
    with connection.transaction():
        tx = PostgresTransaction(connection)
        tx.execute("SELECT set_config('lock_timeout', ?, true)", (_LOCK_TIMEOUT,))
        tx.execute("SELECT pg_advisory_xact_lock(hashtext('inturn-journal'))")
        schema.create(tx)
        for statement in _TUNING:
            tx.send(statement)
