"""The entries of a session: appended under its head, chained by hash, never changed.

Invariant: `seq` counts up by one from 1 without gaps, each entry's hash covers the whole entry and the hash before it,
and a key occurs once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from inturn import names
from inturn.journal.log import codec, lineage, pruned, rewriting, uploads
from inturn.journal.store.pages import pages
from inturn.journal.store.store import Statement, Transaction
from inturn.journal.values import NewEntry
from inturn.keys import SessionKey
from inturn.values import Entry

GENESIS: Final = ""
"""What the first entry has for the hash before it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = "seq, key, type, event_id, step, at, body, hash, prev"
_INSERT: Final = (
    "INSERT INTO entries (tenant, session, seq, key, type, event_id, step, at, body, prev, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_MORE: Final = ", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_AT_ONCE: Final = 50
"""Entries of one INSERT."""
_BODY: Final = "entries.body"


def micros(seconds: float) -> int:
    """Return a time as it is stored: whole microseconds, so that it comes back exactly and hashes the same."""
    return round(seconds * 1_000_000)


@dataclass(slots=True)
class Log:
    """A session's log, locked for this transaction.

    Attributes:
        hash: Its last entry's.
        first: Its first entry's.
        watched_until: When the last one goes who looks at what its models say, as `watches` has it.
    """

    tx: Transaction
    session: SessionKey
    head: int
    hash: str
    first: str
    fence: int
    closed: bool
    watched_until: int = 0
    changed: bool = False
    written: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])

    def append(self, entries: Sequence[NewEntry]) -> None:
        """Append the entries whose keys are new."""
        known = {key for statement in asking(self.session, entries) for (key,) in self.tx.execute(*statement)}
        before = len(self.written)
        for entry in entries:
            key = codec.column(entry.key)
            if key is None or key not in known:
                self._append(entry, key)
                known.add(key)
        self._insert(self.written[before:])

    def appended(self, types: Sequence[str] = ()) -> list[Entry]:
        """Return what this transaction appended, or only entries of some types, as `read` does."""
        rows = ((*row[2:9], *row[10:], row[9]) for row in self.written)
        return [_entry(self.tx, self.session, row) for row in rows if not types or row[2] in types]

    def seqs_of(self, event_id: str) -> list[int]:
        """Return the seqs of what this transaction appended of an event."""
        return [row[2] for row in self.written if row[5] == event_id]

    def knows(self, key: str) -> bool:
        """Return whether an entry has this key."""
        where = (self.session.tenant, self.session.session_id, codec.column(key))
        return bool(self.tx.execute("SELECT 1 FROM entries WHERE tenant = ? AND session = ? AND key = ?", where))

    def raise_fence(self) -> int:
        """Return a fence above every one before."""
        self.fence += 1
        self.changed = True
        return self.fence

    def close(self) -> None:
        """Note that the session ended; no model step that began before can commit."""
        self.raise_fence()
        self.closed = True

    def _append(self, entry: NewEntry, key: str | None) -> None:
        seq = self.head + 1
        event_id, step = codec.column(entry.event_id), codec.column(entry.step)
        at = micros(self.tx.now if entry.at is None else entry.at)
        said = codec.dumps(uploads.settled(self.tx, self.session, entry.body))
        body = self.tx.sealing.seal(said, _BODY, self.session.tenant, self.session.session_id, seq)
        hash_ = entry_hash(self.session, self.hash, seq, key, entry.type, event_id, step, at, body)
        where = (self.session.tenant, self.session.session_id)
        self.written.append((*where, seq, key, entry.type, event_id, step, at, body, self.hash, hash_))
        self.head, self.hash, self.changed = seq, hash_, True
        self.first = self.first or hash_

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            self.tx.execute(_INSERT + _MORE * (len(some) - 1), [value for row in some for value in row])


def make(tx: Transaction, session: SessionKey) -> None:
    """Make the row of a session that may have none, before anything is read ahead behind it."""
    tx.execute(
        "INSERT INTO sessions (tenant, session, head, hash, first, fence, closed) VALUES (?, ?, 0, '', '', 0, 0) "
        "ON CONFLICT DO NOTHING",
        (session.tenant, session.session_id),
    )


def locking(tx: Transaction, session: SessionKey) -> Statement:
    """Return the statement that locks a session's row, and tells until when somebody watches it."""
    columns, of = "head, hash, first, fence, closed, until", " OF sessions" if tx.for_update else ""
    select = f"SELECT {columns} FROM sessions NATURAL LEFT JOIN watches WHERE tenant = ? AND session = ?"
    return f"{select} {tx.for_update}{of}", (session.tenant, session.session_id)


def asking(session: SessionKey, entries: Sequence[NewEntry]) -> list[Statement]:
    """Return the statement that reads which of the entries' keys are known; none where they have no keys."""
    keys = [codec.column(entry.key) for entry in entries if entry.key is not None]
    some = f"SELECT key FROM entries WHERE tenant = ? AND session = ? AND key IN ({', '.join('?' * len(keys))})"
    return [(some, (session.tenant, session.session_id, *keys))] if keys else []


