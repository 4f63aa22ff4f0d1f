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
from inturn.journal.store.store import Statement
from inturn.journal.values import Attempts, Claim, ClaimStatus
from inturn.keys import SessionKey, StepKey
from inturn.values import Entry

MAX_CLAIM_ENTRIES: Final = 50
"""Entries that a claim returns at most: reading them holds the writer up."""
MAX_CLAIM_BYTES: Final = 1024 * 1024
"""Characters of what it found, and of what it wrote itself; one event's content has a quarter of it at most."""


def claimed(
    journal: Log,
    step: StepKey,
    row: rows.Row,
    filled: Filled,
    behind: list[Entry] | None,
    types: Sequence[str],
) -> Claim:
    """Return the answer to a model step's claim; `behind`: what was behind its caller's seq before it."""
    found = replace(answer("claimed", journal, row), token=row.token, apart=tuple(filled.apart))
    watched = journal.watched_until > micros(journal.tx.now)
    return replace(found, entries=_with_appended(journal, behind, types), watched=watched)


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


def reading(session: SessionKey, after: int | None, types: Sequence[str]) -> list[Statement]:
    """Return the statement that reads what a claim brings; none where nothing was asked for."""
    if after is None:
        return []
    limit = MAX_CLAIM_ENTRIES + 1
    return [log.reading_behind(session, after=after, limit=limit, most=MAX_CLAIM_BYTES, types=types)]


def behind(journal: Log, after: int | None, types: Sequence[str]) -> list[Entry] | None:
    """Return what is behind the seq up to which a claim's caller has read; `None`: too much, or not asked for.

    Before anything is appended: it was sent ahead.
    """
    if after is None:
        return None
    if after == journal.head:
        return []  # nobody else wrote meanwhile
    [statement] = reading(journal.session, after, types)
    return log.read_behind(journal.tx, journal.session, statement, most=MAX_CLAIM_BYTES)


def _with_appended(journal: Log, behind: list[Entry] | None, types: Sequence[str]) -> tuple[Entry, ...] | None:
    """Return what was behind, with what the claim itself appended: it need not be read."""
    if behind is None:
        return None
    found = (*behind, *journal.appended(types))
    much = len(found) > MAX_CLAIM_ENTRIES or sum(len(row[8]) for row in journal.written) > MAX_CLAIM_BYTES
    return None if much else found
