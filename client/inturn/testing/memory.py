"""Shared state in memory, for tools under test.

Invariant: it is the journal's own rules over a database in memory, so what a test sees is what a worker does.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from inturn.journal import Journal
from inturn.journal.store import schema
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Transaction

T = TypeVar("T")


class Memory:
    """A journal in memory that is made when it is first asked for."""

    def __init__(self) -> None:
        """Make nothing yet: most tests use no shared state."""
        self._lock = threading.Lock()
        self._journal: Journal | None = None

    async def __call__(self) -> Journal:
        """Return the journal."""
        with self._lock:
            if self._journal is None:
                self._journal = Journal(MemoryStore())
            return self._journal


class MemoryStore:
    """A database in memory, for the threads of one process."""

    def __init__(self) -> None:
        """Make it, with the current schema."""
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        schema.create(SqliteTransaction(self._connection))

    @property
    def name(self) -> str:
        """This database: no other object shares it."""
        return f"memory {id(self)}"

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """It ends with its last user."""

    async def version(self) -> None:
        """Return nothing: reading costs no more than this."""

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        """Run `work`, all or nothing."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                result = work(SqliteTransaction(self._connection))
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
            return result

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`; here that is the same."""
        return await self.write(work)
