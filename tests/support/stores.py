"""The databases that a journal's tests run on: each test on SQLite, and again on PostgreSQL.

A test that asks for `store` runs twice (one that gets it from its room's conftest, where it has a directory for a
journal); what is opened with `memory` or by `journal_url` is then on the database of its kind. Where PostgreSQL is not
installed that half skips and says so.
The journal's own tests run whole on both; of the others' second half `sampled` keeps a part, and all on a cluster,
where those of faults run on PostgreSQL alone.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
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
from tests.support.sizes import FAST, WHOLE

STORES: Final = ("sqlite", "postgres")
CLUSTER: Final = bool(os.environ.get("INTURN_TEST_CLUSTER"))
"""Whether `make test-cluster` runs."""
_WHOLE_ON_BOTH: Final = (
    "tests/unit/journal/",
    "tests/property/",
    "tests/integration/",
    "tests/chaos/test_campaign",
    "tests/chaos/test_crash",
)
_ROOMS: Final = ("tests/unit/activities/", "tests/unit/client/")
"""Where the conftest asks for `store`, and many tests have no journal."""
_FAULTS: Final = "tests/chaos/"
_ONE_IN: Final = 12
_FAST_ONE_IN: Final = 4
"""Of those that `make test` runs whole on both."""


class _Current:
    """What the running test's journals are on."""

    server: PostgresServer | None = None
    databases: ExitStack
    journals: ClassVar[dict[Path, str]] = {}
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


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Have a test run on each store, or once where it cannot have a journal: without a directory to put one in."""
    if "store_kind" not in metafunc.fixturenames:
        return
    if metafunc.definition.nodeid.startswith(_ROOMS) and "tmp_path" not in metafunc.fixturenames:
        metafunc.parametrize("store_kind", [pytest.param("sqlite", id=pytest.HIDDEN_PARAM)])
    else:
        metafunc.parametrize("store_kind", STORES)


@pytest.fixture
def store(request: pytest.FixtureRequest, store_kind: str) -> Iterator[str]:
    """The kind of database that this test's journals are on."""
    with on_postgres(request.getfixturevalue("postgres_server")) if store_kind == "postgres" else nullcontext():
        yield store_kind


def sampled(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests that run, and those that only `make test-cluster` and `make test-long` run: on PostgreSQL."""
    left = [item for item in items if _is_left_out(item)]
    skipped = set(left)
    return [item for item in items if item not in skipped], left


def _is_left_out(item: pytest.Item) -> bool:
    """By its name, so that it does not depend on what else was selected."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    kind = parameters.get("store_kind")
    if CLUSTER:
        return kind == "sqlite" and item.nodeid.startswith(_FAULTS)
    on_both = item.nodeid.startswith(_WHOLE_ON_BOTH)
    if WHOLE or kind != "postgres" or (on_both and not FAST):
        return False
    one_in = _FAST_ONE_IN if on_both else _ONE_IN
    return item.nodeid.startswith(_FAULTS) or zlib.crc32(item.nodeid.encode()) % one_in != 0


def examples(count: int, store: str) -> int:
    """Return with how many examples a property is tried: on PostgreSQL, `make test` has a quarter of them."""
    return count if store == "sqlite" or CLUSTER or WHOLE else count // 4


@contextmanager
def on_postgres(server: PostgresServer) -> Iterator[None]:
    """Have the running test's journals on PostgreSQL."""
    _Current.server = server
    with ExitStack() as _Current.databases:
        yield
    _Current.server = None
    _Current.journals.clear()


def journal_url(directory: Path, name: str = "journal") -> str:
    """Return the URL of a directory's journal on the running test's database; without `store` that is SQLite."""
    if _Current.server is None:
        return f"sqlite:///{directory / name}.db"
    place = directory / name
    if place not in _Current.journals:
        _Current.journals[place] = _database(_Current.server, empty=False)
    return _Current.journals[place]


def empty_database() -> str:
    """Return the URL of a new database without a journal, where the running test's are on PostgreSQL."""
    assert _Current.server is not None
    return _database(_Current.server, empty=True)


def _database(server: PostgresServer, *, empty: bool) -> str:
    name = server.create(empty=empty)
    _Current.databases.callback(server.drop, name)
    return server.url(name)


def swap(first: str, second: str) -> None:
    """Have two journals change places, whoever has them open."""
    if _Current.server is not None:
        _Current.server.swap(*(url.rpartition("/")[2] for url in (first, second)))
        return
    one, other = (Path(url.removeprefix("sqlite:///")) for url in (first, second))
    for end in ("", "-wal", "-shm"):
        files = [path.with_name(path.name + end) for path in (one, other)]
        aside = one.with_name("aside")
        for source, target in ((files[0], aside), (files[1], files[0]), (aside, files[1])):
            if source.exists():
                source.rename(target)


@contextmanager
def away(url: str) -> Iterator[None]:
    """Have a journal be where nobody finds it, whoever has it open."""
    if _Current.server is not None:
        with _Current.server.closed(url.rpartition("/")[2]):
            yield
        return
    file = Path(url.removeprefix("sqlite:///"))
    moved = file.rename(file.with_suffix(".moved"))
    try:
        yield
    finally:
        moved.rename(file)


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
