"""Where a session's log stands, and whether it is the one that its workflow knows.

Invariant: a log is known by the hash of its first entry, and by its head: it moves with its entries, to whatever
database they are copied or restored; one that was encrypted anew is known by what it was, too. One that is another, or
ends before what the workflow has seen, takes no step of the session until somebody accepts that; what is missing is
then said in an entry.
"""

from __future__ import annotations

from typing import Final

from inturn.journal.log import log, pruned, rewriting
from inturn.journal.log.log import Log
from inturn.journal.store.store import Transaction
from inturn.journal.values import JournalBehind, NewEntry, Position
from inturn.keys import SessionKey
from inturn.values import Entry

GAP: Final = "session.gap"
KIND: Final = "journal"
"""What an accepted entry's body has for `kind`; gaps in a source's sequence have none."""
_SHORT: Final = 12
_SEAL: Final = rewriting.SEAL
"""Hex digits of a hash that travel with the session: they cost each turn its bytes."""


def position(tx: Transaction, session: SessionKey) -> Position:
    """Return where a session's log stands."""
    where = (session.tenant, session.session_id)
    rows = tx.execute("SELECT head, hash, first FROM sessions WHERE tenant = ? AND session = ?", where)
    return _position(*rows[0]) if rows else Position()


def reached(journal: Log) -> Position:
    """Return where a log stands that is locked."""
    return _position(journal.head, journal.hash, journal.first)


def confirm(journal: Log, seen: Position | None) -> None:
    """Check that a log is the workflow's own, up to what that has seen; `None`: it has seen none.

    Raises:
        JournalBehind: It is another, or behind. Whether somebody accepted it, `check` says.
    """
    here = reached(journal)
    if seen is not None and not _covers(here, seen.identity, seen.head):
        raise JournalBehind(_what(journal.session, here, seen.identity, seen.head))


def seal(tx: Transaction, session: SessionKey, seq: int) -> str | None:
    """Return the beginning of an entry's hash, which covers all entries up to it; `None` where there is no such."""
    found = rewriting.hash_at(tx, session, seq)
    return None if found is None else found[:_SEAL]


def sealed(tx: Transaction, session: SessionKey, identity: str, seq: int) -> str | None:
    """Return the seal of an entry in the chain that a workflow knows: this one, or what it was; `None`: neither."""
    if position(tx, session).identity == identity:
        return seal(tx, session, seq)
    old = rewriting.find(tx, session, identity)
    return old.seal(seq) if old else None


def known(tx: Transaction, session: SessionKey, identity: str) -> bool:
    """Return whether the log is the one of this identity, or that one encrypted anew."""
    return position(tx, session).identity == identity or rewriting.find(tx, session, identity) is not None


def pruned_by(tx: Transaction, session: SessionKey) -> Entry | None:
    """Return the entry that says what of a session was pruned; `None`: nothing was."""
    upto = pruned.upto(tx, session)
    return log.keyed(tx, session, pruned.key_of(upto)) if upto else None


def check(tx: Transaction, session: SessionKey, identity: str, head: int) -> bool:
    """Return whether the log is another than the workflow's (or behind) and may be taken for it.

    Raises:
        JournalBehind: It is another, or behind, and nobody accepted it.
    """
    here = position(tx, session)
    if _covers(here, identity, head):
        return False
    if not _accepted(tx, session, identity, head):
        raise JournalBehind(_what(session, here, identity, head))
    return True


def accept(
    tx: Transaction, session: SessionKey, identity: str, head: int, *, by: str | None, reason: str | None
) -> bool:
    """Have the session go on with this log; return whether that was needed. The entry says what is missing."""
    with log.locked(tx, session) as journal:
        here = reached(journal)
        if _covers(here, identity, head):
            return False
        if not _accepted(tx, session, identity, head):
            body = {"kind": KIND, "from": here.head, "to": head, "journal": identity, "by": by, "reason": reason}
            known = {name: value for name, value in body.items() if value is not None}
            journal.append([NewEntry(GAP, known, key=f"gap/{KIND}/{identity}/{head}")])
        return True


def _position(head: int, hash_: str, first: str) -> Position:
    return Position(first[:_SHORT], head, hash_[:_SEAL])


def _covers(here: Position, identity: str, head: int) -> bool:
    return here.identity == identity and here.head >= head


def _accepted(tx: Transaction, session: SessionKey, identity: str, head: int) -> bool:
    if log.head(tx, session) >= head and rewriting.find(tx, session, identity) is not None:
        return True
    gaps = [entry.body for entry in log.read(tx, session, types=(GAP,))]
    return any(gap.get("kind") == KIND and gap.get("journal") == identity and gap["to"] >= head for gap in gaps)


def _what(session: SessionKey, here: Position, identity: str, head: int) -> str:
    if not here.identity:
        found = f"the journal here has no entry of session {session}, which has seen {head}"
    elif here.identity != identity:
        found = f"the journal here is another than that of session {session}: it begins with other entries"
    else:
        found = f"the journal here ends at entry {here.head} of session {session}, which has seen entry {head}"
    whose = "" if session.tenant == "default" else f" --tenant {session.tenant}"
    return (
        f"{found}. No turn runs without what was said before. To do: name the journal that has it (INTURN_JOURNAL may "
        "be relative to another directory, or the file an older copy). Where that one is gone, the session goes on "
        f"without what is missing after: inturn journal accept {session.session_id}{whose}"
    )
