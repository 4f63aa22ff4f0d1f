"""Shared state: each change once, by an attempt that still holds its call.

Invariant: the check of the attempt's token, the change and its record are one transaction. So however often a body
runs, a change of it happens once, and an attempt that lost its call changes nothing.
"""

from __future__ import annotations

from typing import assert_never

from inturn.journal.ledger import steps as ledger
from inturn.journal.state import operations, queues
from inturn.journal.state import values as shelf
from inturn.journal.state.changes import (
    Change,
    ClaimNext,
    Complete,
    Delete,
    Done,
    Incr,
    Operation,
    Push,
    Put,
    PutIfAbsent,
    Release,
    Scope,
    Update,
    describe,
)
from inturn.journal.state.operations import Place, Record
from inturn.journal.store.store import Transaction


def change(tx: Transaction, scope: Scope, change: Change, operation: Operation) -> Done | None:
    """Do a change, or give what came of it before; `None` when the attempt does not hold its call any more."""
    step, token = operation.step, operation.token
    if step is not None and token is not None and not ledger.holds(tx, step, token):
        return None
    at = _place(scope, operation)
    if at is None:
        return _do(tx, scope, change)
    what = describe(scope, change)
    before = operations.reserve(tx, at)
    if before is not None and before.stands:
        operations.check(before, at, what)
        return _again(tx, scope, change, before) or before.done
    known = _again(tx, scope, change, before) if before is not None and before.what == what else None
    done = known or _do(tx, scope, change)
    if done.conflict is None or not isinstance(change, Update):
        operations.keep(tx, at, what, done)
    return done


def recall(tx: Transaction, scope: Scope, operation: Operation, what: str) -> Done | None:
    """Give what came of an operation before, where that stands."""
    at = _place(scope, operation)
    before = None if at is None else operations.find(tx, at)
    if at is None or before is None or not before.stands:
        return None
    operations.check(before, at, what)
    return before.done


def _place(scope: Scope, operation: Operation) -> Place | None:
    """Give the place of an operation's record; `None` for one that is done as often as it is asked for."""
    if operation.key is not None:
        return Place((scope.tenant, scope.session_id, "~key", operation.key, ledger.NO_CALL), 0, keyed=True)
    return None if operation.step is None else Place(ledger._key(operation.step), operation.ordinal, keyed=False)


def _again(tx: Transaction, scope: Scope, change: Change, before: Record) -> Done | None:
    """Take up an earlier attempt's claim, as long as nobody else has its item."""
    if isinstance(change, ClaimNext) and before.done.value is not None:
        return queues.renew(tx, scope, change, before.done.value)
    return None


def _do(tx: Transaction, scope: Scope, change: Change) -> Done:
    match change:
        case Incr():
            return shelf.incr(tx, scope, change)
        case Put():
            return shelf.put(tx, scope, change)
        case Update():
            return shelf.update(tx, scope, change)
        case PutIfAbsent():
            return shelf.put_if_absent(tx, scope, change)
        case Delete():
            return shelf.delete(tx, scope, change)
        case Push():
            return queues.push(tx, scope, change)
        case ClaimNext():
            return queues.claim(tx, scope, change)
        case Complete():
            return queues.complete(tx, scope, change)
        case Release():
            return queues.release(tx, scope, change)
        case _:
            assert_never(change)
