"""A ledger outside the system: its table `effects` is what the world saw, its table `bodies` every body that ran.

It takes each state (of `save`) and each key (of `book`) once, and everything else as often as it comes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

_SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE bodies (tool TEXT, session TEXT);
    CREATE TABLE effects (tool TEXT, session TEXT, key TEXT);
    CREATE UNIQUE INDEX one_state ON effects (session) WHERE tool = 'save';
    CREATE UNIQUE INDEX one_per_key ON effects (key) WHERE tool = 'book';
"""


def make(directory: Path) -> None:
    """Make the ledger in a directory."""
    with closing(_open(directory)) as db:
        db.executescript(_SCHEMA)


def run(directory: Path, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement."""
    with closing(_open(directory)) as db, db:
        return db.execute(sql, parameters).fetchall()


def _open(directory: Path) -> sqlite3.Connection:
    return sqlite3.connect(directory / "ledger.db", timeout=10)
