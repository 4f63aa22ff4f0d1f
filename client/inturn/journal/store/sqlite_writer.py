"""The one thread that writes, with group commit.

Invariant: a job's future resolves only after the commit that holds its work, and a job that fails undoes its own work
alone. Whoever waits for the disk waits together: all jobs that are there share one BEGIN IMMEDIATE .. COMMIT. Jobs that
need not be durable do not wait for the disk: the log keeps the order, so the next durable commit takes them along.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from inturn.errors import JournalUnavailable
from inturn.journal.store import schema
from inturn.journal.store.sqlite_connection import SqliteTransaction, connect, file_identity, retry_while_locked
from inturn.journal.store.sqlite_errors import replaced, unavailable
from inturn.journal.store.store import Transaction

MAX_BATCH: Final = 256
"""Jobs of one commit: bounds how long the first of them waits, and how long others wait for the lock."""


@dataclass(slots=True)
class _Job:
    work: Callable[[Transaction], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    durable: bool
    value: Any = None
    error: Exception | None = None


class Writer:
    """The thread and its connection."""

    def __init__(self, path: str, busy_timeout: float, file: tuple[int, int] | None) -> None:
        """Start the thread; it connects at its first job, and to no other file than this one."""
        self._path = path
        self._busy_timeout = busy_timeout
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._file = file
        self._thread = threading.Thread(target=self._run, name="inturn-journal", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Transaction], Any], *, durable: bool = True) -> asyncio.Future[Any]:
        """Queue work; the future belongs to the running loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Job(work, future, loop, durable))
        return future

    def stop(self) -> None:
        """Finish what is queued, then close the file. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            first = self._queue.get()
            if first is None:
                break
            batch = [first]
            try:
                going = self._commit(batch)
            except Exception as error:  # no caller may wait for ever, and the thread must live
                going = self._fail(batch, error)
            _deliver(batch)
        self._disconnect()

    def _commit(self, batch: list[_Job]) -> bool:
        """Run and commit `batch` and what is queued by then; return whether to go on."""
        connection = self._connected()
        durable = batch[0].durable
        self._begin(connection, durable=durable)
        going = self._gather(batch)
        if not durable and any(job.durable for job in batch):
            connection.execute("ROLLBACK")  # empty yet; and in a transaction the level stays what it is
            self._begin(connection, durable=True)
        for job in batch:
            self._run_job(connection, job, alone=len(batch) == 1)
        connection.execute("COMMIT")
        return going

    def _begin(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        retry_while_locked(self._busy_timeout, lambda: connection.execute("BEGIN IMMEDIATE"))

    def _gather(self, batch: list[_Job]) -> bool:
        """Take what is queued. Called when the lock is ours: the longer that took, the more share the commit."""
        with suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                job = self._queue.get_nowait()
                if job is None:
                    return False
                batch.append(job)
        return True

    def _run_job(self, connection: sqlite3.Connection, job: _Job, *, alone: bool) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.value = job.work(SqliteTransaction(connection))
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite gave up the whole transaction (disk full, I/O error): everybody's work is undone
            connection.execute("ROLLBACK TO job")
            job.error = unavailable(error, self._path) if isinstance(error, sqlite3.Error) else error
        connection.execute("RELEASE job")

    def _fail(self, batch: list[_Job], error: Exception) -> bool:
        """Undo the batch and raise the reason to everybody who waits; the next batch connects anew."""
        self._disconnect()
        going = self._gather(batch)
        for job in batch:
            job.error = _own_error(error, self._path)
        return going

    def _connected(self) -> sqlite3.Connection:
        if self._file != file_identity(self._path):  # also of a file that comes after an error: it is another journal
            raise replaced(self._path)
        if self._connection is None:
            connection = connect(self._path, mode="rw", busy_timeout=self._busy_timeout)
            try:
                retry_while_locked(self._busy_timeout, lambda: schema.check(SqliteTransaction(connection)))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()  # rolls back what is open


def _own_error(error: Exception, path: str) -> JournalUnavailable:
    """Return an exception for one caller alone: one raised in several tasks would mix up their tracebacks."""
    if isinstance(error, sqlite3.Error):
        return unavailable(error, path)
    if isinstance(error, JournalUnavailable):
        return JournalUnavailable(str(error))
    made = JournalUnavailable(f"journal {path}: writing failed unexpectedly ({type(error).__name__}: {error})")
    made.__cause__ = error
    return made


def _deliver(batch: list[_Job]) -> None:
    """Resolve the futures, with one wake-up per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        loops.setdefault(job.loop, []).append(job)
    for loop, jobs in loops.items():
        with suppress(RuntimeError):  # the loop is closed: no caller waits there any more
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # cancelled meanwhile
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
