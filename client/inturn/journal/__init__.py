"""The journal: the append-only log of each session, and the ledger that makes each step happen once.

Importing this loads no SQL; opening a journal does.

Invariant: `seq` is assigned inside the transaction that appends, so readers see every entry, in order, without gaps.
"""

import os
from typing import TYPE_CHECKING, Any

from inturn.errors import Misconfigured
from inturn.journal.limits.requests import Deadlock, Place, ResourceWait, Victim, Want
from inturn.journal.values import (
    AnswerLost,
    Attempts,
    Claim,
    ClaimStatus,
    DeltaRow,
    Ending,
    FailureClass,
    JournalBehind,
    NewDelta,
    NewEntry,
    News,
    Outcome,
    Position,
    Recorded,
    Resolution,
    Serving,
    Spent,
    Superseded,
    Written,
    new_token,
)

if TYPE_CHECKING:
    from inturn.journal.journal import Journal
    from inturn.journal.reader import SessionJournal
    from inturn.journal.store.store import Store

__all__ = [
    "AnswerLost",
    "Attempts",
    "Claim",
    "ClaimStatus",
    "Deadlock",
    "DeltaRow",
    "Ending",
    "FailureClass",
    "Journal",
    "JournalBehind",
    "NewDelta",
    "NewEntry",
    "News",
    "Outcome",
    "Place",
    "Position",
    "Recorded",
    "Resolution",
    "ResourceWait",
    "Serving",
    "SessionJournal",
    "Spent",
    "Superseded",
    "Victim",
    "Want",
    "Written",
    "new_token",
    "open_journal",
    "open_sealed",
    "open_store",
    "shown",
]


def __getattr__(name: str) -> Any:
    if name in ("Journal", "SessionJournal"):
        from inturn.journal import journal

        return getattr(journal, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_journal(url: str) -> "Journal":
    """Return the journal that a URL names; `await journal.open()` (or the first use) connects.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user:password@host:port/database`.

    Raises:
        Misconfigured: The URL names no journal, or what its database needs is not installed, or the keys of
            `INTURN_ENCRYPTION_KEYS` cannot be read.
    """
    from inturn.journal.journal import Journal

    return Journal(open_sealed(url))


def open_sealed(url: str) -> "Store":
    """Return the database that a journal's URL names, with the keys of `INTURN_ENCRYPTION_KEYS`.

    Raises:
        Misconfigured: As `open_journal`.
    """
    from inturn.encryption.columns import Sealing
    from inturn.encryption.keys import read_keys
    from inturn.journal.store.sealed import SealedStore

    store, ring = open_store(url), read_keys()
    return store if ring is None else SealedStore(store, Sealing(ring))


def open_store(url: str) -> "Store":
    """Return the database that a journal's URL names; what it holds may be sealed.

    Raises:
        Misconfigured: The URL names no journal, or what its database needs is not installed.
    """
    from inturn.journal.store.sqlite import SqliteStore

    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SqliteStore(rest[1:])
    if separator and scheme in ("postgresql", "postgres"):
        return _postgres(url)
    # Not the URL itself: it may hold a password.
    raise Misconfigured(
        "a journal's URL begins with sqlite:///FILE (relative), sqlite:////FILE (absolute) or "
        f"postgresql://USER@HOST/DATABASE, not with {scheme[:20]!r}"
    )


def shown(url: str) -> str:
    """Return what may be shown of a journal's URL.

    Raises:
        Misconfigured: The URL names no journal.
    """
    from inturn.journal.store.postgres_url import parse

    scheme, _, rest = url.partition("://")
    return f"sqlite:///{os.path.abspath(rest[1:])}" if scheme == "sqlite" else parse(url).name


def _postgres(url: str) -> "Store":
    try:
        from inturn.journal.store.postgres import PostgresStore
    except ImportError as error:
        raise Misconfigured(
            f"a journal on PostgreSQL needs psycopg ({error}). Run: pip install 'inturn[postgres]'"
        ) from error
    from inturn.journal.store.postgres_url import parse

    return PostgresStore(parse(url))
