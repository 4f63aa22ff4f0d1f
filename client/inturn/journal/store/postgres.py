"""The journal's store on PostgreSQL, for any number of machines.

Invariant: a transaction is one connection's from BEGIN to COMMIT, and its work is done once: what is run again is what
the server has surely undone. A COMMIT whose answer is lost is told as `JournalUnavailable`, never run again here.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

import psycopg

from inturn.errors import JournalUnavailable
from inturn.journal.store import schema
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_errors import is_repeated, unavailable
from inturn.journal.store.postgres_transaction import Connection, PostgresTransaction
from inturn.journal.store.postgres_url import Address
from inturn.journal.store.store import Transaction

T = TypeVar("T")

_TRIES: Final = 5
"""Times that a transaction is run which other ones were in the way of."""
_WRITE: Final = "BEGIN"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SETTINGS: Final = (
    "SELECT set_config('statement_timeout', '8s', true), set_config('lock_timeout', '3s', true), "
    "set_config('idle_in_transaction_session_timeout', '5s', true), set_config('synchronous_commit', ?, true)"
)
"""A statement ends before its callers' patience (10 s), and a worker that freezes gives its locks back."""


class PostgresStore:
    """A database.

    Args:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        """Name the database; nothing is connected before `open`."""
        self._address = address
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._closed = False
        self._process = os.getpid()

    async def open(self) -> None:
        """Connect, and make the tables where the database has none.

        Raises:
            JournalUnavailable: It cannot be opened, or has another schema version; the message says what to do.
        """
        await self._ready()

    async def close(self) -> None:
        """Finish what is queued and disconnect."""
        await asyncio.to_thread(self._close)

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction of its own."""
        return await self._run(work, _WRITE, durable=durable)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent snapshot."""
        return await self._run(work, _READ)

    async def version(self) -> None:
        """Return nothing: looking for it costs as much as looking at the heads."""

    async def _run(self, work: Callable[[Transaction], T], begin: str, *, durable: bool = True) -> T:
        threads, answer = await self._ready(), Future[T]()
        try:
            threads.submit(self._answer, answer, work, begin, durable)
        except RuntimeError:  # it was closed meanwhile
            raise self._is_closed() from None
        return await asyncio.shield(asyncio.wrap_future(answer))  # whoever goes away does not undo it

    async def _ready(self) -> ThreadPoolExecutor:
        if self._process != os.getpid():
            self._begin_anew()
        if self._threads is not None:
            return self._threads
        if self._closed:
            raise self._is_closed()
        return await asyncio.to_thread(self._open)

    def _begin_anew(self) -> None:
        """Connect for this process: it was forked, and threads and connections are those of its parent."""
        self._inherited = (self._threads, self._connections)  # never closed here: that would end the parent's sessions
        self._threads, self._connections, self._local = None, [], threading.local()
        self._lock, self._process = threading.Lock(), os.getpid()

    def _is_closed(self) -> JournalUnavailable:
        return JournalUnavailable(f"journal {self._address.name}: it was closed. To do: open it again")

    def _open(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                try:
                    self._prepare()
                except psycopg.Error as error:
                    raise unavailable(error, self._address.name) from error
                self._local, self._closed = threading.local(), False
                self._threads = ThreadPoolExecutor(self._address.pool, thread_name_prefix="inturn-journal")
            return self._threads

    def _close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
            self._closed = True
            if threads is not None:
                threads.shutdown()
                for connection in self._connections:
                    connection.close()
                self._connections.clear()

    def _prepare(self) -> None:
        """Check the tables, or create them in a database that has none."""
        with connect(self._address) as connection:
            tx = PostgresTransaction(connection)
            if tx.execute("SELECT to_regclass('journal_schema')")[0][0] is not None:
                return schema.check(tx)
            with connection.transaction():
                tx.execute("SELECT pg_advisory_xact_lock(hashtext('inturn-journal'))")
                schema.create(tx)
            return None

    def _answer(self, answer: Future[T], work: Callable[[Transaction], T], begin: str, durable: bool) -> None:
        """Run a transaction, and run it again where others were in its way."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._transact(answer, work, begin, durable)
            except psycopg.Error as error:
                if not tries_left or not is_repeated(error):
                    return _fail(answer, unavailable(error, self._address.name))
            except BaseException as error:
                return _fail(answer, error)
            time.sleep(random.uniform(0.001, 0.02))

    def _transact(self, answer: Future[T], work: Callable[[Transaction], T], begin: str, durable: bool) -> None:
        connection = self._connection()
        try:
            with connection.pipeline():
                tx = PostgresTransaction(connection)
                tx.send(begin)
                tx.send(_SETTINGS, ("on" if durable else "off",))
                result = work(tx)
                if begin == _READ:
                    answer.set_result(result)  # nobody need wait for its end
                end = tx.send("COMMIT")
            if end.statusmessage != "COMMIT":
                raise psycopg.InternalError("the transaction was undone: a statement of it had failed")
        except BaseException:
            self._undo(connection)
            raise
        if begin == _WRITE:
            answer.set_result(result)

    def _undo(self, connection: Connection) -> None:
        """Roll back, or forget a connection on which that is not possible any more."""
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
            return
        connection.close()
        self._local.connection = None
        with suppress(ValueError):
            self._connections.remove(connection)

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._address)
            self._connections.append(connection)
            self._local.connection = connection
        return connection


def _fail(answer: Future[T], error: BaseException) -> None:
    if not answer.done():  # a read may have been answered before its connection broke
        answer.set_exception(error)
