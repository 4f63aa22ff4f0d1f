"""A journal's copy in another database, of either kind.

Invariant: nothing changes in the source while it is copied, and only what was read back and found the same makes it
moved: then its writers refuse. A copy that did not get so far stays marked, and no worker takes it for a journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from inturn.errors import InturnError
from inturn.journal.limits import counters
from inturn.journal.log import log
from inturn.journal.moving.tables import Table, tables
from inturn.journal.store import schema
from inturn.journal.store.store import Rows, Store, Transaction
from inturn.keys import SessionKey


class CopyFailed(InturnError):
    """The copy is not what the source is, or cannot be begun; the source is as it was."""


@dataclass(slots=True)
class Copied:
    """What was copied and compared: rows by table."""

    sessions: int = 0
    rows: dict[str, int] = field(default_factory=dict[str, int])


async def copy(source: Store, target: Store, *, name: str, tenant: str | None = None) -> Copied:
    """Copy a journal, or one tenant's part of it; return what was copied once it was read back.

    Args:
        source: The journal; who writes to it waits meanwhile.
        target: An empty one.
        name: What is shown of the target's URL; where everything was copied, the source's writers are told.
        tenant: Whose part; the source stays in use then, and nobody may use that tenant there any more.

    Raises:
        CopyFailed: The target is not empty, the source's chain is broken, or what was read back differs.
    """
    loop = asyncio.get_running_loop()

    def there(work: Callable[[Transaction], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(target.write(work), loop).result()

    def whole(tx: Transaction) -> Copied:
        tx.exclude()
        there(lambda to: begin(to, schema.database(tx)))
        for table in _moved(tenant):
            for page in table.pages(tx, tenant):
                there(partial(_put, table, page))
        there(partial(counters.number_tickets_behind, last=counters.last_ticket(tx)))
        return _finish(tx, there, name, tenant)

    copied: Copied = await source.write(whole)
    await target.close()  # its connections write into the journal that they opened, and this is another one now
    await target.open()
    return copied


async def compare(source: Store, target: Store, *, tenant: str | None = None) -> Copied:
    """Compare two journals row by row, and check the chains of both.

    Raises:
        CopyFailed: They differ.
    """
    loop = asyncio.get_running_loop()

    def there(work: Callable[[Transaction], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(target.read(work), loop).result()

    return await source.read(lambda tx: _compared(tx, there, tenant))


def _moved(tenant: str | None) -> list[Table]:
    return tables(owned=tenant is not None)


def begin(tx: Transaction, source: str) -> None:
    """Mark the target as a copy that is not finished."""
    for table in tables():
        if tx.execute(f"SELECT 1 FROM {table.name} LIMIT 1"):
            raise CopyFailed(f"the target is not empty: it has rows in {table.name}. To do: copy into a new database")
    tx.execute("UPDATE journal_schema SET copying = ?", (source,))


def _put(table: Table, page: Rows, tx: Transaction) -> None:
    table.put(tx, page)


def _finish(tx: Transaction, there: Callable[..., Any], name: str, tenant: str | None) -> Copied:
    """Read the copy back, then make it the journal: its own, or in the source's place."""
    copied = _compared(tx, there, tenant)
    if tenant is None:
        take_place(tx, there, name)
    else:
        there(lambda to: to.execute("UPDATE journal_schema SET copying = NULL"))
    return copied


def take_place(tx: Transaction, there: Callable[..., Any], name: str) -> None:
    """Make a copy the journal, in the place of this one."""
    mine = schema.database(tx)
    there(lambda to: to.execute("UPDATE journal_schema SET copying = NULL, id = ?", (mine,)))
    tx.execute("UPDATE journal_schema SET moved_to = ?", (name,))
    tx.refuse(f"the journal was moved to {name}")


def _compared(tx: Transaction, there: Callable[..., Any], tenant: str | None) -> Copied:
    copied = Copied()
    for table in _moved(tenant):
        here, copy = table.digest(tx, tenant), there(partial(table.digest, tenant=tenant))
        if here != copy:
            raise CopyFailed(f"{table.name} has {here[0]} rows here and {copy[0]} there, or others")
        copied.rows[table.name] = here[0]
    for session in sessions(tx, tenant):
        for faults in (log.verify(tx, session), there(partial(log.verify, session=session))):
            if faults:
                raise CopyFailed(f"session {session}: {faults[0]}")
        copied.sessions += 1
    return copied


def sessions(tx: Transaction, tenant: str | None) -> list[SessionKey]:
    """Return all sessions of a journal, or of one tenant."""
    where, values = ("", ()) if tenant is None else (" WHERE tenant = ?", (tenant,))
    rows = tx.execute(f"SELECT tenant, session FROM sessions{where} ORDER BY tenant, session", values)
    return [SessionKey(*row) for row in rows]
