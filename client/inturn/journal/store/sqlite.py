"""The journal's store on one SQLite file, for one machine and any number of processes.

Invariant: readers never wait for the writer nor the writer for them (WAL), and each process writes through one thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._watcher: ThreadPoolExecutor | None = None
        self._file: tuple[int, int] | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    async def open(self) -> None:
        """Open the file, and make it where it is missing.

        Raises:
            JournalUnavailable: It cannot be opened, or has another schema version; the message says what to do.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await asyncio.to_thread(self._close)

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction of its own; it shares its commit with what else waits."""
        writer = self._writer
        if writer is None:
            await self._open_first()
            writer = self._writer
            assert writer is not None
        result: T = await writer.submit(work, durable=durable)
        return result

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent snapshot."""
        if self._readers is None:
            await self._open_first()
        assert self._readers is not None
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def version(self) -> int:
        """Return SQLite's `data_version`: one connection that never writes sees every commit."""
        if self._watcher is None:
            await self._open_first()
        assert self._watcher is not None
        return await asyncio.get_running_loop().run_in_executor(self._watcher, self._data_version)

    async def _open_first(self) -> None:
        if self._closed:
            raise JournalUnavailable(f"journal {self.path}: it was closed. To do: open it again")
        await self.open()

    def _open(self) -> None:
        with self._lock:
            if self._writer is not None:
                return
            try:
                self._prepare()
            except sqlite3.Error as error:
                raise unavailable(error, self.path) from error
            self._local = threading.local()
            self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="inturn-journal-read")
            self._watcher = ThreadPoolExecutor(1, thread_name_prefix="inturn-journal-watch")
            self._file = file_identity(self.path)
            self._writer = Writer(self.path, self._busy_timeout)
            self._closed = False

    def _close(self) -> None:
        with self._lock:
            writer, pools = self._writer, (self._readers, self._watcher)
            self._writer = self._readers = self._watcher = None
            self._closed = True
            if writer is not None:
                for pool in pools:
                    if pool is not None:
                        pool.shutdown()
                for connection in self._connections:
                    connection.close()
                self._connections.clear()
                writer.stop()

    def _prepare(self) -> None:
        """Create the tables. A file that has them is not written: reading it needs no more rights."""
        if Path(self.path).exists() and self._has_tables():
            return
        connection = connect(self.path, mode="rwc", busy_timeout=self._busy_timeout)
        try:
            retry_while_locked(self._busy_timeout, lambda: connection.execute("BEGIN IMMEDIATE"))
            schema.create(SqliteTransaction(connection))
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _has_tables(self) -> bool:
        connection = connect(self.path, mode="ro", busy_timeout=self._busy_timeout)
        try:
            retry_while_locked(self._busy_timeout, lambda: schema.check(SqliteTransaction(connection)))
            return True
        except sqlite3.Error as error:
            if has_no_tables(error):
                return False
            raise
        finally:
            connection.close()

    def _read(self, work: Callable[[Transaction], T]) -> T:
        try:
            connection = self._reader()
            return retry_while_locked(self._busy_timeout, lambda: _snapshot(connection, work))
        except sqlite3.Error as error:
            raise unavailable(error, self.path) from error

    def _data_version(self) -> int:
        if self._file != file_identity(self.path):
            raise replaced(self.path)
        try:
            connection = self._reader()
            return retry_while_locked(
                self._busy_timeout, lambda: int(connection.execute("PRAGMA data_version").fetchone()[0])
            )
        except sqlite3.Error as error:
            raise unavailable(error, self.path) from error

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
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
