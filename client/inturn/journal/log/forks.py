"""Forking a session: a new one that goes on from where a turn of another ended.

Invariant: both stay what they are. The parent is not written to, and notices nothing; the fork has a log, a ledger and
events of its own, so nothing that the parent did is done again or answered from it. A fork is made once: the same
again finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from inturn.errors import InvalidEvent, SessionNotFound
from inturn.journal.log import lineage, log, pruned, rewriting
from inturn.journal.log.log import Log
from inturn.journal.log.pruned import FORKED
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry
from inturn.keys import SessionKey
from inturn.values import Entry

KEY: Final = "session"
"""Of a log's first entry: it freezes an agent, or a fork has that of its parent."""
_ENDS: Final = ("turn.completed", "turn.interrupted", "turn.failed")


def fork(tx: Transaction, session: SessionKey, new: SessionKey, upto: str | None) -> Entry:
    """Make a session that goes on from the end of an event's turn; return its first entry.

    Args:
        tx: A transaction.
        session: The one that is forked.
        new: The one that is made.
        upto: The event. `None`: all that was said, or up to the last turn that has ended where one runs.

    Raises:
        SessionNotFound: There is nothing of the session here.
        InvalidEvent: It cannot be forked there, or the new one is not new.
    """
    for each in sorted((session, new), key=lambda key: (key.tenant, key.session_id)):
        tx.execute(*log.locking(tx, each))
    with log.locked(tx, new) as made:
        if made.head or made.closed:
            return _again(made, session, upto)
        began = _began(tx, session)
        seq, event_id = _latest(tx, session) if upto is None else _end(tx, session, upto)
        hash_ = rewriting.hash_at(tx, session, seq)
        if hash_ is None or began.seq > seq:
            raise InvalidEvent(f"session {session} has no turn that has ended: there is nothing to go on from")
        made.head, made.hash = seq, hash_
        body: dict[str, Any] = {"from": session.session_id, "upto": event_id, "seq": seq, "hash": hash_}
        body |= {"agent": began.body.get("agent")} | ({"latest": True} if upto is None else {})
        made.append([NewEntry(FORKED, body, key=KEY)])
        tx.execute(
            "INSERT INTO forks (tenant, session, parent, upto) VALUES (?, ?, ?, ?)",
            (new.tenant, new.session_id, session.session_id, seq),
        )
        return made.appended()[0]


def read(
    tx: Transaction, session: SessionKey, *, after: int = 0, limit: int = 500, types: Sequence[str] = ()
) -> list[Entry]:
    """Read entries in order of seq, and before a fork's own those that it shares with its parents."""
    found: list[Entry] = []
    own = log.reading(session, after=after, limit=limit, types=types)
    tx.ahead([lineage.finding(session), own])
    for part, upto in lineage.parts(tx, session):
        if after < upto and len(found) < limit:
            last = None if part == session else upto
            found += log.read(tx, part, after=after, limit=limit - len(found), types=types, upto=last)
    return found


def _began(tx: Transaction, session: SessionKey) -> Entry:
    """Return the entry that a session to be forked began with."""
    if pruned.upto(tx, session):
        raise InvalidEvent(f"session {session} was pruned: what it said is not in the journal any more")
    if not log.head(tx, session):
        raise SessionNotFound(f"the journal here has no session {session}")
    if len(lineage.parts(tx, session)) >= lineage.MAX_DEPTH:
        raise InvalidEvent(
            f"session {session} is a fork of a fork, {lineage.MAX_DEPTH} sessions deep: fork one of those before it"
        )
    began = log.keyed(tx, session, KEY)
    if began is None:
        raise InvalidEvent(f"session {session} has no turn that has ended: there is nothing to go on from")
    return began


def _latest(tx: Transaction, session: SessionKey) -> tuple[int, str | None]:
    """Return where all ends that was said, or the last turn that has ended, and whose that was."""
    head = log.head(tx, session)
    ends = log.last(tx, session, _ENDS, upto=head)
    event_id = ends.event_id if ends else None
    if _open(tx, session, head) is None:
        return head, event_id
    if ends is None or _open(tx, session, ends.seq) is not None:
        raise InvalidEvent(f"session {session} has no turn that has ended: there is nothing to go on from")
    return ends.seq, event_id


def _end(tx: Transaction, session: SessionKey, event_id: str) -> tuple[int, str]:
    """Return where an event's turn ended: its own, or the one that it joined."""
    into = log.last(tx, session, ("event.merged",), event_id=event_id)
    host = str(into.body.get("into") or event_id) if into else event_id
    ends, began = (log.last(tx, session, types, event_id=host) for types in (_ENDS, ("turn.started",)))
    if ends is None or (began and began.seq > ends.seq):
        known = began or log.last(tx, session, (), event_id=event_id)
        raise InvalidEvent(
            f"the turn of event {event_id} has not ended: fork once it has"
            if began
            else f"event {event_id} had no turn in session {session}: fork up to one that had"
            if known
            else f"session {session} has no event {event_id}; one of the session that it was forked from is that one's"
        )
    if other := _open(tx, session, ends.seq):
        raise InvalidEvent(
            f"the turn of event {other} had begun when the end of {event_id} was recorded: fork up to {other}"
        )
    return ends.seq, event_id


def _open(tx: Transaction, session: SessionKey, seq: int) -> str | None:
    """Return the event whose turn runs at a seq."""
    began = log.last(tx, session, ("turn.started",), upto=seq)
    if began is None:
        return None
    end = log.keyed(tx, session, f"{began.body.get('turn') or began.event_id}/end")
    return None if end is not None and end.seq <= seq else began.event_id


def _again(made: Log, session: SessionKey, upto: str | None) -> Entry:
    """Return the first entry of a fork that was made by the same call."""
    first = log.keyed(made.tx, made.session, KEY)
    if first is not None and first.type == FORKED and first.body.get("from") == session.session_id:
        if first.body.get("latest", False) == (upto is None) and upto in (None, first.body.get("upto")):
            return first
        raise InvalidEvent(
            f"session {made.session} was forked from {session.session_id} already, up to event {first.body.get('upto')}"
        )
    raise InvalidEvent(f"there is a session {made.session} already: a fork needs an id that was never used")
