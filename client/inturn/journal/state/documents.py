"""What a tenant's agents remember: documents with versions.

Invariant: a version is given once, and a document is changed only at the version that its writer knows; so nobody
overwrites what they have not read. One that was removed keeps its row for a day, for its version.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from inturn import sizes
from inturn.errors import VersionConflict
from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Transaction
from inturn.keys import ID_PATTERN, is_id
from inturn.values import Document, DocumentInfo

MOST: Final = 1_000
"""Documents of a tenant."""
REMEMBER_FOR: Final = 24 * 3600.0
"""Seconds for which a document that is gone keeps its version."""
_TEXT: Final = "documents.text"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEY: Final = "tenant = ? AND name = ?"
_LAST: Final = "~"
"""Behind every character of a name."""


class Changed(VersionConflict):
    """Somebody else has written the document since.

    Attributes:
        newest: What it says now; `None`: it is gone.
    """

    def __init__(self, text: str, newest: Document | None) -> None:
        """Tell what it says now."""
        super().__init__(text)
        self.newest = newest


class Full(ValueError):
    """The tenant has as many documents as it may have."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document's row. `text` is `None` where it was removed; `writer` names the change that was made last."""

    version: int
    text: str | None
    at: int
    writer: str = ""

    @property
    def current(self) -> int:
        """The version of what is there, 0 for nothing."""
        return 0 if self.text is None else self.version


def check(name: object, text: object = "") -> None:
    """Check a document's name and text.

    Raises:
        ValueError: It cannot be kept.
    """
    if not is_id(name):
        raise ValueError(f"document {name!r:.200} does not match {ID_PATTERN}")
    if not isinstance(text, str):
        raise ValueError(f"document {name}: its text is {type(text).__name__}, and no str")
    size = len(text.encode(errors="replace"))
    if size > sizes.DOCUMENT:
        raise ValueError(f"document {name} would have {size:,} bytes: {sizes.DOCUMENT:,} are the most")


def listed(tx: Transaction, tenant: str, patterns: Sequence[str]) -> list[DocumentInfo]:
    """Return the documents of these names, and of these prefixes (`notes:*`), each once and in this order."""
    found: dict[str, DocumentInfo] = {}
    for pattern in patterns:
        prefix = pattern.removesuffix("*")
        where, values = (_KEY, (prefix,)) if prefix == pattern else _behind(prefix)
        rows = tx.execute(
            f"SELECT name, version, size, at FROM documents WHERE {where} AND text IS NOT NULL ORDER BY name LIMIT ?",
            (tenant, *values, MOST),
        )
        for name, version, size, at in rows:
            found.setdefault(name, DocumentInfo(name=name, version=version, size=size, at=_time(at)))
    return list(found.values())


def read(tx: Transaction, tenant: str, names: Collection[str]) -> list[Document]:
    """Return documents by their names, those that are there, in this order."""
    found: list[Document] = []
    for name in names:
        row = _row(tx, tenant, name)
        if row is not None and row.text is not None:
            found.append(_document(name, row.version, row.text, row.at))
    return found


def put(tx: Transaction, tenant: str, name: str, text: str, version: int | None, writer: str = "") -> Document:
    """Write a document; `version`: only where it is at this one (0: only where there is none).

    `writer` names the change: made again, right behind itself, it is the same one, whose answer was lost.

    Raises:
        Changed: It is at another one.
        Full: There is no room for another document.
    """
    row = _locked(tx, tenant, name)
    if row.text is not None and writer and row.writer == writer:
        return _document(name, row.version, row.text, row.at)
    _check_version(name, row, version)
    if not row.current:
        [(count,)] = tx.execute("SELECT COUNT(*) FROM documents WHERE tenant = ? AND text IS NOT NULL", (tenant,))
        if count >= MOST:
            raise Full(f"document {name} would be one of more than {MOST:,}: remove some that are not needed")
    return _written(tx, tenant, name, row.version + 1, codec.whole(text), writer)


def delete(tx: Transaction, tenant: str, name: str, version: int | None, writer: str = "") -> bool:
    """Remove a document; return whether there was one. `writer`: as for `put`.

    Raises:
        Changed: It is at another version.
    """
    row = _row(tx, tenant, name, lock=True) or Row(0, None, 0)
    if row.text is None and writer and row.writer == writer:
        return True
    _check_version(name, row, version)
    if row.text is None:
        return False
    now = micros(tx.now)
    tx.execute(
        f"UPDATE documents SET text = NULL, size = 0, writer = ?, at = ?, forget = ? WHERE {_KEY}",
        (writer, now, now + micros(REMEMBER_FOR), tenant, name),
    )
    return True


def _check_version(name: str, row: Row, version: int | None) -> None:
    if version is None or version == row.current:
        return
    there = f"is at version {row.current}" if row.current else "does not exist"
    asked = f"at version {version}" if version else "only where there is none"
    newest = None if row.text is None else _document(name, row.version, row.text, row.at)
    raise Changed(f"document {name} {there}, and was to be written {asked}", newest)


def _row(tx: Transaction, tenant: str, name: str, *, lock: bool = False) -> Row | None:
    rows = tx.execute(
        f"SELECT version, text, at, writer FROM documents WHERE {_KEY} {tx.for_update if lock else ''}", (tenant, name)
    )
    if not rows:
        return None
    version, stored, at, writer = rows[0]
    text = tx.sealing.unseal(stored, _TEXT, tenant, name)
    return Row(version, None if text is None else codec.loads(text), at, writer)


def _locked(tx: Transaction, tenant: str, name: str) -> Row:
    """Return a document's row, locked; a new one where there is none."""
    row = _row(tx, tenant, name, lock=True)
    if row is None:
        sweep(tx, "documents", "tenant, name", "forget <= ?", (micros(tx.now),))
        tx.execute(
            "INSERT INTO documents (tenant, name, version, size, writer, at, forget) VALUES (?, ?, 0, 0, '', ?, ?) "
            "ON CONFLICT DO NOTHING",
            (tenant, name, micros(tx.now), micros(tx.now + REMEMBER_FOR)),
        )
        row = _row(tx, tenant, name, lock=True)
        assert row is not None
    return row


def _written(tx: Transaction, tenant: str, name: str, version: int, text: str, writer: str) -> Document:
    size, now = len(text.encode()), micros(tx.now)
    tx.execute(
        f"UPDATE documents SET version = ?, text = ?, size = ?, writer = ?, at = ?, forget = NULL WHERE {_KEY}",
        (version, tx.sealing.seal(codec.dumps(text), _TEXT, tenant, name), size, writer, now, tenant, name),
    )
    return _document(name, version, text, now)


def _document(name: str, version: int, text: str, at: int) -> Document:
    return Document(name=name, version=version, text=text, size=len(text.encode()), at=_time(at))


def _behind(prefix: str) -> tuple[str, tuple[Any, ...]]:
    return "tenant = ? AND name >= ? AND name < ?", (prefix, prefix + _LAST)


def _time(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
