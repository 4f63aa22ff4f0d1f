"""Named values with versions.

Invariant: a version is given once. Each change of a name counts it up, also across a deletion or an expiry, so what
was read at a version is what a change at that version replaces.

A name that was deleted or has expired keeps its row for a day, for its version; by then no caller holds one any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.state.changes import Delete, Done, Incr, Put, PutIfAbsent, Scope, Update
from inturn.journal.store.store import Transaction

REMEMBER_FOR: Final = 24 * 3600.0
"""Seconds for which a name that is gone keeps its version."""

_VALUE: Final = "shared_values.value"
_KEY: Final = "tenant = ? AND session = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class Row:
    """A name. `text` is `None` where the value is gone."""

    version: int
    text: str | None
    expires: int | None

    @property
    def current(self) -> int:
        """The version of the value that is there, 0 for none."""
        return 0 if self.text is None else self.version

    def conflict(self, name: str, version: int | None) -> Done | None:
        """Refuse a change of another version than the one that is there."""
        if version is None or version == self.current:
            return None
        there = f"is at version {self.current}" if self.current else "does not exist"
        asked = f"at version {version}" if version else "only where there is none"
        return Done(conflict=f"{name!r} {there}, and was to be changed {asked}", final=False)


def get(tx: Transaction, scope: Scope, name: str) -> tuple[Any, int] | None:
    """Return a value with its version, where there is one."""
    row = _row(tx, scope, name)
    return None if row is None or row.text is None else (codec.loads(row.text), row.version)


def incr(tx: Transaction, scope: Scope, change: Incr) -> Done:
    """Add to a number; it keeps its expiry."""
    row = _locked(tx, scope, change.name)
    found = 0 if row.text is None else codec.loads(row.text)
    if type(found) is not int:  # a bool is one, too
        raise ValueError(f"{change.name!r} holds {found!r:.60}, which is no whole number to add to")
    total = found + change.by
    _write(tx, scope, change.name, row.version + 1, codec.dumps(total), row.expires)
    return Done(total)


def put(tx: Transaction, scope: Scope, change: Put) -> Done:
    """Replace a value; it does not expire."""
    row = _locked(tx, scope, change.name)
    return row.conflict(change.name, change.version) or _written(tx, scope, change, row, None)


def update(tx: Transaction, scope: Scope, change: Update) -> Done:
    """Replace a value that was computed from the one at this version; it keeps its expiry."""
    row = _locked(tx, scope, change.name)
    return row.conflict(change.name, change.version) or _written(tx, scope, change, row, row.expires)


def put_if_absent(tx: Transaction, scope: Scope, change: PutIfAbsent) -> Done:
    """Set a value where there is none."""
    row = _locked(tx, scope, change.name)
    if row.current:
        return Done(False, final=False)
    expires = None if change.ttl is None else micros(tx.now + change.ttl)
    _write(tx, scope, change.name, row.version + 1, change.text, expires)
    return Done(True)


def delete(tx: Transaction, scope: Scope, change: Delete) -> Done:
    """Take a value away."""
    row = _row(tx, scope, change.name, lock=True) or Row(0, None, None)
    if refused := row.conflict(change.name, change.version):
        return refused
    if row.text is None:
        return Done(False, final=False)
    _write(tx, scope, change.name, row.version, None, None)
    return Done(True)


def _row(tx: Transaction, scope: Scope, name: str, *, lock: bool = False) -> Row | None:
    rows = tx.execute(
        f"SELECT version, value, expires FROM shared_values WHERE {_KEY} {tx.for_update if lock else ''}",
        (scope.tenant, scope.session_id, name),
    )
    if not rows:
        return None
    version, stored, expires = rows[0]
    text = tx.sealing.unseal(stored, _VALUE, scope.tenant, scope.session_id, name)
    gone = expires is not None and expires <= micros(tx.now)
    return Row(version, None, None) if gone else Row(version, text, expires)


def _locked(tx: Transaction, scope: Scope, name: str) -> Row:
    """Return the name's row, locked; a new one where there is none."""
    row = _row(tx, scope, name, lock=True)
    if row is None:
        _sweep(tx)
        tx.execute(
            "INSERT INTO shared_values (tenant, session, name, version, forget) VALUES (?, ?, ?, 0, ?) "
            "ON CONFLICT DO NOTHING",
            (scope.tenant, scope.session_id, name, micros(tx.now + REMEMBER_FOR)),
        )
        row = _row(tx, scope, name, lock=True)
        assert row is not None
    return row


def _written(tx: Transaction, scope: Scope, change: Put | Update, row: Row, expires: int | None) -> Done:
    version = row.version + 1
    _write(tx, scope, change.name, version, change.text, expires)
    return Done({"value": codec.loads(change.text), "version": version})


def _write(tx: Transaction, scope: Scope, name: str, version: int, text: str | None, expires: int | None) -> None:
    where = (scope.tenant, scope.session_id, name)
    gone = micros(tx.now) if text is None else expires
    forget = None if gone is None else gone + micros(REMEMBER_FOR)
    tx.execute(
        f"UPDATE shared_values SET version = ?, value = ?, expires = ?, forget = ? WHERE {_KEY}",
        (version, tx.sealing.seal(text, _VALUE, *where), expires, forget, *where),
    )


def _sweep(tx: Transaction) -> None:
    """Remove names that are gone for long: a table that grows by one row makes room of some."""
    sweep(tx, "shared_values", "tenant, session, name", "forget <= ?", (micros(tx.now),))
