"""Connections to PostgreSQL.

Invariant: nothing outlives its transaction on a connection but prepared statements (none with `prepare=off`): every
setting is `SET LOCAL`'s, so a pooler may give each transaction another connection. And nothing is sent behind the Sync
that ends a transaction: a pooler would give a connection for it, to a client that has no use for one.
A prepared statement's name is its connection's alone: where a pooler mixes connections up, it is an error, and never
another connection's statement that runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
from psycopg._preparing import Prepare, PrepareManager
from psycopg._queries import PostgresQuery
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.pq.abc import PGconn
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8Dumper

from inturn.journal.store.postgres_transaction import Connection
from inturn.journal.store.postgres_url import Address
from inturn.journal.values import new_token

_PREPARED: Final = 256
"""Prepared statements that a connection keeps."""


class _Pipeline(psycopg.Pipeline):
    """A pipeline whose Syncs are sent whole before their answers are waited for, and have nothing sent behind them.

    psycopg sends a Flush behind the last one. Where that reaches PgBouncer after COMMIT was answered, it takes a server
    connection for it and keeps that until this client's next transaction, which other clients may wait for in vain.
    Behind the others psycopg waits, even where a large statement before them is half sent, for which the server waits.
    """

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        """Receive what is due. What a `flush` asks for, a Sync has: nothing is fetched from this without one."""
        yield from send(self.pgconn)
        yield from super()._fetch_gen(flush=False)


class _Statements(PrepareManager):
    """The prepared statements of one connection, under names that no other has.

    psycopg counts them from 0 on each connection. On a server connection that has another client's statement under the
    same number, that one would run with these parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of = f"_{new_token()}".encode()

    def get(self, query: PostgresQuery, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        """Return whether a query is prepared, or is to be, and its name."""
        found, name = super().get(query, prepare)
        return found, name + self._of if found is Prepare.SHOULD else name


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose pipelines and prepared statements are those."""

    def __init__(self, pgconn: PGconn) -> None:
        super().__init__(pgconn, tuple_row)
        self._prepared = _Statements()

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """Switch to pipeline mode."""
        self._pipeline = self._pipeline or _Pipeline(self)
        with super().pipeline() as pipeline:
            yield pipeline


def connect(address: Address) -> Connection:
    """Connect; nothing is set on the connection itself."""
    connection = _Connection.connect(
        "", autocommit=True, cursor_factory=psycopg.RawCursor, **cast("dict[str, Any]", address.parameters)
    )
    connection.adapters.register_dumper(int, Int8Dumper)  # else each size of number prepares a statement of its own
    connection.prepare_threshold = 2 if address.prepare else None
    connection.prepared_max = _PREPARED
    return connection
