"""Deleting what was uploaded and is named by no entry: never, or not any more.

Invariant: what an entry names stays, however old it is; who names it at the same moment keeps it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from inturn.journal.log.log import micros
from inturn.journal.store.store import Store, Transaction

_AT_ONCE: Final = 5
"""Uploads that one transaction deletes: each may have 20 MiB."""
_UNNAMED: Final = (
    "at < ? AND NOT EXISTS (SELECT 1 FROM upload_uses u WHERE u.tenant = uploads.tenant AND u.ref = uploads.ref)"
)


async def find(store: Store, before: float, tenant: str | None = None) -> tuple[int, int]:
    """Return how many uploads from before a time nobody names, and their bytes."""
    return await store.read(partial(_count, before=before, tenant=tenant))


async def prune(store: Store, before: float, tenant: str | None = None) -> int:
    """Delete them; return how many."""
    total = 0
    while gone := await store.write(partial(delete, before=before, tenant=tenant), durable=False):
        total += gone
    return total


def delete(tx: Transaction, before: float, tenant: str | None, limit: int = _AT_ONCE) -> int:
    """Delete some; return how many."""
    which, values = _which(before, tenant)
    free = f"{tx.for_update} SKIP LOCKED" if tx.for_update else ""
    found = tx.execute(
        f"SELECT tenant, ref FROM uploads WHERE {which} ORDER BY tenant, ref LIMIT {limit} {free}", values
    )
    if not found:
        return 0
    # Asked again now that they are locked: an entry may have named one since the look.
    some = ", ".join(["(?, ?)"] * len(found))
    named = [part for row in found for part in row]
    gone = tx.execute(
        f"DELETE FROM uploads WHERE {which} AND (tenant, ref) IN (VALUES {some}) RETURNING 1", (*values, *named)
    )
    return len(gone)


def _count(tx: Transaction, before: float, tenant: str | None) -> tuple[int, int]:
    which, values = _which(before, tenant)
    [(count, size)] = tx.execute(f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM uploads WHERE {which}", values)
    return int(count), int(size)


def _which(before: float, tenant: str | None) -> tuple[str, tuple[Any, ...]]:
    mine, values = ("", ()) if tenant is None else ("tenant = ? AND ", (tenant,))
    return f"{mine}{_UNNAMED}", (*values, micros(before))
