"""Connections to PostgreSQL.

Invariant: nothing outlives its transaction on a connection but prepared statements (none with `prepare=off`): every
setting is `SET LOCAL`'s, so a pooler may give each transaction another connection. And nothing is sent behind the Sync
that ends a transaction: a pooler would give a connection for it, to a client that has no use for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.types.numeric import Int8Dumper

from inturn.journal.store.postgres_transaction import Connection
from inturn.journal.store.postgres_url import Address

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


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose pipelines are those."""

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
