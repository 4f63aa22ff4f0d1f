"""The journal's store on PostgreSQL, for any number of machines.

Invariant: a transaction is one connection's from BEGIN to COMMIT, and its work is done once: what is run again is what
the server has surely undone. A COMMIT whose answer is lost is told as `AnswerLost`, never run again here.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import psycopg

from inturn.errors import JournalUnavailable
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_errors import is_broken, is_guard, is_repeated, unavailable
from inturn.journal.store.postgres_identity import Identity
from inturn.journal.store.postgres_tables import prepare
from inturn.journal.store.postgres_threads import Threads, pipelined, undo
from inturn.journal.store.postgres_transaction import PostgresTransaction
from inturn.journal.store.postgres_url import Address
from inturn.journal.store.store import GuardFailed, Transaction

T = TypeVar("T")

TIMEOUTS: Final = {"statement_timeout": "8s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "5s"}
"""A statement ends before its callers' patience (10 s), and a worker that freezes gives its locks back."""
URGENT_TIMEOUTS: Final = TIMEOUTS | {"lock_timeout": "1s"}
"""A renewal that waits is worth less than the next one."""
_TRIES: Final = 5
_NO_TRY_AFTER: Final = 5.0
"""Times that a transaction is run which others were in the way of, and seconds after which none begins."""


@dataclass(slots=True)
class _Job:
    """A transaction that somebody waits for."""

    work: Callable[[Transaction], Any]
    reads: bool = False
    durable: bool = True
    urgent: bool = False
    answer: Future[Any] = field(default_factory=Future[Any])
    committing: bool = False

    @property
    def settings(self) -> tuple[str, list[str]]:
        """The statement that sets what holds until COMMIT, and its parameters."""
        values = URGENT_TIMEOUTS if self.urgent else TIMEOUTS
        if not self.durable:
            values = values | {"synchronous_commit": "off"}
        return "SELECT " + ", ".join(f"set_config('{name}', ?, true)" for name in values), list(values.values())

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits; a read may have been answered before its connection broke."""
        if not self.answer.done():
            self.answer.set_exception(error)


class PostgresStore:
    """A database.

    Args:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        """Name the database; nothing is connected before `open`."""
        self._address = address
        self._lock = threading.Lock()
        self._threads: Threads | None = None
        self._closed = False
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The database, as messages name it."""
        return self._address.name

    async def open(self) -> None:
        """Connect, and make the tables where the database has none.

        Raises:
            JournalUnavailable: It cannot be opened, or has another schema version; the message says what to do.
        """
        if self._process != os.getpid():
            self._begin_anew()
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Finish what is queued and disconnect."""
        await asyncio.to_thread(self._close)

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        """Run `work` in a transaction of its own."""
        result: T = await self._run(_Job(work, durable=durable, urgent=urgent))
        return result

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent snapshot."""
        result: T = await self._run(_Job(work, reads=True))
        return result

    async def version(self) -> None:
        """Return nothing: looking for it costs as much as looking at the heads."""

    async def _run(self, job: _Job) -> Any:
        threads = await self._ready()
        try:
            threads.submit(lambda: self._finish(threads, job), urgent=job.urgent)
        except RuntimeError:  # it was closed meanwhile
            raise self._is_closed() from None
        return await asyncio.shield(asyncio.wrap_future(job.answer))  # whoever goes away does not undo it

    async def _ready(self) -> Threads:
        if self._process != os.getpid():
            self._begin_anew()
        if self._threads is not None:
            return self._threads
        if self._closed:
            raise self._is_closed()
        return await asyncio.to_thread(self._open)

    def _begin_anew(self) -> None:
        """Connect for this process: it was forked, and threads and connections are those of its parent."""
        self._inherited = self._threads  # never closed here: that would end the parent's sessions
        self._threads, self._lock, self._process = None, threading.Lock(), os.getpid()

    def _is_closed(self) -> JournalUnavailable:
        return JournalUnavailable(f"journal {self._address.name}: it was closed. To do: open it again")

    def _open(self) -> Threads:
        with self._lock:
            if self._threads is None:
                identity = Identity(self._address.name)
                try:
                    with connect(self._address) as connection:
                        prepare(connection, migrate=self._address.migrate)
                        identity.confirm(connection)
                except psycopg.Error as error:
                    raise unavailable(error, self._address.name) from error
                self._threads, self._closed = Threads(self._address, identity), False
            return self._threads

    def _close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
            self._closed = True
            if threads is not None:
                threads.stop()

    def _finish(self, threads: Threads, job: _Job) -> None:
        """Run a transaction, and run it again where others were in its way or its connection broke under it."""
        begun, tries = time.monotonic(), 0
        while not job.answer.done():
            tries += 1
            try:
                self._transact(threads, job)
            except psycopg.Error as error:
                if is_guard(error):
                    return job.fail(GuardFailed())
                over = tries == _TRIES or time.monotonic() - begun > _NO_TRY_AFTER
                if over or not self._may_repeat(error, job, tries):
                    return job.fail(unavailable(error, self._address.name, committing=job.committing))
                time.sleep(random.uniform(0.001, 0.02))
            except BaseException as error:
                return job.fail(error)

    def _may_repeat(self, error: psycopg.Error, job: _Job, tries: int) -> bool:
        """Return whether the server has surely undone a transaction, and running it again at once may help."""
        return is_repeated(error) or (is_broken(error) and tries == 1 and not job.committing)

    def _transact(self, threads: Threads, job: _Job) -> None:
        connection = threads.connection()
        job.committing = False
        try:
            with pipelined(connection) as pipeline:
                tx = PostgresTransaction(connection, pipeline, epoch=threads.epoch)
                tx.send("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if job.reads else "BEGIN")
                tx.send(*job.settings)
                result = job.work(tx)
                if job.reads:
                    job.answer.set_result(result)  # nobody need wait for its end
                job.committing = not job.reads
                end = tx.send("COMMIT")
            if end.statusmessage != "COMMIT":
                raise psycopg.InternalError("the transaction was undone: a statement of it had failed")
        except BaseException as error:
            standby = isinstance(error, psycopg.Error) and error.sqlstate == "25006"  # it was the primary
            if standby or not undo(connection):
                threads.discard(connection)
            raise
        if not job.reads:
            job.answer.set_result(result)
