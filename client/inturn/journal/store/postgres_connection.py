"""Connections to PostgreSQL, and transactions on them.

Invariant: nothing outlives its transaction on a connection but prepared statements (none with `prepare=off`): every
setting is `SET LOCAL`'s, so a pooler may give each transaction another connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from psycopg.types.numeric import Int8Dumper

from inturn.journal.store.postgres_url import Address
from inturn.journal.store.store import Rows

Connection = psycopg.Connection[tuple[Any, ...]]

_LOCKS: Final = "FOR UPDATE"
_PREPARED: Final = 256
"""Prepared statements that a connection keeps."""


class PostgresTransaction:
    """An open transaction of a connection."""

    for_update = _LOCKS

    def __init__(self, connection: Connection) -> None:
        """Wrap a connection on which a transaction has begun."""
        self._connection = connection
        self._now: float | None = None

    @property
    def now(self) -> float:
        """The server's clock, read behind the last lock: what waited for one is judged by the time after its wait."""
        if self._now is None:
            self._now = cast("float", self.execute("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])
        return self._now

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows."""
        if _LOCKS in sql:
            self._now = None
        cursor = self._connection.execute(numbered(sql), parameters)
        return cursor.fetchall() if cursor.description else []

    def define(self, statement: str) -> None:
        """Run a CREATE statement. Texts are compared by their bytes, as SQLite does."""
        words = statement.format(bytes="BYTEA", clustered="", unlogged="UNLOGGED")
        self.execute(words.replace(" TEXT", ' TEXT COLLATE "C"'))


def connect(address: Address) -> Connection:
    """Connect; nothing is set on the connection itself."""
    connection = psycopg.connect(
        "", autocommit=True, cursor_factory=psycopg.RawCursor, **cast("dict[str, Any]", address.parameters)
    )
    connection.adapters.register_dumper(int, Int8Dumper)  # else each size of number prepares a statement of its own
    connection.prepare_threshold = 2 if address.prepare else None
    connection.prepared_max = _PREPARED
    return connection


@lru_cache(maxsize=1024)
def numbered(sql: str) -> bytes:
    """Return a statement with `$1`, `$2`… for each `?`."""
    first, *rest = sql.split("?")
    return (first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))).encode()
