"""What a claim of a step answers: what its row knew before, and what the log says that its caller has not read.

Invariant: an answer only tells; nothing is decided or written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

from inturn.journal.ledger import rows
from inturn.journal.log import codec, log
from inturn.journal.log.contents import Filled
from inturn.journal.log.log import Log, micros
from inturn.journal.values import Attempts, Claim, ClaimStatus
from inturn.keys import StepKey
from inturn.values import Entry

MAX_CLAIM_ENTRIES: Final = 50
"""Entries that a claim returns at most: reading them holds the writer up."""
MAX_CLAIM_BYTES: Final = 1024 * 1024
"""Characters of them, all together; one event's content has a quarter of it at most."""


def claimed(
    journal: Log,
    step: StepKey,
    row: rows.Row,
    filled: Filled,
    after: int | None,
    types: Sequence[str],
    *,
    head: int | None = None,
) -> Claim:
    """Return the answer to a model step's claim; `head`: where the log stood before it."""
    found = replace(answer("claimed", journal, row), token=row.token, apart=tuple(filled.apart))
    watched = journal.watched_until > micros(journal.tx.now)
    return replace(found, entries=_entries_behind(journal, after, types, head), watched=watched)


def answer(status: str, journal: Log, row: rows.Row | None) -> Claim:
    """Answer with what the row knew before this claim."""
    now = journal.tx.now
    known = Claim(cast("ClaimStatus", status), head=journal.head, attempts=Attempts(now=now))
    if row is None:
        return known
    return replace(
        known,
        fence=row.fence or 0,
        result=None if row.result is None else codec.loads(row.result),
        began=bool(row.began),
        lease_left=max(row.lease_until / 1e6 - now, 0.0),
        checkpoint=None if row.checkpoint is None else codec.loads(row.checkpoint),
        attempts=row.failed_attempts(now),
    )


def _entries_behind(
    journal: Log, after: int | None, types: Sequence[str], head: int | None
) -> tuple[Entry, ...] | None:
    if after is None:
        return None
    if after == head:  # nobody else wrote meanwhile: no need to read what was just written
        found = journal.appended(types)
        return None if _is_much(len(found), sum(len(row[8]) for row in journal.written)) else tuple(found)
    tx, session = journal.tx, journal.session
    if _is_much(*log.weighed(tx, session, after=after, limit=MAX_CLAIM_ENTRIES + 1, types=types)):
        return None
    return tuple(log.read(tx, session, after=after, limit=MAX_CLAIM_ENTRIES, types=types))


def _is_much(count: int, size: int) -> bool:
    return count > MAX_CLAIM_ENTRIES or size > MAX_CLAIM_BYTES
