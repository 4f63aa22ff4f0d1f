"""Deleting what was said in sessions that ended long ago, beside workers at work.

Invariant: a session is exported first, then its log says what goes, then its rows go, a few in a transaction. Whoever
is killed in between has lost nothing, and the next run goes on where that one ended.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from inturn.encryption.columns import key_of
from inturn.journal.log import log, position, pruned
from inturn.journal.log.log import Log
from inturn.journal.pruning import exports
from inturn.journal.pruning.doomed import doomed
from inturn.journal.pruning.due import Due, due, still_due
from inturn.journal.pruning.exports import Export
from inturn.journal.store.store import Store, Transaction
from inturn.journal.values import NewEntry
from inturn.journal.views import outcomes
from inturn.keys import SessionKey

_FIRST: Final = 50
_MOST: Final = 1000
_LEAST: Final = 5
"""Rows that one transaction deletes."""
_TAKES: Final = 0.05
"""Seconds that it should take: for so long others who write wait."""


async def now(store: Store) -> float:
    """Return the journal's time, in seconds since 1970."""
    return await store.read(lambda tx: tx.now)


async def find(store: Store, before: float, tenant: str | None = None) -> AsyncIterator[Due]:
    """Yield the closed sessions that were touched last before a time, in order of their names."""
    after: SessionKey | None = SessionKey("", "")
    while after is not None:
        found, after = await store.read(partial(due, before=before, after=after, tenant=tenant))
        for session in found:
            yield session


async def prune(
    store: Store, known: Due, *, export: Path | None, by: str | None, progress: Callable[[int], None]
) -> int | None:
    """Prune a session; return how many rows went, `None` where it is not as it was found.

    Args:
        store: The journal's.
        known: The session, as `find` found it.
        export: The directory to export it to before; `None`: what it says is gone then.
        by: Who decided, for the entry that stays.
        progress: Called with the number of rows that went, again and again.

    Raises:
        ExportFailed: It could not be exported; nothing was deleted.
    """
    if not known.marked:
        made = None
        if export is not None:
            made = await store.read(lambda tx: exports.write(tx, known.session, known.head, export))
        if not await store.write(partial(mark, known=known, export=made, by=by)):
            return None
    return await _delete(store, known.session, progress)


def mark(tx: Transaction, known: Due, export: Export | None, by: str | None) -> bool:
    """Have a session's log say what goes from now on; return whether the session is still as it was found."""
    with log.locked(tx, known.session) as journal:
        if not still_due(journal, known):
            return False
        _check_keys(journal)
        journal.append([NewEntry(pruned.PRUNED, _said(journal, export, by), key=pruned.key_of(journal.head))])
    return True


def delete(tx: Transaction, session: SessionKey, limit: int) -> int:
    """Delete some rows of what a session's log says that goes; return how many."""
    with log.locked(tx, session) as journal:
        upto = pruned.upto(tx, session)
        if not (journal.closed and upto):
            return 0
        gone = 0
        for each in doomed(tx, session, upto):
            if gone < limit:
                gone += each.delete(tx, limit - gone)
        return gone


def _check_keys(journal: Log) -> None:
    """Check that what is about to be written is encrypted where the log is, and only there.

    Raises:
        JournalUnavailable: There are keys for a log in clear, or none for one that is encrypted.
    """
    tx, where = journal.tx, (journal.session.tenant, journal.session.session_id, journal.head)
    [(body,)] = tx.execute("SELECT body FROM entries WHERE tenant = ? AND session = ? AND seq = ?", where)
    if (key_of(body) is not None) != tx.sealing.on:
        tx.sealing.unseal(body, "entries.body", *where)


def _said(journal: Log, export: Export | None, by: str | None) -> dict[str, object]:
    file = export and {"file": "/".join(export.path.parts[-2:]), "sha256": export.sha256, "rows": export.rows}
    body = {
        "upto": journal.head,
        "hash": journal.hash,
        "counts": dict(_counts(journal)),
        "export": file,
        "by": by,
    }
    return {name: value for name, value in body.items() if value is not None}


def _counts(journal: Log) -> Counter[str]:
    """Return how many events ended, and how; those whose outcomes went before are in the entry that says so."""
    before = position.pruned_by(journal.tx, journal.session)
    gone = before.body.get("counts") if before else None
    return Counter(gone or {}) + Counter(outcomes.counts(journal.tx, journal.session))


async def _delete(store: Store, session: SessionKey, progress: Callable[[int], None]) -> int:
    """Delete in transactions that are as short as they can be, and leave as much time to others between them."""
    total, limit = 0, _FIRST
    while True:
        began = time.monotonic()
        # A power cut may bring back what the last of them deleted; the next run takes it again.
        gone = await store.write(partial(delete, session=session, limit=limit), durable=False)
        took = max(time.monotonic() - began, 0.001)
        total += gone
        progress(total)
        if gone < limit:
            return total
        limit = max(_LEAST, min(_MOST, limit * 2, int(limit * _TAKES / took)))
        await asyncio.sleep(took)
