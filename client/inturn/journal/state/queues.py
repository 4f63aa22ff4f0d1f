"""Queues with leased claims.

Invariant: items are claimed in the order in which they were pushed, each by one claim at a time. An item whose claim
was given back, or whose lease ran out, is the first again by its old place; only its latest claim can complete it.
"""

from __future__ import annotations

import os
from typing import Any, Final

from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.state.changes import ClaimNext, Complete, Done, Push, Release, Scope
from inturn.journal.store.store import Transaction

_QUEUE: Final = "tenant = ? AND session = ? AND queue = ?"
_ITEM: Final = "queue_items.item"
_CLAIMED: Final = f"{_QUEUE} AND seq = ? AND token = ?"


def push(tx: Transaction, scope: Scope, change: Push) -> Done:
    """Put an item at the end."""
    where = (scope.tenant, scope.session_id, change.name)
    [(seq,)] = tx.execute(
        "INSERT INTO queues (tenant, session, queue, last) VALUES (?, ?, ?, 1) "
        "ON CONFLICT (tenant, session, queue) DO UPDATE SET last = queues.last + 1 RETURNING last",
        where,
    )
    tx.execute(
        "INSERT INTO queue_items (tenant, session, queue, seq, item, token, lease_until, claims) "
        "VALUES (?, ?, ?, ?, ?, '', 0, 0)",
        (*where, seq, tx.sealing.seal(change.text, _ITEM, *where, seq)),
    )
    return Done()


def claim(tx: Transaction, scope: Scope, change: ClaimNext) -> Done:
    """Claim the first free item. That is never final: the lease ends, and the item is another's."""
    where = (scope.tenant, scope.session_id, change.name)
    if not _locked(tx, scope, change):
        return Done(final=False)
    now = micros(tx.now)
    rows = tx.execute(
        f"SELECT seq, item, claims FROM queue_items WHERE {_QUEUE} AND lease_until <= ? ORDER BY seq LIMIT 1",
        (*where, now),
    )
    if not rows:
        return Done(final=False)
    [(seq, item, claims)] = rows
    token, until = os.urandom(8).hex(), now + micros(change.lease)
    tx.execute(
        f"UPDATE queue_items SET token = ?, lease_until = ?, claims = ? WHERE {_QUEUE} AND seq = ?",
        (token, until, claims + 1, *where, seq),
    )
    claimed = {
        "queue": change.name,
        "item": codec.loads(tx.sealing.unseal(str(item), _ITEM, *where, seq)),
        "claims": claims + 1,
        "until": until / 1e6,
    }
    return Done({**claimed, "seq": seq, "token": token}, final=False)


def renew(tx: Transaction, scope: Scope, change: ClaimNext, claimed: dict[str, Any]) -> Done | None:
    """Hold an earlier claim for another lease, if no other one claimed its item since."""
    if not _locked(tx, scope, change):
        return None
    until = micros(tx.now + change.lease)
    held = tx.execute(
        f"UPDATE queue_items SET lease_until = ? WHERE {_CLAIMED} RETURNING 1",
        (until, scope.tenant, scope.session_id, change.name, claimed["seq"], claimed["token"]),
    )
    return Done({**claimed, "until": until / 1e6}, final=False) if held else None


def complete(tx: Transaction, scope: Scope, change: Complete) -> Done:
    """Take a claimed item out; the queue's row goes with its last item."""
    where = (scope.tenant, scope.session_id, change.name)
    _locked(tx, scope, change)
    if not tx.execute(f"DELETE FROM queue_items WHERE {_CLAIMED} RETURNING 1", (*where, change.seq, change.token)):
        gone = f"this claim on queue {change.name!r} is over: its item was completed, released or claimed anew"
        return Done(conflict=gone, final=False)
    if not tx.execute(f"SELECT 1 FROM queue_items WHERE {_QUEUE} LIMIT 1", where):
        tx.execute(f"DELETE FROM queues WHERE {_QUEUE}", where)
    return Done()


def release(tx: Transaction, scope: Scope, change: Release) -> Done:
    """Release a claimed item; one that is not this claim's any more stays as it is.

    It is final for nobody: an attempt that gave its claim back before it failed is followed by one that claims anew.
    """
    _locked(tx, scope, change)
    tx.execute(
        f"UPDATE queue_items SET token = '', lease_until = 0 WHERE {_CLAIMED}",
        (scope.tenant, scope.session_id, change.name, change.seq, change.token),
    )
    return Done(final=False)


def _locked(tx: Transaction, scope: Scope, change: ClaimNext | Complete | Release) -> bool:
    """Lock a queue: nobody pushes, claims, renews or completes meanwhile. Return whether it has items."""
    where = (scope.tenant, scope.session_id, change.name)
    return bool(tx.execute(f"SELECT last FROM queues WHERE {_QUEUE} {tx.for_update}", where))
