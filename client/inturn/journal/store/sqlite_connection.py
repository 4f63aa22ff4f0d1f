"""Connections to the journal's file.

Invariant: what a durable commit acknowledged is on the disk (`synchronous=FULL` in WAL mode), with all that was
committed before it, and nobody fails for a lock that is given back within `busy_timeout`.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from inturn.encryption.columns import CLEAR
from inturn.journal.store import sqlite_errors
from inturn.journal.store.store import GuardFailed, Rows, Statement

T = TypeVar("T")

_STATEMENTS: Final = 256
"""Prepared statements that a connection keeps."""
_SHORTEST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.004
"""Seconds between tries for a lock. SQLite's own waiting sleeps up to 100 ms at a time, and who has waited longest then
gets the lock last: eight busy processes kept one another out for up to 2.4 s, and with these pauses for 0.2 s."""


class SqliteTransaction:
    """An open transaction of a connection."""

    __slots__ = ("_connection", "for_update", "now", "sealing")
    epoch = "0"

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Wrap a connection on which a transaction has begun."""
        self._connection = connection
        self.now = time.time()
        self.sealing = CLEAR
        self.for_update = ""  # BEGIN IMMEDIATE has locked everything

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Do nothing: the file is here."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def exclude(self) -> None:
        """Do nothing: BEGIN IMMEDIATE has locked everything."""

    def refuse(self, why: str) -> None:
        """Have triggers refuse whatever a step or a decision begins with."""
        said = why.replace("'", "''")
        for table, event in (("sessions", "INSERT"), ("sessions", "UPDATE"), ("steps", "INSERT"), ("steps", "UPDATE")):
            self._connection.execute(
                f"CREATE TRIGGER moved_{table}_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )

    def guard(self, condition: str, parameters: Sequence[Any] = ()) -> None:
        """Undo the transaction unless a condition holds."""
        if not self.execute(f"SELECT {condition}", parameters)[0][0]:
            raise GuardFailed

    def define(self, statement: str) -> None:
        """Run a CREATE statement."""
        self._connection.execute(statement.format(bytes="BLOB", clustered="WITHOUT ROWID", unlogged=""))


def connect(path: str, *, mode: str, busy_timeout: float) -> sqlite3.Connection:
    """Open the file. The connection itself never waits for a lock: that is what `retry_while_locked` does.

    Args:
        path: The file.
        mode: `rwc` makes it where it is missing, `rw` does not, `ro` never writes.
        busy_timeout: Seconds to wait for others' locks while opening.
    """
    if mode == "rwc":
        _make(path)
    connection = sqlite3.connect(
        f"file:{quote(str(Path(path)))}?mode={mode}",
        uri=True,
        timeout=0,
        isolation_level=None,  # transactions are ours to begin and end
        check_same_thread=False,  # closed by another thread than the one that used it
        cached_statements=_STATEMENTS,
    )
    try:
        if mode != "ro":
            retry_while_locked(busy_timeout, lambda: connection.execute("PRAGMA journal_mode = WAL").fetchall())
            connection.execute("PRAGMA synchronous = FULL")
            # After a burst the log file shrinks again, at the next checkpoint.
            connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: str) -> None:
    """Make the file where it is missing, for its owner alone: it holds what users say. SQLite's own follow it."""
    with contextlib.suppress(OSError):  # what is wrong with the path, SQLite says
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))


def file_identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from another one that takes its place; `None` where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def retry_while_locked(seconds: float, work: Callable[[], T]) -> T:
    """Repeat what fails for another's lock, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    pause = _SHORTEST_PAUSE
    while True:
        try:
            return work()
        except sqlite3.Error as error:
            if not sqlite_errors.is_lock(error) or time.monotonic() >= deadline:
                raise
            time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
