"""A journal from the outside: changed, copied and searched behind inturn's back, whichever database it is on."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_transaction import PostgresTransaction
from inturn.journal.store.postgres_url import parse
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Transaction
from tests.support.processes.postgres import programs
from tests.support.stores import empty_database


@contextmanager
def opened(url: str) -> Iterator[Transaction]:
    """Yield a transaction on the journal, and commit it."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(_file(url))) as database, database:
            yield SqliteTransaction(database)
        return
    with closing(connect(parse(url))) as connection, connection.transaction():
        yield PostgresTransaction(connection)


def change(url: str, *statements: str) -> None:
    """Run statements on the journal."""
    with opened(url) as tx:
        for statement in statements:
            tx.execute(statement)


def copy(url: str) -> str:
    """Copy the journal as it is now, as a backup and its restore do; return the URL of the copy."""
    if url.startswith("sqlite:"):
        made = _file(url).with_name("copy.db")
        with closing(sqlite3.connect(_file(url))) as source, closing(sqlite3.connect(made)) as target:
            source.backup(target)  # with what is in the -wal file, which is most of a journal that is open
        return f"sqlite:///{made}"
    made_url = empty_database()
    _run("psql", made_url, "--quiet", "--set", "ON_ERROR_STOP=1", given=dump(url))
    return made_url


def dump(url: str) -> bytes:
    """Return all that the database holds."""
    if url.startswith("sqlite:"):
        return b"".join(path.read_bytes() for path in _file(url).parent.glob(f"{_file(url).name}*"))
    return _run("pg_dump", url)


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _run(program: str, url: str, *options: str, given: bytes = b"") -> bytes:
    directory = programs()
    assert directory is not None
    command = [str(directory / program), "--dbname", url, *options]
    return subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE).stdout
