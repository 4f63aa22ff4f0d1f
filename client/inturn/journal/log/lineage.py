"""Whose entries a session's log goes on from, where the session was forked from another one.

Invariant: a fork has none of its parent's entries. Its own begin behind the last one that it shares, with the seq after
that one's, and are chained to that one's hash; so what is read through is what the parent's chain holds, and never
anything that the parent's says later.
"""

from __future__ import annotations

from typing import Final

from inturn.journal.log import rewriting
from inturn.journal.store.store import Statement, Transaction
from inturn.keys import SessionKey

ENDLESS: Final = 2**63 - 1
"""What no seq reaches."""
MAX_DEPTH: Final = 16
"""Sessions that one log goes through at most, itself among them."""

Part = tuple[SessionKey, int]
"""A session, and the seq up to which its entries are read."""


def finding(session: SessionKey) -> Statement:
    """Return the statement that reads where a session was forked."""
    where = (session.tenant, session.session_id)
    return "SELECT parent, upto FROM forks WHERE tenant = ? AND session = ?", where


def parts(tx: Transaction, session: SessionKey) -> list[Part]:
    """Return the sessions that a log goes through, the oldest first; itself alone where it was not forked."""
    found: list[Part] = [(session, ENDLESS)]
    while len(found) <= MAX_DEPTH and (rows := tx.execute(*finding(found[0][0]))):
        [(parent, upto)] = rows
        found.insert(0, (SessionKey(session.tenant, parent), int(upto)))
    return found


def forks_of(tx: Transaction, session: SessionKey) -> list[str]:
    """Return the first of the sessions that read through to one, by their ids."""
    rows = tx.execute(
        "SELECT session FROM forks WHERE tenant = ? AND parent = ? ORDER BY session LIMIT 3",
        (session.tenant, session.session_id),
    )
    return [str(fork) for (fork,) in rows]


def anchor(tx: Transaction, session: SessionKey) -> tuple[int, str] | None:
    """Return the seq and the hash that a fork's own entries begin behind; `None`: it is no fork.

    A parent that was encrypted anew has another chain: it is known by what it was.
    """
    rows = tx.execute(*finding(session))
    if not rows:
        return None
    parent, upto = SessionKey(session.tenant, str(rows[0][0])), int(rows[0][1])
    here = rewriting.hash_at(tx, parent, upto) or ""
    named = tx.execute(
        "SELECT prev FROM entries WHERE tenant = ? AND session = ? AND seq = ?",
        (session.tenant, session.session_id, upto + 1),
    )
    prev = str(named[0][0]) if named else ""
    was = prev[: rewriting.SEAL]
    known = here and was and any(old.seal(upto) == was for old in rewriting.chains(tx, parent))
    return upto, prev if known else here
