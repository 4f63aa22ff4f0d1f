"""What was done beside sessions, and by whom: log-ins, schedules, refused clicks.

Invariant: it is written into a log of the tenant's own, hash-chained as every other, which no user can name and no
session has; and nothing else is written by this. A note is small, and its key counts once.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from inturn import sizes
from inturn.errors import InvalidEvent
from inturn.journal.log import log
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry
from inturn.keys import audit_log, is_id

_TYPE: Final = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)*")
_MOST: Final = 8 * 1024
"""Bytes of one note."""


def check(tenant: str, entry: NewEntry) -> None:
    """Check a note before it is written.

    Raises:
        InvalidEvent: It is none, or too large.
    """
    if not is_id(tenant):
        raise InvalidEvent(f"tenant {tenant!r:.200} is no id")
    if not (len(entry.type) <= 64 and _TYPE.fullmatch(entry.type)):
        raise InvalidEvent(f"type {entry.type!r:.100} is no entry's")
    try:
        size = sizes.written([entry.key, entry.body])
    except (ValueError, TypeError) as error:
        raise InvalidEvent(f"the note is no JSON: {error}"[:300]) from None
    if size > _MOST:
        raise InvalidEvent(f"the note has {size:,} bytes as JSON, the limit is {_MOST:,}")


def note(tx: Transaction, tenant: str, entry: NewEntry) -> int:
    """Write a note where its key is new; return the seq of the last one."""
    with log.locked(tx, audit_log(tenant)) as notes:
        notes.append([replace(entry, event_id=None, step=None, at=None)])
        return notes.head
