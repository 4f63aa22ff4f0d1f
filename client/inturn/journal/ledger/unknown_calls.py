"""Calls whose outcome is unknown, and what operators found out about them.

Invariant: what is recorded of a call never changes. A resolution is one more entry, under a key of the call's own, so
the first one counts; the model reads it as a message in a later turn.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from inturn.journal.ledger.rows import unsealed
from inturn.journal.log import codec, log
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry, Resolution
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import UnknownOutcome

# A call's row without what it did: recorded so, stopped by its timeout, or settled while its body ran.
_UNKNOWN: Final = (
    "SELECT turn, step, call, state, result, late_result FROM steps "
    "WHERE tenant = ? AND session = ? AND call >= 0 AND ((state = 'settled' AND began = 1) OR "
    "(state = 'done' AND (result LIKE ? OR result LIKE ?)))"
)
_REPORTED: Final = ('%"status":"unknown"%', '%"status":"timeout"%')
_ANY: Final = ("%", "%")
"""Where results are encrypted, all are read."""
_ENTRY: Final = "SELECT seq, body, at FROM entries WHERE tenant = ? AND session = ? AND key = ?"


def unknown(tx: Transaction, session: SessionKey) -> list[UnknownOutcome]:
    """Return the calls whose outcome is unknown and that nobody resolved, in order of their results."""
    rows = tx.execute(_UNKNOWN, (session.tenant, session.session_id, *(_ANY if tx.sealing.on else _REPORTED)))
    calls = [(TurnKey(session, turn).step(step, call), state, *kept) for turn, step, call, state, *kept in rows]
    found = [_outcome(tx, key, state, result, late) for key, state, result, late in calls]
    return [outcome for _, outcome in sorted((f for f in found if f is not None), key=lambda f: f[0])]


def resolve(tx: Transaction, call: StepKey, resolution: Resolution) -> Resolution | None:
    """Resolve a call; return the resolution on record, `None` where the call's outcome is not unknown."""
    with log.locked(tx, call.session) as journal:
        if (recorded := _resolution(tx, call)) is not None:
            return recorded
        outcome = next((o for o in unknown(tx, call.session) if o.key == str(call)), None)
        if outcome is None:
            return None
        journal.append([_message(call, outcome, resolution)])
        return resolution


def _outcome(
    tx: Transaction, call: StepKey, state: str, result: str | None, late: str | None
) -> tuple[int, UnknownOutcome] | None:
    """Judge a row by its entries: an idempotent call that was stopped did no harm that calling again would add to."""
    use = _entry(tx, call, f"{call.within_session}/use")
    result_entry = _entry(tx, call, call.within_session)
    if use is None or result_entry is None or _resolution(tx, call) is not None:
        return None
    status = "interrupted" if state == "settled" else _kept(tx, call, "result", result).get("status", "None")
    if status not in ("unknown", "timeout", "interrupted") or (status != "unknown" and use[1].get("idempotent")):
        return None
    kept = _kept(tx, call, "late_result", late)
    seq, body, at = result_entry
    return seq, UnknownOutcome(
        key=str(call),
        event_id=call.turn.event_id,
        call_id=str(body.get("call_id")),
        tool=str(body.get("tool")),
        args=use[1].get("args"),
        status=status,
        at=datetime.fromtimestamp(at / 1e6, UTC),
        late_status=kept.get("status"),
        late_result=kept.get("text"),
    )


def _resolution(tx: Transaction, call: StepKey) -> Resolution | None:
    entry = _entry(tx, call, _key(call))
    if entry is None:
        return None
    body = entry[1]
    return Resolution(done=bool(body.get("done")), result=body.get("result"), by=body.get("by"))


def _message(call: StepKey, outcome: UnknownOutcome, resolution: Resolution) -> NewEntry:
    body = {"text": resolution.text(outcome), "call": call.within_session, "call_id": outcome.call_id}
    given = {"done": resolution.done, "result": resolution.result, "by": resolution.by, "reason": resolution.reason}
    body |= {name: value for name, value in given.items() if value is not None}
    return NewEntry("system.message", body, key=_key(call))


def _key(call: StepKey) -> str:
    return f"{call.within_session}/settled"


def _entry(tx: Transaction, call: StepKey, key: str) -> tuple[int, dict[str, Any], int] | None:
    rows = tx.execute(_ENTRY, (call.session.tenant, call.session.session_id, key))
    return (rows[0][0], log.body(tx, call.session, rows[0][0], rows[0][1]), rows[0][2]) if rows else None


def _kept(tx: Transaction, call: StepKey, column: str, stored: str | None) -> dict[str, Any]:
    text = unsealed(tx, column, call, stored)
    kept: dict[str, Any] = codec.loads(text) if text else {}
    return kept
