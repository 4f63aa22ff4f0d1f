"""Which sessions are to be pruned.

Invariant: only a session that was closed, in which nothing has happened since a time, whose steps have ended, that no
fork of it reads and whose durable readers have read its close. What is kept for another reason than its age is named
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inturn.journal.log import lineage, pruned
from inturn.journal.log.log import Log, micros
from inturn.journal.pruning.doomed import doomed
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey

_PAGE: Final = 50
"""Sessions that are looked at in one transaction."""


@dataclass(frozen=True, slots=True)
class Due:
    """A closed session in which nothing has happened since the time asked for.

    Attributes:
        at: When it was touched last, in seconds since 1970.
        head: Its last entry.
        rows: How many rows go.
        size: About how many bytes.
        kept: Why it is kept all the same; `None`: it goes.
        marked: What goes is named by an entry already: an earlier run ended midway.
    """

    session: SessionKey
    at: float
    head: int
    rows: int
    size: int
    kept: str | None
    marked: bool


def due(tx: Transaction, before: float, after: SessionKey, tenant: str | None) -> tuple[list[Due], SessionKey | None]:
    """Return the next sessions behind one that are due, and from where to go on; `None`: there are no more.

    Args:
        tx: A transaction that reads.
        before: When they must have been touched last, in seconds since 1970.
        after: Where to begin.
        tenant: Whose sessions; `None`: everybody's.
    """
    mine, values = ("", ()) if tenant is None else ("tenant = ? AND ", (tenant,))
    rows = tx.execute(
        f"SELECT tenant, session, head FROM sessions WHERE {mine}closed = 1 AND (tenant, session) > (?, ?) "
        f"ORDER BY tenant, session LIMIT {_PAGE}",
        (*values, after.tenant, after.session_id),
    )
    found = [_judged(tx, SessionKey(tenant_, session), int(head), before) for tenant_, session, head in rows]
    last = SessionKey(*rows[-1][:2]) if len(rows) == _PAGE else None
    return [session for session in found if session is not None], last


def still_due(journal: Log, known: Due) -> bool:
    """Return whether a session, locked now, is as it was found."""
    return journal.closed and journal.head == known.head and _why(journal.tx, known.session) is None


def _judged(tx: Transaction, session: SessionKey, head: int, before: float) -> Due | None:
    last = tx.execute(
        "SELECT at, type FROM entries WHERE tenant = ? AND session = ? AND seq = ?",
        (session.tenant, session.session_id, head),
    )
    if not last:
        return Due(session, 0.0, head, 0, 0, "its last entry is missing: see inturn journal verify", marked=False)
    [(at, type_)] = last
    marked = type_ == pruned.PRUNED
    if at >= micros(before) and not marked:  # that was decided, however lately
        return None
    counts = [each.count(tx) for each in doomed(tx, session, head - 1 if marked else head)]
    rows, size = sum(count for count, _ in counts), sum(size for _, size in counts)
    if rows == 0:
        return None
    return Due(session, at / 1e6, head, rows, size, None if marked else _why(tx, session), marked)


def _why(tx: Transaction, session: SessionKey) -> str | None:
    """Return for whom a closed session is kept."""
    where = (session.tenant, session.session_id)
    if tx.execute(
        "SELECT 1 FROM steps WHERE tenant = ? AND session = ? AND state = 'open' AND lease_until > ? LIMIT 1",
        (*where, micros(tx.now)),
    ):
        return "a step of it still runs"
    if forks := lineage.forks_of(tx, session):
        return f"{forks[0]} was forked from it, and goes on from what it said"
    readers = tx.execute(
        "SELECT name, seq FROM cursors c WHERE tenant = ? AND session = ? AND EXISTS (SELECT 1 FROM entries e "
        "WHERE e.tenant = c.tenant AND e.session = c.session AND e.seq > c.seq AND e.type = 'session.closed') "
        "ORDER BY name LIMIT 1",
        where,
    )
    return f"the reader {readers[0][0]} has read no further than entry {readers[0][1]}" if readers else None
