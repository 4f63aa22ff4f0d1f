"""Which journal a process has open, and which server keeps it.

Invariant: a process writes into the journal that it opened, and into no other one that was put in its place. That
another server keeps it from now on is said in the log: what was committed on the one before may be gone.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from inturn.errors import JournalUnavailable
from inturn.journal.store.postgres_transaction import TIMELINE, Connection

_WHICH: Final = f"SELECT id, (SELECT system_identifier::text FROM pg_control_system()), {TIMELINE} FROM journal_schema"
_log: Final = logging.getLogger(__name__)


class Identity:
    """What the connections of a process to one database have in common."""

    def __init__(self, name: str) -> None:
        """Know nothing yet of the database that is shown by this name."""
        self._name = name
        self._lock = threading.Lock()
        self._journal: str | None = None
        self._server: tuple[str, int] | None = None

    def confirm(self, connection: Connection) -> None:
        """Check that a new connection reaches the journal that was opened; the first one says which that is.

        Raises:
            JournalUnavailable: It is another one.
        """
        [(journal, system, timeline)] = connection.execute(_WHICH).fetchall()
        with self._lock:
            if self._journal not in (None, journal):
                raise JournalUnavailable(
                    f"journal {self._name}: the database was replaced by another one while it was in use. "
                    "To do: put it back, or restart what uses it"
                )
            before, self._journal, self._server = self._server, str(journal), (str(system), int(timeline))
        if before not in (None, self._server):
            _log.warning("journal %s: %s keeps it now, %s did", self._name, _named(self._server), _named(before))


def _named(server: tuple[str, int] | None) -> str:
    return "nobody" if server is None else f"system {server[0]}, timeline {server[1]}"
