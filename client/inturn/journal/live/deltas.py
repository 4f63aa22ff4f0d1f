"""What answers say while they are being given: rows beside the log, under the fence of their attempt.

Invariant: a delta is a preview and the entry is the truth. Rows are written only while their attempt holds its step, a
higher fence replaces all below it, and nothing that decides anything reads them. One that cannot be read is a hole in
its own answer and costs nobody else anything: one look is everybody's in a process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from inturn.errors import JournalUnavailable
from inturn.journal.ledger import rows
from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Statement, Transaction
from inturn.journal.values import DeltaPlace, DeltaRow, NewDelta
from inturn.keys import SessionKey

LIMIT: Final = 1_000
"""Rows that one look reads, at most; the next one reads on."""
_AT_ONCE: Final = 100
"""Rows of one INSERT."""
_DATA: Final = "deltas.data"
_STEP: Final = " AND ".join(f"s.{name} = b.{name}" for name in ("tenant", "session", "turn", "step", "call", "token"))
_OF_SESSION: Final = "tenant = ? AND session = ?"


def publish(tx: Transaction, batch: Sequence[NewDelta]) -> None:
    """Write rows; those whose attempts do not hold their steps any more, or that are there, are dropped."""
    at = micros(tx.now)
    for start in range(0, len(batch), _AT_ONCE):
        some = batch[start : start + _AT_ONCE]
        marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * len(some))
        tx.execute(
            "INSERT INTO deltas (tenant, session, fence, idx, at, data) "
            f"WITH b (tenant, session, turn, step, call, token, fence, idx, data) AS (VALUES {marks}) "
            f"SELECT b.tenant, b.session, b.fence, b.idx, ?, b.data FROM b JOIN steps s ON {_STEP} "
            "WHERE s.state = 'open' ON CONFLICT DO NOTHING",
            (*(value for new in some for value in _values(tx, new)), at),
        )


def _values(tx: Transaction, new: NewDelta) -> tuple[str | int, ...]:
    session = new.step.session
    place = (session.tenant, session.session_id, new.fence, new.index)
    data = tx.sealing.seal(codec.dumps(new.said), _DATA, *place)
    return (*rows.key_of(new.step), new.token, new.fence, new.index, data)


def behind(after: Mapping[SessionKey, DeltaPlace]) -> Statement:
    """Return the statement that reads the rows behind a place in each of these sessions."""
    marks = ", ".join(["(?, ?, ?, ?)"] * len(after))
    named = [value for key, place in after.items() for value in (key.tenant, key.session_id, *place)]
    return (
        f"WITH b (tenant, session, fence, idx) AS (VALUES {marks}) "
        "SELECT d.tenant, d.session, d.fence, d.idx, d.data FROM b JOIN deltas d "
        "ON d.tenant = b.tenant AND d.session = b.session AND (d.fence, d.idx) > (b.fence, b.idx) "
        f"ORDER BY d.tenant, d.session, d.fence, d.idx LIMIT {LIMIT}",
        named,
    )


def read(tx: Transaction, after: Mapping[SessionKey, DeltaPlace]) -> dict[SessionKey, list[DeltaRow]]:
    """Return the rows behind a place in each of these sessions, in order."""
    found: dict[SessionKey, list[DeltaRow]] = {}
    for tenant, session, fence, index, data in tx.execute(*behind(after)) if after else ():
        if isinstance(fence, int) and isinstance(index, int):  # a mangled one has no place
            said = _said(tx, data, (tenant, session, fence, index))
            found.setdefault(SessionKey(tenant, session), []).append(DeltaRow(fence, index, said))
    return found


def _said(tx: Transaction, data: Any, place: tuple[str, str, int, int]) -> Any:
    """Return what a row says; `None`: its key is not here, or it is mangled."""
    try:
        return codec.loads(tx.sealing.unseal(str(data), _DATA, *place))
    except (JournalUnavailable, ValueError, RecursionError):
        return None


def forget(tx: Transaction, over: Collection[tuple[SessionKey, int]], *, age: float | None = None) -> None:
    """Delete the rows of each session up to a fence, and with `age` (in seconds) some of those that are older."""
    for session, fence in sorted(over, key=str):
        where = (session.tenant, session.session_id, fence)
        tx.execute(f"DELETE FROM deltas WHERE {_OF_SESSION} AND fence <= ?", where)
    if age is not None:
        sweep(tx, "deltas", "tenant, session, fence, idx", "at < ?", (micros(tx.now - age),))
