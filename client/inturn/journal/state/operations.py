"""The record of operations on shared state, so that each is done once.

Invariant: a change and its record are one transaction, and who asks again gets the record. One thing is no end: what
changed nothing (a conflict, an empty queue, a claim that can run out), unless a later change of the same call was
built on it. Then it is final as well; else the next attempt asks anew.

A call's records go when its step ends, since no attempt follows; those of keys after `REMEMBER_FOR` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inturn.errors import ToolError
from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.state.changes import Done
from inturn.journal.store.store import Transaction
from inturn.keys import TurnKey

REMEMBER_FOR: Final = 7 * 24 * 3600.0
"""Seconds for which a key is known."""

_WHAT: Final = "operations.what"
_RESULT: Final = "operations.result"
_CALLER: Final = "tenant = ? AND session = ? AND turn = ? AND step = ? AND call = ?"
_KEY: Final = "tenant, session, turn, step, call, ordinal"

Caller = tuple[str, str, str, str, int]
"""Tenant, session, turn, step and call, as in the ledger; or tenant, session, `~key`, the key, and no call."""


@dataclass(frozen=True, slots=True)
class OperationKey:
    """What an operation's record is found by: its ordinal within a call, or its own key."""

    caller: Caller
    ordinal: int
    keyed: bool


@dataclass(frozen=True, slots=True)
class Record:
    """What an operation did. `final`: it is not done anew."""

    what: str
    done: Done
    final: bool


def reserve(tx: Transaction, at: OperationKey) -> Record | None:
    """Lock an operation's record, and return it where there is one."""
    if at.keyed:
        over = "turn = '~key' AND at <= ?"  # as the index is declared
        sweep(tx, "operations", _KEY, over, (micros(tx.now - REMEMBER_FOR),))
    tx.execute(
        "INSERT INTO operations (tenant, session, turn, step, call, ordinal, what, final, at) "
        "VALUES (?, ?, ?, ?, ?, ?, '', 0, ?) ON CONFLICT DO NOTHING",
        (*at.caller, at.ordinal, micros(tx.now)),
    )
    return find(tx, at, lock=True)


def find(tx: Transaction, at: OperationKey, *, lock: bool = False) -> Record | None:
    """Return an operation's record, where there is one."""
    rows = tx.execute(
        f"SELECT what, final, result FROM operations WHERE {_CALLER} AND ordinal = ? {tx.for_update if lock else ''}",
        (*at.caller, at.ordinal),
    )
    if not rows or rows[0][2] is None:
        return None
    [(sealed_what, final, sealed_result)] = rows
    what = tx.sealing.unseal(str(sealed_what), _WHAT, *at.caller, at.ordinal)
    value, conflict = codec.loads(tx.sealing.unseal(str(sealed_result), _RESULT, *at.caller, at.ordinal))
    return Record(what, Done(value, conflict, bool(final)), final=bool(final) or _built_on(tx, at))


def keep(tx: Transaction, at: OperationKey, what: str, done: Done) -> None:
    """Record what an operation did, in the place that was reserved."""
    tx.execute(
        f"UPDATE operations SET what = ?, final = ?, result = ? WHERE {_CALLER} AND ordinal = ?",
        (
            tx.sealing.seal(what, _WHAT, *at.caller, at.ordinal),
            int(done.final),
            tx.sealing.seal(codec.dumps([done.value, done.conflict]), _RESULT, *at.caller, at.ordinal),
            *at.caller,
            at.ordinal,
        ),
    )


def check(record: Record, at: OperationKey, what: str) -> None:
    """Refuse another operation in the place of a recorded one.

    Raises:
        ToolError: An attempt of a call does other things than the attempt before it did.
        ValueError: A key was used for something else.
    """
    if record.what == what:
        return
    if at.keyed:
        raise ValueError(f"the key {at.caller[3]!r} was used for {record.what} and cannot be used for {what}")
    raise ToolError(
        f"operation {at.ordinal} of this call was {record.what} when an earlier attempt ran it, and is {what} now. "
        "A call's operations come in the same order on every attempt; give them `key=` where they cannot"
    )


def forget(tx: Transaction, caller: Caller) -> None:
    """Remove the records of a call that has ended."""
    tx.execute(f"DELETE FROM operations WHERE {_CALLER}", caller)


def forget_turn(tx: Transaction, turn: TurnKey, number: str | None = None) -> None:
    """Remove the records of a turn whose steps are settled, or of those of one number."""
    tx.execute(
        "DELETE FROM operations WHERE tenant = ? AND session = ? AND turn = ? AND step = coalesce(?, step)",
        (turn.session.tenant, turn.session.session_id, turn.turn, number),
    )


def _built_on(tx: Transaction, at: OperationKey) -> bool:
    return bool(
        tx.execute(
            f"SELECT 1 FROM operations WHERE {_CALLER} AND ordinal > ? AND final = 1 LIMIT 1", (*at.caller, at.ordinal)
        )
    )
