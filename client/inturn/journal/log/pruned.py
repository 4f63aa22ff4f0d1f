"""Logs whose beginning is gone, on purpose.

Invariant: what a log lacks at its beginning, an entry `session.pruned` behind it names. It is chained to the last one
that is gone, so whoever kept an export proves it by that; and it is written before anything is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from inturn.journal.store.store import Transaction
    from inturn.keys import SessionKey

PRUNED: Final = "session.pruned"
FORKED: Final = "session.forked"
"""The type of a fork's first entry: its log begins behind one of another session's."""
CLOSES: Final = ("session.closed", PRUNED)
"""The types of entries that say that a session was closed."""
_KEY: Final = "~pruned/"
"""How their keys begin; no key that is made of an event's id does."""


def key_of(upto: int) -> str:
    """Return the key of the entry that names all entries up to a seq as gone."""
    return f"{_KEY}{upto}"


def upto(tx: Transaction, session: SessionKey) -> int:
    """Return the seq up to which a session's entries were pruned, or are being; 0 where none were."""
    rows = tx.execute(
        "SELECT seq FROM entries WHERE tenant = ? AND session = ? AND key > ? AND key < ? AND type = ? "
        "ORDER BY seq DESC LIMIT 1",
        (session.tenant, session.session_id, _KEY, _KEY + "~", PRUNED),
    )
    return int(rows[0][0]) - 1 if rows else 0


def beginning(tx: Transaction, session: SessionKey) -> tuple[int, str] | None:
    """Return the seq and the hash of the entry before a pruned log's first; `None`: all its entries should be there."""
    rows = tx.execute(
        "SELECT seq, prev FROM entries WHERE tenant = ? AND session = ? ORDER BY seq LIMIT 1",
        (session.tenant, session.session_id),
    )
    if not rows or rows[0][0] == 1 or rows[0][0] > upto(tx, session) + 1:
        return None
    return int(rows[0][0]) - 1, str(rows[0][1])
