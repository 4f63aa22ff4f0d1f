"""PostgreSQL's errors in words: what failed, why, and what to do.

Invariant: no psycopg exception leaves the journal; the cause chain keeps it. What is shown of one names no password.
"""

from __future__ import annotations

from typing import Final

import psycopg

from inturn.errors import JournalUnavailable
from inturn.journal.values import AnswerLost

_REPEATED: Final = ("40P01", "40001", "57014", "55P03")
"""Deadlock, serialization failure, statement timeout, lock timeout: the transaction left no trace, and may be run
again at once."""

_POOLED: Final = (
    "a pooler gives each transaction another connection, on which its prepared statements are not",
    "put prepare=off into the journal's URL, or have the pooler keep whole sessions (pool_mode = session)",
)
_ADVICE: Final[dict[str, tuple[str, str]]] = {
    "08": ("the connection broke", "nothing, if it comes back: what was accepted waits and is then recorded"),
    "23": (
        "the journal is written by something else",
        "find out what else writes its tables, and check it: inturn journal verify",
    ),
    "25006": (
        "the server takes no writes: it is a standby, or was set read-only",
        "point to the primary (several hosts may be named: postgresql://…@host1,host2/…)",
    ),
    "26000": _POOLED,
    "28": (
        "the server refused the login",
        "check user and password (~/.pgpass keeps it out of the URL) and pg_hba.conf",
    ),
    "3D000": ("there is no such database", "make it: createdb NAME"),
    "40": (
        "other transactions were in the way, again and again",
        "look for what keeps its tables locked: pg_stat_activity",
    ),
    "42501": (
        "this role has not the rights",
        "let the tables' owner bring them up to date: inturn journal migrate URL; and GRANT SELECT, INSERT, UPDATE, "
        "DELETE on them to this role",
    ),
    "42P05": _POOLED,
    "42P01": ("a table of the journal is missing", "bring its tables up to date: inturn journal migrate URL"),
    "42P07": (
        "the database has other tables under the journal's names",
        "give the journal a database of its own: createdb NAME",
    ),
    "53100": (
        "the server's disk is full",
        "free space on its file system; what was accepted waits and is then recorded",
    ),
    "53200": ("the server is out of memory", "look at its log; fewer connections (`pool=`) or a smaller work_mem help"),
    "53300": (
        "the server has no connection left",
        "raise max_connections, or set a smaller pool= in the journal's URL, or put PgBouncer between (prepare=off)",
    ),
    "55P03": (
        "another transaction held a lock for too long",
        "look for what keeps its tables locked: pg_stat_activity",
    ),
    "57014": ("a statement took too long", "look at the server's load, and for locks: pg_stat_activity"),
    "57": (
        "the server shuts down or starts up",
        "nothing, if it comes back: what was accepted waits and is then recorded",
    ),
    "58": ("the server's operating system reported an error", "look at the server's log and its disk"),
    "XX": ("the database is damaged", "stop its workers, keep a copy, and restore a backup"),
}
"""By SQLSTATE, or by its class: the first two characters."""
_UNREACHABLE: Final = (
    "the server cannot be reached",
    "check that it runs and listens there; what was accepted waits and is then recorded",
)
_CERTIFICATE: Final = (
    "the server did not prove who it is",
    "name its certificate authority (sslrootcert=FILE in the URL) and the host as its certificate has it",
)
_OTHERWISE: Final = ("PostgreSQL reported an error", "see the cause; if it stays, report it with this message")


def is_repeated(error: psycopg.Error) -> bool:
    """Return whether the same transaction may be run again at once."""
    return error.sqlstate in _REPEATED


def is_guard(error: psycopg.Error) -> bool:
    """Return whether a guard undid the transaction."""
    return error.sqlstate == "22012"  # division by zero, which no other statement can do


def is_broken(error: psycopg.Error) -> bool:
    """Return whether the connection broke, or is of no use any more."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "25006", "25P03"))


def unavailable(error: psycopg.Error, name: str, *, committing: bool = False) -> JournalUnavailable:
    """Return the error that callers see, with `error` as its cause; `committing`: COMMIT had been sent."""
    why, remedy = _advice(error)
    said = " ".join(str(error).split())
    kind = AnswerLost if committing and is_broken(error) else JournalUnavailable
    made = kind(f"journal {name}: {why} ({said}). To do: {remedy}")
    made.__cause__ = error
    return made


def _advice(error: psycopg.Error) -> tuple[str, str]:
    state = error.sqlstate or ""
    if found := _ADVICE.get(state) or _ADVICE.get(state[:2]):
        return found
    if not isinstance(error, psycopg.OperationalError):
        return _OTHERWISE
    text = str(error)
    if "certificate" in text or "SSL" in text:
        return _CERTIFICATE
    refused = next((state for words, state in _BEFORE_LOGIN if words in text), None)
    return _ADVICE[refused] if refused else _UNREACHABLE


_BEFORE_LOGIN: Final = (
    ("too many clients", "53300"),
    ("too many connections", "53300"),
    ("connection slots are reserved", "53300"),
    ("authentication failed", "28"),
    ("no password supplied", "28"),
    ("pg_hba.conf", "28"),
    ("does not exist", "3D000"),
    ("the database system is", "57"),
    ("session is read-only", "25006"),
)
"""What libpq says where a connection is refused, for which it keeps no SQLSTATE; in the server's language."""
