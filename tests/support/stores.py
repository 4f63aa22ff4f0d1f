"""The databases that a journal's tests run on: each test on SQLite, and again on PostgreSQL.

A test (or an autouse fixture of its folder's conftest) that asks for `store` runs twice; what is opened with `memory`
or by `journal_url` is then on the database of its kind. Where PostgreSQL is not installed that half skips and says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar, Final, cast

import pytest

from inturn.encryption import read_keys
from inturn.encryption.columns import Sealing
from inturn.journal.store import schema
from inturn.journal.store.postgres_transaction import Connection, PostgresTransaction
from inturn.journal.store.sqlite_connection import SqliteTransaction
from tests.support.processes import postgres
from tests.support.processes.postgres import PostgresServer

STORES: Final = ("sqlite", "postgres")


class _Current:
    """What the running test's journals are on."""

    server: PostgresServer | None = None
    databases: ExitStack
    idle: ClassVar[list[Connection]] = []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of this process."""
    if postgres.programs() is None:
        pytest.skip(postgres.INSTALL)
    with PostgresServer() as server:
        server.drop(server.create())  # its template is of the code as it is, whatever tests patch
        yield server
        while _Current.idle:
            _Current.idle.pop().close()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of database that this test's journals are on."""
    kind: str = request.param
    with on_postgres(request.getfixturevalue("postgres_server")) if kind == "postgres" else nullcontext():
        yield kind


@contextmanager
def on_postgres(server: PostgresServer) -> Iterator[None]:
    """Have the running test's journals on PostgreSQL."""
    _Current.server = server
    with ExitStack() as _Current.databases:
        yield
    _Current.server = None


def journal_url(directory: Path, name: str = "journal") -> str:
    """Return the URL of a new journal on the running test's database; without `store` that is SQLite."""
    if _Current.server is None:
        return f"sqlite:///{directory / name}.db"
    return _database(_Current.server, empty=False)


def empty_database() -> str:
    """Return the URL of a new database without a journal, where the running test's are on PostgreSQL."""
    assert _Current.server is not None
    return _database(_Current.server, empty=True)


def _database(server: PostgresServer, *, empty: bool) -> str:
    name = server.create(empty=empty)
    _Current.databases.callback(server.drop, name)
    return server.url(name)


@contextmanager
def memory(now: float = 1_000.0) -> Iterator[SqliteTransaction]:
    """Yield one long transaction on an empty journal, whose clock the test moves (`tx.now`)."""
    if _Current.server is not None:
        with _postgres(_Current.server, now) as tx:
            yield tx
        return
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        made = SqliteTransaction(connection)
        made.now = now
        made.sealing = Sealing(read_keys())
        schema.create(made)
        yield made


@contextmanager
def _postgres(server: PostgresServer, now: float) -> Iterator[SqliteTransaction]:
    """It is never committed, so the next test may have the same database and connection."""
    connection = _Current.idle.pop() if _Current.idle else server.connect(server.create())
    connection.execute("BEGIN")
    yield cast("SqliteTransaction", _Clocked(connection, now))  # to its users both are the same
    connection.execute("ROLLBACK")
    _Current.idle.append(connection)


class _Clocked(PostgresTransaction):
    now = 0.0

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection)
        self.sealing = Sealing(read_keys())
        self.now = now
