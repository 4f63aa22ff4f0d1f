"""A journal's copy under the first of its keys: of one that was in clear, or to be rid of a key.

Invariant: what is read in the copy is what is read in the source. Its chain covers what is stored, so it is another
one; each session's log says which it was (`log.rewriting`), and the session goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from inturn.encryption.columns import CLEAR, COLUMNS, Sealing, key_of
from inturn.journal.log import lineage, log, position, pruned, rewriting
from inturn.journal.log.rewriting import Rewritten
from inturn.journal.moving.copying import Copied, CopyFailed, begin, sessions, take_place
from inturn.journal.moving.tables import Table, tables
from inturn.journal.store import schema
from inturn.journal.store.pages import pages
from inturn.journal.store.store import Rows, Store, Transaction
from inturn.keys import SessionKey

Row = dict[str, Any]


async def reencrypt(source: Store, target: Store, sealing: Sealing, *, name: str) -> Copied:
    """Copy a journal into an empty one, encrypted; return what was copied.

    Args:
        source: The journal; who writes to it waits meanwhile, and is told where it is at the end.
        target: An empty one.
        sealing: With all keys of the source, the one to encrypt with first.
        name: What is shown of the target's URL.

    Raises:
        CopyFailed: The target is not empty, or a chain of hashes is broken.
        JournalUnavailable: A key of the source is missing.
    """
    loop = asyncio.get_running_loop()

    def there(work: Callable[[Transaction], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(target.write(work), loop).result()

    def whole(tx: Transaction) -> Copied:
        tx.exclude()
        tx.sealing = sealing
        there(lambda to: begin(to, schema.database(tx)))
        copied, chain = Copied(), dict[SessionKey, list[str]]()
        for session in sessions(tx, None):
            if faults := log.verify(tx, session):
                raise CopyFailed(f"session {session}: {faults[0]}")
        for table in (table for table in tables() if table.name != "rewritten"):
            copied.rows[table.name] = 0
            for page in table.pages(tx, None):
                there(partial(_put, table, _resealed(table, page, sealing, chain)))
                copied.rows[table.name] += len(page)
        for session in sessions(tx, None):
            old = [*rewriting.chains(tx, session), *_chain(tx, session)]
            there(partial(_linked, session=session, chain=chain.get(session, []), sealing=sealing, old=old))
            copied.sessions += 1
        for session in chain:  # behind all links: a fork's chain is proved by its parent's
            there(partial(_check, session=session, sealing=sealing))
        take_place(tx, there, name)
        return copied

    return await source.write(whole)


def _resealed(table: Table, page: Rows, sealing: Sealing, chain: dict[SessionKey, list[str]]) -> Rows:
    rows = [dict(zip(table.columns, row, strict=True)) for row in page]
    for row in rows:
        for column in _encrypted(table):
            row[column] = _again(table, row, column, sealing)
        if table.name == "entries":
            _link(row, chain)
    return [tuple(row.values()) for row in rows]


def _encrypted(table: Table) -> list[str]:
    return [column for column in table.columns if f"{table.name}.{column}" in (*COLUMNS, "operations.what")]


def _again(table: Table, row: Row, column: str, sealing: Sealing) -> Any:
    """Return a column's value under the key that encrypts now."""
    value = row[column]
    if value is None or value == "" or (column == "result" and row.get("state") == "settled"):
        return value  # a place that is kept free; what settles a row is the same for all
    place = (f"{table.name}.{column}", *(row[part] for part in table.key if part != "gen"))
    before = sealing if key_of(value) else CLEAR
    if isinstance(value, str):
        return sealing.seal(before.unseal(value, *place), *place)
    return sealing.seal_bytes(before.unseal_bytes(bytes(value), *place), *place)


def _link(row: Row, chain: dict[SessionKey, list[str]]) -> None:
    """Give an entry its place in the chain over what is stored now."""
    session = SessionKey(row["tenant"], row["session"])
    hashes = chain.setdefault(session, [])
    row["prev"] = hashes[-1] if hashes else row["prev"]  # of a pruned log that is the last entry that went
    named = (row["key"], row["type"], row["event_id"], row["step"], row["at"])
    row["hash"] = log.entry_hash(session, row["prev"], row["seq"], *named, row["body"])
    hashes[:] = [hashes[0] if hashes else row["hash"], row["hash"]]


def _put(table: Table, rows: Rows, tx: Transaction) -> None:
    table.put(tx, rows)


def _chain(tx: Transaction, session: SessionKey) -> list[Rewritten]:
    """Return the chain that a log is now; none where it has no entry, or its first, which names it, was pruned."""
    if pruned.beginning(tx, session) is not None:
        return []
    here, seals, before = position.position(tx, session), list[str](), lineage.anchor(tx, session)
    where, values = "tenant = ? AND session = ?", (session.tenant, session.session_id)
    for rows in pages(tx, "entries", ("seq", "hash"), key=("seq",), where=where, values=values):
        seals += [hash_[: rewriting.SEAL] for _, hash_ in rows]
    return [Rewritten(here.identity, here.head, "".join(seals), before[0] if before else 0)] if seals else []


def _linked(tx: Transaction, session: SessionKey, chain: list[str], sealing: Sealing, old: Sequence[Rewritten]) -> None:
    """Note where a session's chain begins and ends, and which it was."""
    if not chain:
        return
    tx.sealing = sealing
    where = (session.tenant, session.session_id)
    tx.execute("UPDATE sessions SET hash = ? WHERE tenant = ? AND session = ?", (chain[-1], *where))
    if pruned.beginning(tx, session) is None:  # else its first entry is gone, and names it still
        tx.execute("UPDATE sessions SET first = ? WHERE tenant = ? AND session = ?", (chain[0], *where))
    for each in old:
        rewriting.note(tx, session, each)


def _check(tx: Transaction, session: SessionKey, sealing: Sealing) -> None:
    tx.sealing = sealing
    if faults := log.verify(tx, session):
        raise CopyFailed(f"session {session}: {faults[0]}")
