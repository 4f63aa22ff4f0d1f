"""Which journal a process has open, and which server keeps it.

Invariant: a process writes into the journal that it opened, and into no other one that was put in its place. That
another server keeps it from now on is said in the log: what was committed on the one before may be gone. A server that
does not tell which one it is (some managed ones) is used all the same, and that is said as well.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import psycopg

from inturn.errors import JournalUnavailable
from inturn.journal.store.postgres_errors import is_broken, is_repeated
from inturn.journal.store.postgres_transaction import EPOCH, TIMELINE, Connection

_WHICH: Final = f"SELECT id, (SELECT system_identifier::text FROM pg_control_system()), {TIMELINE} FROM journal_schema"
_JOURNAL: Final = "SELECT id FROM journal_schema"
_NOT_TOLD: Final = (
    "journal %s: the server does not tell which one it is (%s). After a failover that takes commits back, the log does "
    "not say so, and a fence may be given twice; nothing else depends on it"
)
Server = tuple[str, int]
"""A system and its timeline."""
_log: Final = logging.getLogger(__name__)


class Identity:
    """What the connections of a process to one database have in common."""

    def __init__(self, name: str) -> None:
        """Know nothing yet of the database that is shown by this name."""
        self._name = name
        self._lock = threading.Lock()
        self._journal: str | None = None
        self._server: Server | None = None
        self._told = True

    @property
    def epoch(self) -> str:
        """What a transaction on the last connection has as its `epoch`."""
        return EPOCH if self._told else "0"

    def confirm(self, connection: Connection) -> None:
        """Check that a new connection reaches the journal that was opened; the first one says which that is.

        Raises:
            JournalUnavailable: It is another one.
        """
        journal, server, why = _asked(connection)
        with self._lock:
            if self._journal not in (None, journal):
                raise JournalUnavailable(
                    f"journal {self._name}: the database was replaced by another one while it was in use. "
                    "To do: put it back, or restart what uses it"
                )
            before, self._journal, self._server = self._server, journal, server or self._server
            news, self._told = why is not None and self._told, why is None
        if news:
            _log.warning(_NOT_TOLD, self._name, why)
        if server and before not in (None, server):
            _log.warning("journal %s: %s keeps it now, %s did", self._name, _named(server), _named(before))


def _asked(connection: Connection) -> tuple[str, Server | None, psycopg.Error | None]:
    """Return a journal's id and its server, or why the server does not tell."""
    try:
        [(journal, system, timeline)] = connection.execute(_WHICH).fetchall()
    except psycopg.Error as error:
        if is_broken(error) or is_repeated(error):
            raise
        [(journal,)] = connection.execute(_JOURNAL).fetchall()
        return str(journal), None, error
    return str(journal), (str(system), int(timeline)), None


def _named(server: Server | None) -> str:
    return "nobody" if server is None else f"system {server[0]}, timeline {server[1]}"
