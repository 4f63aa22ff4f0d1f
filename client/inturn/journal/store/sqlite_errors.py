"""SQLite's errors in words: what failed, why, and what to do.

Invariant: no sqlite3 exception leaves the journal; the cause chain keeps it.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from inturn.errors import JournalUnavailable

_ADVICE: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "free space on its file system; what was accepted waits and is then recorded",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process held the database's lock for too long",
        "look for a program that keeps a transaction open on it (a database browser, a backup), and end it",
    ),
    sqlite3.SQLITE_LOCKED: (
        "another connection held a table's lock for too long",
        "look for a program that keeps a transaction open on it, and end it",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "stop its workers, keep a copy, and restore a backup (or try `sqlite3 FILE .recover`)",
    ),
    sqlite3.SQLITE_NOTADB: ("the file is not an SQLite database", "point to another file, or move this one away"),
    sqlite3.SQLITE_CANTOPEN: (
        "the file cannot be opened or made",
        "check that its directory exists and that this user may write there",
    ),
    sqlite3.SQLITE_READONLY: (
        "the file or its directory may only be read",
        "give this user the right to write both (SQLite keeps two more files beside it)",
    ),
    sqlite3.SQLITE_PERM: ("access was denied", "give this user the right to write the file and its directory"),
    sqlite3.SQLITE_IOERR: (
        "the operating system reported an input/output error",
        "check the disk and the system's log; SQLite needs a local file system, not a network share",
    ),
}
_OTHERWISE: Final = ("SQLite reported an error", "see the cause; if it stays, report it with this message")


def is_lock(error: sqlite3.Error) -> bool:
    """Return whether another's lock was in the way, so that waiting may help."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def has_no_tables(error: sqlite3.Error) -> bool:
    """Return whether the database is there, but has no journal yet."""
    return "no such table" in str(error)


def unavailable(error: sqlite3.Error, path: str) -> JournalUnavailable:
    """Return the error that callers see, with `error` as its cause."""
    why, remedy = _ADVICE.get(_code(error), _OTHERWISE)
    made = JournalUnavailable(f"journal {path}: {why} ({error}). To do: {remedy}")
    made.__cause__ = error
    return made


def replaced(path: str) -> JournalUnavailable:
    """Return the error for a file that is not the one that was opened."""
    return JournalUnavailable(
        f"journal {path}: the file was removed or replaced while it was in use. "
        "To do: put it back (with its -wal and -shm files), or restart what uses it"
    )


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code, the rest tells variants apart. Errors of the Python module itself have none.
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
