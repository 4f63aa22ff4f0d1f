"""Calls whose outcome nobody knows, and what operators say of them.

Invariant: what is recorded of a call never changes. A settlement is one more entry, under a key of the call's own, so
the first one stands; the model reads it as a message in a later turn.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from inturn.journal.log import codec, log
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry, Settlement
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import UnknownOutcome

# A call's row without what it did: reported so, stopped by its timeout, or settled while its body ran.
_UNKNOWN: Final = (
    "SELECT turn, step, call, state, result, late_result FROM steps "
    "WHERE tenant = ? AND session = ? AND call >= 0 AND ((state = 'settled' AND began = 1) OR "
    "(state = 'done' AND (result LIKE ? OR result LIKE ?)))"
)
_REPORTED: Final = ('%"status":"unknown"%', '%"status":"timeout"%')
_ENTRY: Final = "SELECT seq, body, at FROM entries WHERE tenant = ? AND session = ? AND key = ?"


def unknown(tx: Transaction, session: SessionKey) -> list[UnknownOutcome]:
    """Give the calls whose outcome is unknown and that nobody settled, in order of their results."""
    rows = tx.execute(_UNKNOWN, (session.tenant, session.session_id, *_REPORTED))
    calls = [(TurnKey(session, turn).step(step, call), state, *kept) for turn, step, call, state, *kept in rows]
    found = [_outcome(tx, key, state, result, late) for key, state, result, late in calls]
    return [outcome for _, outcome in sorted((f for f in found if f is not None), key=lambda f: f[0])]


def settle(tx: Transaction, call: StepKey, settlement: Settlement) -> Settlement | None:
    """Settle a call; gives the settlement that stands, `None` where the call's outcome is not unknown."""
    with log.locked(tx, call.session) as journal:
        if (said := _said(tx, call)) is not None:
            return said
        outcome = next((o for o in unknown(tx, call.session) if o.key == str(call)), None)
        if outcome is None:
            return None
        journal.append([_message(call, outcome, settlement)])
        return settlement


def _outcome(
    tx: Transaction, call: StepKey, state: str, result: str | None, late: str | None
) -> tuple[int, UnknownOutcome] | None:
    """Judge a row by its entries: an idempotent call that was stopped did no harm that calling again would add to."""
    use = _entry(tx, call, f"{call.within_session}/use")
    told = _entry(tx, call, call.within_session)
    if use is None or told is None or _said(tx, call) is not None:
        return None
    status = "interrupted" if state == "settled" else str((codec.loads(result) if result else {}).get("status"))
    if status not in ("unknown", "timeout", "interrupted") or (status != "unknown" and use[1].get("idempotent")):
        return None
    kept: dict[str, Any] = codec.loads(late) if late else {}
    seq, body, at = told
    return seq, UnknownOutcome(
        key=str(call),
        event_id=call.turn.event_id,
        call_id=str(body.get("call_id")),
        tool=str(body.get("tool")),
        args=use[1].get("args"),
        status=status,
        at=datetime.fromtimestamp(at / 1e6, UTC),
        late_status=kept.get("status"),
        late_result=kept.get("said"),
    )


def _said(tx: Transaction, call: StepKey) -> Settlement | None:
    entry = _entry(tx, call, _key(call))
    if entry is None:
        return None
    body = entry[1]
    return Settlement(done=bool(body.get("done")), result=body.get("result"), by=body.get("by"))


def _message(call: StepKey, outcome: UnknownOutcome, settlement: Settlement) -> NewEntry:
    body = {"text": settlement.text(outcome), "call": call.within_session, "call_id": outcome.call_id}
    told = {"done": settlement.done, "result": settlement.result, "by": settlement.by, "reason": settlement.reason}
    body |= {name: value for name, value in told.items() if value is not None}
    return NewEntry("system.message", body, key=_key(call))


def _key(call: StepKey) -> str:
    return f"{call.within_session}/settled"


def _entry(tx: Transaction, call: StepKey, key: str) -> tuple[int, dict[str, Any], int] | None:
    rows = tx.execute(_ENTRY, (call.session.tenant, call.session.session_id, key))
    return (rows[0][0], codec.loads(rows[0][1]), rows[0][2]) if rows else None
