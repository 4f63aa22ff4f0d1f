"""The journal's store on one SQLite file, for one machine and any number of processes.

Invariant: readers never wait for the writer nor the writer for them (WAL), and each process writes through one thread.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from inturn.errors import JournalUnavailable
from inturn.journal.store import schema
from inturn.journal.store.sqlite_connection import SqliteTransaction, connect, file_identity, retry_while_locked
from inturn.journal.store.sqlite_errors import has_no_tables, replaced, unavailable
from inturn.journal.store.sqlite_writer import Writer
from inturn.journal.store.store import Transaction

T = TypeVar("T")

BUSY_TIMEOUT: Final = 60.0
"""Seconds to wait for another process's lock. A commit holds it for milliseconds; only a stuck program reaches this."""
READERS: Final = 2
"""Threads that read: a long read does not keep a short one waiting."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What an open file is used through."""

    writer: Writer
    readers: ThreadPoolExecutor
    watcher: ThreadPoolExecutor
    file: tuple[int, int] | None


class SqliteStore:
    """One file.

    Args:
        path: The file; relative ones are taken from the current directory now.
        busy_timeout: Seconds to wait for others' locks.
    """

    def __init__(self, path: str | Path, *, busy_timeout: float = BUSY_TIMEOUT) -> None:
        """Name the file; nothing is touched before `open`."""
        self.path = str(Path(path).absolute())
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The file."""
        return self.path

    async def open(self) -> None:
        """Open the file, and make it where it is missing.

        Raises:
            JournalUnavailable: It cannot be opened, or has another schema version; the message says what to do.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await asyncio.to_thread(self._close)

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        """Run `work` in a transaction of its own; it shares its commit with what else waits."""
        result: T = await (await self._ready()).writer.submit(work, durable=durable)
        return result

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent snapshot."""
        opened = await self._ready()
        return await self._run(opened.readers, lambda: _snapshot(self._connection(), work))

    async def version(self) -> int:
        """Return SQLite's `data_version`: one connection that never writes sees every commit."""
        opened = await self._ready()

        def data_version() -> int:
            if opened.file != file_identity(self.path):
                raise replaced(self.path)
            return int(self._connection().execute("PRAGMA data_version").fetchone()[0])

        return await self._run(opened.watcher, data_version)

    async def _ready(self) -> _Opened:
        if self._process != os.getpid():
            self._begin_anew()
        if self._opened is not None:
            return self._opened
        if self._closed:
            raise self._is_closed()
        return await asyncio.to_thread(self._open)

    def _begin_anew(self) -> None:
        """Open the file for this process: it was forked, and threads and connections are those of its parent."""
        self._inherited = (self._opened, self._connections)  # never closed here: that would end the parent's locks
        self._opened, self._connections, self._local = None, [], threading.local()
        self._lock, self._process = threading.Lock(), os.getpid()

    def _is_closed(self) -> JournalUnavailable:
        return JournalUnavailable(f"journal {self.path}: it was closed. To do: open it again")

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is not None:
                return self._opened
            try:
                self._prepare()
            except sqlite3.Error as error:
                raise unavailable(error, self.path) from error
            self._local = threading.local()
            self._closed = False
            file = file_identity(self.path)
            self._opened = _Opened(
                Writer(self.path, self._busy_timeout, file),
                ThreadPoolExecutor(READERS, thread_name_prefix="inturn-journal-read"),
                ThreadPoolExecutor(1, thread_name_prefix="inturn-journal-watch"),
                file,
            )
            return self._opened

    def _close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
            self._closed = True
            if opened is not None:
                opened.readers.shutdown()
                opened.watcher.shutdown()
                for connection in self._connections:
                    connection.close()
                self._connections.clear()
                opened.writer.stop()

    def _prepare(self) -> None:
        """Create the tables, or bring them to this version. Else the file is not written: that needs no more rights."""
        if Path(self.path).exists() and self._is_current():
            return
        connection = connect(self.path, mode="rwc", busy_timeout=self._busy_timeout)
        try:
            retry_while_locked(self._busy_timeout, lambda: connection.execute("BEGIN IMMEDIATE"))
            schema.create(SqliteTransaction(connection))
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _is_current(self) -> bool:
        connection = connect(self.path, mode="ro", busy_timeout=self._busy_timeout)
        try:
            tx = SqliteTransaction(connection)
            if retry_while_locked(self._busy_timeout, lambda: schema.is_behind(tx)):
                return False
            retry_while_locked(self._busy_timeout, lambda: schema.check(tx))
            return True
        except sqlite3.Error as error:
            if has_no_tables(error):
                return False
            raise
        finally:
            connection.close()

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """Run `work` in a pool's thread, whose own connection it uses."""

        def attempts() -> T:
            try:
                return retry_while_locked(self._busy_timeout, work)
            except sqlite3.Error as error:
                raise unavailable(error, self.path) from error

        try:
            future = asyncio.get_running_loop().run_in_executor(pool, attempts)
        except RuntimeError:  # the pool was shut down meanwhile
            raise self._is_closed() from None
        return await future

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._opened is not None and self._opened.file != file_identity(self.path):
                raise replaced(self.path)
            connection = connect(self.path, mode="ro", busy_timeout=self._busy_timeout)
            self._connections.append(connection)
            self._local.connection = connection
        return connection


def _snapshot(connection: sqlite3.Connection, work: Callable[[Transaction], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(SqliteTransaction(connection))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
