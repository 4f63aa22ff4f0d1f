"""Two connections to PostgreSQL at once: one stands still in the middle of its rule while the other runs its own."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from inturn.journal.store.postgres_transaction import Connection, Cursor, PostgresTransaction
from tests.support.processes.postgres import PostgresServer
from tests.support.waiting import eventually

Rule = Callable[[PostgresTransaction], Any]


class Duel:
    """`with Duel(server) as duel:` on a journal of its own.

    Args:
        unlocked: Tables whose rows no rule locks here: what the locks are for is to be seen.
    """

    def __init__(self, server: PostgresServer, *unlocked: str) -> None:
        self._server = server
        self._unlocked = unlocked
        self._stack = ExitStack()

    def __enter__(self) -> Duel:
        self._database = self._server.create()
        self._stack.callback(self._server.drop, self._database)
        self.watch = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _connect(self) -> Connection:
        connection = self._server.connect(self._database)
        self._stack.callback(connection.close)
        return connection

    def lock_all(self) -> None:
        """Have rules lock all rows again."""
        self._unlocked = ()

    def run(self, rule: Rule) -> Any:
        """Run a rule alone, and return what it gave."""
        return _transact(_Tx(self.watch, self._unlocked), rule)

    def fight(self, first: Rule, pause: str, second: Rule) -> tuple[Any, Any]:
        """Run one rule up to a statement, then the other to its end or to a lock, then the first one on.

        Returns:
            What both gave; where one was undone, its error.
        """
        stopped = _Tx(self._connect(), self._unlocked, pause)
        other = _Tx(self._connect(), self._unlocked)
        one, two = _Fighter(stopped, first), _Fighter(other, second)
        one.start()
        assert stopped.reached.wait(10), f"it never came to {pause!r}: {one.gave!r}"
        two.start()
        eventually(lambda: not two.is_alive() or self._waits(other), within=5)
        stopped.go.set()
        one.join(10)
        two.join(10)
        return one.gave, two.gave

    def _waits(self, tx: _Tx) -> bool:
        [(blocked,)] = self.watch.execute("SELECT cardinality(pg_blocking_pids($1::int))", (tx.pid,)).fetchall()
        return bool(blocked)


class _Tx(PostgresTransaction):
    """A transaction that stands still before a statement, and may lock no rows of some tables."""

    def __init__(self, connection: Connection, unlocked: tuple[str, ...], pause: str = "") -> None:
        super().__init__(connection)
        self.connection, self.pid = connection, connection.info.backend_pid
        self._unlocked, self._pause = unlocked, pause
        self.reached, self.go = threading.Event(), threading.Event()

    def send(self, sql: str, parameters: Any = ()) -> Cursor:
        if self._pause and not self.reached.is_set() and re.search(self._pause, sql):
            self.reached.set()
            assert self.go.wait(5)
        return super().send(_unlocked(sql, self._unlocked), parameters)


class _Fighter(threading.Thread):
    def __init__(self, tx: _Tx, rule: Rule) -> None:
        super().__init__(daemon=True)
        self._tx, self._rule = tx, rule
        self.gave: Any = None

    def run(self) -> None:
        try:
            self.gave = _transact(self._tx, self._rule)
        except Exception as error:
            self.gave = error
            self._tx.reached.set()


def _transact(tx: _Tx, rule: Rule) -> Any:
    with tx.connection.transaction():
        return rule(tx)


def _unlocked(sql: str, tables: tuple[str, ...]) -> str:
    """Return a statement that locks nothing of these tables, and sweeps without a second look."""
    if sql.startswith("DELETE FROM") and "SKIP LOCKED" in sql and any(f"FROM {table} " in sql for table in tables):
        return re.sub(r"FOR UPDATE SKIP LOCKED\) AND (.*)", r") AND (\1 OR true)", sql)
    if any(re.search(rf"FROM {table}\b", sql) for table in tables):
        return re.sub(r"FOR UPDATE( OF sessions)?", "", sql)
    return sql
