"""The journal's tables as the schema declares them: their columns, and what orders their rows.

Invariant: a table that the schema gains is moved like all others; only what a crash may empty is left behind.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from inturn.journal.limits.counters import TICKETS
from inturn.journal.store import schema
from inturn.journal.store.pages import pages
from inturn.journal.store.store import Rows, Transaction

_LARGE: Final = {
    "entries": ("body",),
    "contents": ("data",),
    "steps": ("checkpoint", "result", "late_result"),
    "operations": ("result",),
    "shared_values": ("value",),
    "queue_items": ("item",),
    "documents": ("text",),
    "blobs": ("data",),
    "uploads": ("data",),
}
"""The columns that make a table's rows large."""
_OTHERWISE_KEPT: Final = {"counters": f"scope <> '{TICKETS}'"}
"""Rows that PostgreSQL has elsewhere: its tickets are numbered by a sequence."""
_DECLARED: Final = re.compile(r"CREATE TABLE (\w+) \((.*)\)", re.DOTALL)
_COLUMN: Final = re.compile(r"(?:^|,)\s*(\w+) (?:TEXT|BIGINT|DOUBLE PRECISION|\{bytes\})")
_KEY: Final = re.compile(r"PRIMARY KEY \(([^)]*)\)")


@dataclass(frozen=True)
class Table:
    """A table."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    @cached_property
    def owner(self) -> str | None:
        """The column that names whose a row is; `None`: it is nobody's alone."""
        return next((column for column in ("tenant", "scope") if column in self.columns), None)

    @property
    def large(self) -> tuple[str, ...]:
        """The columns that make its rows large."""
        return _LARGE.get(self.name, ())

    def some(self, tx: Transaction, where: str, values: tuple[Any, ...]) -> Iterator[Rows]:
        """Yield some of its rows in order of their keys."""
        return pages(tx, self.name, self.columns, key=self.key, large=self.large, where=where, values=values)

    def pages(self, tx: Transaction, tenant: str | None) -> Iterator[Rows]:
        """Yield all rows in order of their keys, or one tenant's."""
        kept = _OTHERWISE_KEPT.get(self.name, "1 = 1")
        return self.some(tx, kept, ()) if tenant is None else self.some(tx, f"{kept} AND {self.owner} = ?", (tenant,))

    def put(self, tx: Transaction, rows: Rows) -> None:
        """Insert rows."""
        insert = f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({', '.join('?' * len(self.columns))})"
        for row in rows:
            tx.execute(insert, row)

    def digest(self, tx: Transaction, tenant: str | None) -> tuple[int, str]:
        """Return how many rows there are, and a hash over all of them."""
        count, digest = 0, hashlib.sha256()
        for page in self.pages(tx, tenant):
            count += len(page)
            for row in page:  # not of the pages: another database may cut them elsewhere
                digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
        return count, digest.hexdigest()


def tables(*, owned: bool = False) -> list[Table]:
    """Return all tables in the order of the schema, or only those whose rows are somebody's."""
    found = [_table(match) for text in schema.TABLES if (match := _DECLARED.search(text))]
    return [table for table in found if table.owner or not owned]


def _table(match: re.Match[str]) -> Table:
    name, body = match.groups()
    columns = tuple(_COLUMN.findall(body))
    key = _KEY.search(body)
    return Table(name, columns, tuple(key[1].split(", ")) if key else columns[:1])
