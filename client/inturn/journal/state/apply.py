"""Shared state: each change once, by an attempt that still holds its call.

Invariant: the check of the attempt's token, the change and its record are one transaction. So however often a body
runs, a change of it happens once, and an attempt that lost its call changes nothing.
"""

from __future__ import annotations

from typing import assert_never

from inturn.journal.ledger import rows
from inturn.journal.state import operations, queues, values
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
from inturn.journal.state.operations import OperationKey, Record
from inturn.journal.store.store import Transaction


def change(tx: Transaction, scope: Scope, change: Change, operation: Operation) -> Done | None:
    """Do a change, or return what came of it before; `None` when the attempt does not hold its call any more."""
    step, token = operation.step, operation.token
    if step is not None and token is not None and not rows.holds(tx, step, token):
        return None
    at = _key_of(scope, operation)
    if at is None:
        return _do(tx, scope, change)
    what = describe(scope, change)
    before = operations.reserve(tx, at)
    if before is not None and before.final:
        operations.check(before, at, what)
        return _again(tx, scope, change, before) or before.done
    known = _again(tx, scope, change, before) if before is not None and before.what == what else None
    done = known or _do(tx, scope, change)
    if done.conflict is None or not isinstance(change, Update):
        operations.keep(tx, at, what, done)
    return done


def recall(tx: Transaction, scope: Scope, operation: Operation, what: str) -> Done | None:
    """Return what came of an operation before, where it is not to be done anew."""
    at = _key_of(scope, operation)
    before = None if at is None else operations.find(tx, at)
    if at is None or before is None or not before.final:
        return None
    operations.check(before, at, what)
    return before.done


def _key_of(scope: Scope, operation: Operation) -> OperationKey | None:
    """Return the key of an operation's record; `None` for one that is done as often as it is asked for."""
    if operation.key is not None:
        return OperationKey((scope.tenant, scope.session_id, "~key", operation.key, rows.NO_CALL), 0, keyed=True)
    return None if operation.step is None else OperationKey(rows.key_of(operation.step), operation.ordinal, keyed=False)


def _again(tx: Transaction, scope: Scope, change: Change, before: Record) -> Done | None:
    """Renew an earlier attempt's claim, as long as no other one has its item."""
    if isinstance(change, ClaimNext) and before.done.value is not None:
        return queues.renew(tx, scope, change, before.done.value)
    return None


def _do(tx: Transaction, scope: Scope, change: Change) -> Done:
    match change:
        case Incr():
            return values.incr(tx, scope, change)
        case Put():
            return values.put(tx, scope, change)
        case Update():
            return values.update(tx, scope, change)
        case PutIfAbsent():
            return values.put_if_absent(tx, scope, change)
        case Delete():
            return values.delete(tx, scope, change)
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