@contextmanager
def locked(tx: Transaction, session: SessionKey) -> Generator[Log]:
    """Lock a session's log, and keep its new head at the end."""
    where, select = (session.tenant, session.session_id), locking(tx, session)
    rows = tx.execute(*select)
    if not rows:
        make(tx, session)
        rows = tx.execute(*select)
    head, hash_, first, fence, closed, until = rows[0]
    log = Log(tx, session, head, hash_, first, fence, bool(closed), until or 0)
    yield log
    if log.changed:
        tx.execute(
            "UPDATE sessions SET head = ?, hash = ?, first = ?, fence = ?, closed = ? WHERE tenant = ? AND session = ?",
            (log.head, log.hash, log.first, log.fence, int(log.closed), *where),
        )


def entry_hash(
    session: SessionKey,
    prev: str,
    seq: int,
    key: str | None,
    type_: str,
    event_id: str | None,
    step: str | None,
    at: int,
    body: str,
) -> str:
    """Return the hash of an entry: over the hash before it, the place and columns as JSON, and the stored body."""
    place = json.dumps([session.tenant, session.session_id, seq, key, type_, event_id, step, at])
    return hashlib.sha256(f"{prev}\n{place}\n{body}".encode()).hexdigest()


def read(
    tx: Transaction,
    session: SessionKey,
    *,
    after: int = 0,
    limit: int = 500,
    event_id: str | None = None,
    types: Sequence[str] = (),
    upto: int | None = None,
) -> list[Entry]:
    """Read entries in order of seq."""
    statement = reading(session, after=after, limit=limit, event_id=event_id, types=types, upto=upto)
    return [_entry(tx, session, row) for row in tx.execute(*statement)]


def reading(
    session: SessionKey,
    *,
    after: int = 0,
    limit: int = 1,
    event_id: str | None = None,
    types: Sequence[str] = (),
    upto: int | None = None,
    latest: bool = False,
) -> Statement:
    """Return the statement that reads entries in order of seq; the `latest` first where that is asked for."""
    where, parameters = "tenant = ? AND session = ? AND seq > ?", [session.tenant, session.session_id, after]
    if upto is not None:
        where += " AND seq <= ?"
        parameters.append(upto)
    if event_id is not None:
        where += " AND event_id = ?"
        parameters.append(event_id)
    if types:
        where += f" AND type IN ({', '.join('?' * len(types))})"
        parameters.extend(types)
    order = "seq DESC" if latest else "seq"
    return f"SELECT {_COLUMNS} FROM entries WHERE {where} ORDER BY {order} LIMIT ?", (*parameters, limit)


def last(
    tx: Transaction,
    session: SessionKey,
    types: Sequence[str],
    *,
    event_id: str | None = None,
    upto: int | None = None,
) -> Entry | None:
    """Return the last entry of some types, of an event or up to a seq; `None` where there is none."""
    rows = tx.execute(*reading(session, event_id=event_id, types=types, upto=upto, latest=True))
    return _entry(tx, session, rows[0]) if rows else None


def reading_behind(session: SessionKey, *, after: int, limit: int, most: int, types: Sequence[str] = ()) -> Statement:
    """Return the statement that reads entries behind a seq, with the characters of all; above `most` without bodies.

    One statement, so that it can be sent ahead; `limit` and `types` as for `read`.
    """
    where, parameters = "tenant = ? AND session = ? AND seq > ?", [session.tenant, session.session_id, after]
    if types:
        where += f" AND type IN ({', '.join('?' * len(types))})"
        parameters.extend(types)
    inner = f"SELECT {_COLUMNS}, LENGTH(body) AS size FROM entries WHERE {where} ORDER BY seq LIMIT ?"
    columns = _COLUMNS.replace("body", "CASE WHEN SUM(size) OVER () <= ? THEN body END")
    return f"SELECT {columns}, SUM(size) OVER () FROM ({inner}) AS behind ORDER BY seq", (most, *parameters, limit)


def read_behind(tx: Transaction, session: SessionKey, statement: Statement, *, most: int) -> list[Entry] | None:
    """Run such a statement; `None`: its entries have more than `most` characters."""
    rows = tx.execute(*statement)
    if rows and int(rows[0][-1]) > most:
        return None
    return [_entry(tx, session, row[:-1]) for row in rows]


