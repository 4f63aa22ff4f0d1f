"""A transaction on PostgreSQL, whose statements share their trips to the server.

Invariant: the server gets the statements in the order in which the rules run them, with BEGIN before the first and what
is sent ahead at its own place among them. A read that was sent ahead is served once, and never across a write of this
transaction to a table that it read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import psycopg

from inturn.encryption.columns import CLEAR
from inturn.journal.store.store import Rows, Statement

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

_CLOCK: Final = "SELECT (extract(epoch FROM clock_timestamp()))::float8"
_LOCKS: Final = "FOR UPDATE"
TIMELINE: Final = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
"""Counts up with each failover."""
EPOCH: Final = f"({TIMELINE} << 40)"
_WRITTEN: Final = re.compile(r"\s*(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(\w+)")
_READ: Final = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What there is to know of a statement's text."""

    text: bytes
    answers: bool
    locks: bool
    writes: str | None
    reads: frozenset[str]


class PostgresTransaction:
    """An open transaction of a connection; in a pipeline its statements wait for one that answers."""

    for_update = _LOCKS

    def __init__(self, connection: Connection, pipeline: psycopg.Pipeline | None = None, *, epoch: str = EPOCH) -> None:
        """Wrap a connection on which a transaction has begun, or whose BEGIN waits in a pipeline."""
        self._connection = connection
        self._pipeline = pipeline
        self.epoch = epoch
        self.sealing = CLEAR
        self._ahead: dict[tuple[str, tuple[Any, ...]], list[Cursor]] = {}
        self._now: float | None = None
        self._clock: Cursor | None = None

    @property
    def now(self) -> float:
        """The server's clock, read behind the last lock: what waited for one is judged by the time after its wait."""
        if self._now is None:
            self._now = float(self._rows(self._clock or self.send(_CLOCK))[0][0])
        return self._now

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Send reads that are going to be asked for, and the clock behind those that lock."""
        for sql, parameters in statements:
            self._ahead.setdefault((sql, tuple(parameters)), []).append(self.send(sql, parameters))
        if not statements or any(_kind(sql).locks for sql, _ in statements):
            self._now, self._clock = None, self.send(_CLOCK)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows; one that returns none goes out with the next that does."""
        if served := self._ahead.get((sql, tuple(parameters))):
            return self._rows(served.pop(0))
        kind = _kind(sql)
        if kind.writes:
            self._forget(kind.writes)
        if kind.locks:
            self._now = self._clock = None
        cursor = self.send(sql, parameters)
        return self._rows(cursor) if kind.answers else []

    def exclude(self) -> None:
        """Lock what every writer writes to, and wait for as long as another database takes."""
        self.send("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
        self.send("LOCK TABLE sessions, steps, shared_values, queues, cursors IN SHARE ROW EXCLUSIVE MODE")

    def refuse(self, why: str) -> None:
        """Have a constraint that nothing meets refuse whatever a step or a decision begins with."""
        for table in ("sessions", "steps"):
            self.send(f'ALTER TABLE {table} ADD CONSTRAINT "{why.replace(chr(34), "")[:60]}" CHECK (false) NOT VALID')

    def guard(self, condition: str, parameters: Sequence[Any] = ()) -> None:
        """Have the server itself undo the transaction unless a condition holds: it divides by nothing then."""
        self.send(f"SELECT 1 / (CASE WHEN {condition} THEN 1 ELSE 0 END)", parameters)

    def define(self, statement: str) -> None:
        """Run a CREATE statement. Texts are compared by their bytes, as SQLite does."""
        words = statement.format(bytes="BYTEA", clustered="", unlogged="UNLOGGED")
        self.send(words.replace(" TEXT", ' TEXT COLLATE "C"'))

    def send(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Send one statement; its answer is waited for where it is fetched."""
        return self._connection.execute(_kind(sql).text, parameters)

    def _rows(self, cursor: Cursor) -> Rows:
        """Return a statement's rows, once all that was sent is answered.

        Only a Sync will do: behind a mere Flush the server does not count as idle, and keeps a frozen worker's locks.
        """
        if self._pipeline is not None and cursor.pgresult is None:
            self._pipeline.sync()
        return cursor.fetchall()

    def _forget(self, table: str) -> None:
        """Ask again for what was sent ahead and is about to change."""
        for statement in [statement for statement in self._ahead if table in _kind(statement[0]).reads]:
            del self._ahead[statement]


@lru_cache(maxsize=1024)
def _kind(sql: str) -> _Kind:
    """Return a statement with `$1`, `$2`… for each `?`, and what it does."""
    first, *rest = sql.split("?")
    text = first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))
    written = _WRITTEN.match(sql)
    return _Kind(
        text.encode(),
        answers=written is None or "RETURNING" in sql,
        locks=_LOCKS in sql,
        writes=written[1] if written else None,
        reads=frozenset(_READ.findall(sql)),
    )
