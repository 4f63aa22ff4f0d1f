"""The threads that run transactions on PostgreSQL, each with a connection of its own.

Invariant: what ends or renews a claim finds a thread that no claim can take, however many of these wait for locks.
Whoever cannot connect tries again after a pause that grows: a server that comes back is not met by all at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_identity import Identity
from inturn.journal.store.postgres_transaction import Connection
from inturn.journal.store.postgres_url import Address

RESERVED: Final = 2
"""Of a process's connections, those that only urgent work uses."""
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
"""Seconds between tries to connect."""


class Threads:
    """As many threads as an address has connections, each connected when it is first used."""

    def __init__(self, address: Address, identity: Identity) -> None:
        """Start none yet; each connection has to reach the same journal."""
        reserved = min(RESERVED, address.pool - 1)
        self._address = address
        self._identity = identity
        self._plain = ThreadPoolExecutor(address.pool - reserved, thread_name_prefix="inturn-journal")
        self._urgent = ThreadPoolExecutor(reserved, thread_name_prefix="inturn-journal") if reserved else self._plain
        self._local = threading.local()
        self._connections: set[Connection] = set()
        self._pause = 0.0
        self._not_before = 0.0

    @property
    def epoch(self) -> str:
        """What the transactions here have as their `epoch`."""
        return self._identity.epoch

    def submit(self, work: Callable[[], None], *, urgent: bool) -> None:
        """Run `work` in a thread, which calls `connection`; RuntimeError after `stop`."""
        (self._urgent if urgent else self._plain).submit(work)

    def connection(self) -> Connection:
        """Return the connection of this thread, made anew where there is none."""
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None or found.closed:
            found = self._local.connection = self._connect()
            self._connections.add(found)
        return found

    def discard(self, connection: Connection) -> None:
        """Close a connection that does not work any more."""
        connection.close()
        self._connections.discard(connection)

    def stop(self) -> None:
        """Finish what is queued, then disconnect. Blocks."""
        self._plain.shutdown()
        self._urgent.shutdown()
        while self._connections:
            self._connections.pop().close()

    def _connect(self) -> Connection:
        time.sleep(max(self._not_before - time.monotonic(), 0.0))
        try:
            found = connect(self._address)
        except psycopg.Error:
            self._pause = min(max(self._pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            self._not_before = time.monotonic() + random.uniform(0.5, 1.0) * self._pause
            raise
        self._pause = self._not_before = 0.0
        try:
            self._identity.confirm(found)
        except BaseException:
            found.close()
            raise
        return found


def undo(connection: Connection) -> bool:
    """Roll back what is open; return whether the connection can be used on."""
    with suppress(psycopg.Error):
        connection.rollback()  # and not by a statement: this forgets those whose PREPARE was undone, too
        return True
    return False


@contextmanager
def pipelined(connection: Connection) -> Generator[psycopg.Pipeline]:
    """Yield a pipeline of a connection. What breaks it off is raised, and all that follows from that is no news.

    psycopg logs a warning where a pipeline is left with an error and ends in another: so it is left without one.
    """
    broke: BaseException | None = None
    try:
        with connection.pipeline() as pipeline:
            try:
                yield pipeline
            except BaseException as error:
                broke = error
    except psycopg.Error:
        if broke is None:
            raise
    if broke is not None:
        raise broke