def keyed(tx: Transaction, session: SessionKey, key: str) -> Entry | None:
    """Return the entry under a key, where there is one."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE tenant = ? AND session = ? AND key = ?",
        (session.tenant, session.session_id, codec.column(key)),
    )
    return _entry(tx, session, rows[0]) if rows else None


def head(tx: Transaction, session: SessionKey) -> int:
    """Return the last seq, 0 where there is none."""
    rows = tx.execute(
        "SELECT head FROM sessions WHERE tenant = ? AND session = ?", (session.tenant, session.session_id)
    )
    return int(rows[0][0]) if rows else 0


def heads(tx: Transaction, after: Mapping[SessionKey, int]) -> dict[SessionKey, int]:
    """Return the heads of those sessions that have entries behind the seq given for each."""
    if not after:
        return {}
    found = {SessionKey(tenant, session): last for tenant, session, last in tx.execute(*heads_of(after))}
    return {session: last for session, last in found.items() if last > after[session]}


def heads_of(sessions: Collection[SessionKey]) -> tuple[str, list[str]]:
    """Return the statement that reads the heads of these sessions, and its parameters."""
    marks = ", ".join(["(?, ?)"] * len(sessions))
    named = [name for session in sessions for name in (session.tenant, session.session_id)]
    return f"SELECT tenant, session, head FROM sessions WHERE (tenant, session) IN (VALUES {marks})", named


def latest_event(tx: Transaction, session: SessionKey) -> str | None:
    """Return the event whose turn began last."""
    rows = tx.execute(
        "SELECT event_id FROM entries WHERE tenant = ? AND session = ? AND type = 'turn.started' "
        "ORDER BY seq DESC LIMIT 1",
        (session.tenant, session.session_id),
    )
    return rows[0][0] if rows else None


def parked(tx: Transaction, session: SessionKey, limit: int) -> list[Entry]:
    """Return the latest `event.parked` entries whose events are still parked, in order of seq."""
    columns = ", ".join(f"e.{name}" for name in _COLUMNS.split(", "))
    rows = tx.execute(
        f"SELECT {columns} FROM outcomes o JOIN entries e "
        "ON e.tenant = o.tenant AND e.session = o.session AND e.key = o.turn || '/parked' "
        "WHERE o.tenant = ? AND o.session = ? AND o.disposition = 'parked' ORDER BY e.seq DESC LIMIT ?",
        (session.tenant, session.session_id, limit),
    )
    return [_entry(tx, session, row) for row in reversed(rows)]


def sealed_bytes(tx: Transaction, session: SessionKey) -> int:
    """Return the bytes of entries on signals that are parked for want of their key."""
    [(kept,)] = tx.execute(
        "SELECT coalesce(sum(length(e.body)), 0) FROM outcomes o JOIN entries e "
        "ON e.tenant = o.tenant AND e.session = o.session AND e.key = o.turn || '/parked' "
        "WHERE o.tenant = ? AND o.session = ? AND o.disposition = 'parked' AND o.event_id LIKE ?",
        (session.tenant, session.session_id, f"{names.SEALED}%"),
    )
    return int(kept)


def verify(tx: Transaction, session: SessionKey) -> list[str]:
    """Check the chain from the first entry that was not pruned to the head; name each seq that does not fit."""
    found: list[str] = []
    behind = pruned.beginning(tx, session)
    seq, hash_ = behind or lineage.anchor(tx, session) or (0, GENESIS)
    start, first = seq + 1, GENESIS
    columns = ("seq", "key", "type", "event_id", "step", "at", "body", "prev", "hash")
    where, mine = "tenant = ? AND session = ?", (session.tenant, session.session_id)
    for rows in pages(
        tx, "entries", columns, key=("seq",), large=("body",), where=f"{where} AND seq > ?", values=(*mine, seq)
    ):
        for row in rows:
            if not isinstance(row[0], int):
                found.append(f"seq {row[0]!r:.40}: is none")
                continue
            found.extend(_faults(session, row, seq, hash_))
            first = first or row[8]
            seq, hash_ = row[0], row[8]
    known = tx.execute(f"SELECT head, hash, first FROM sessions WHERE {where}", mine)
    if known and known[0][2] != first and not behind:
        found.append(f"seq {start}: is the first entry, but not the recorded one")
    if (known[0][:2] if known else (0, GENESIS)) != (seq, hash_):
        found.append(f"seq {seq}: is the last entry, but not the recorded head ({known[0][0] if known else 'none'})")
    return found + rewriting.faults(tx, session)


def _faults(session: SessionKey, row: tuple[Any, ...], before: int, hash_before: str) -> Iterator[str]:
    seq, key, type_, event_id, step, at, body, prev, stored = row
    if seq != before + 1:
        yield f"seq {before + 1}: missing" if seq == before + 2 else f"seq {before + 1} to {seq - 1}: missing"
    elif prev != hash_before:
        yield f"seq {seq}: does not follow the entry before it"
    try:
        fits = stored == entry_hash(session, prev, seq, key, type_, event_id, step, at, body)
    except (TypeError, ValueError, AttributeError):  # a column of another type than was ever written
        fits = False
    if not fits:
        yield f"seq {seq}: was changed after it was written"


def body(tx: Transaction, session: SessionKey, seq: int, stored: str) -> Any:
    """Return an entry's body, as it is stored under a seq."""
    return codec.loads(tx.sealing.unseal(stored, _BODY, session.tenant, session.session_id, seq))


def _entry(tx: Transaction, session: SessionKey, row: tuple[Any, ...]) -> Entry:
    seq, key, type_, event_id, step, at, stored, hash_, prev = row
    # Straight from our own columns: nothing to validate, and a cold transcript reads thousands.
    return Entry.model_construct(
        seq=seq,
        key=key,
        type=type_,
        event_id=event_id,
        step=step,
        at=_EPOCH + timedelta(microseconds=at),
        body=body(tx, session, seq, stored),
        hash=hash_,
        prev=prev,
    )
