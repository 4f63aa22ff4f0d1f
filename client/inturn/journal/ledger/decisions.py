"""What a session decides alone, written once and in order.

Invariant: after a turn is settled none of its steps can write, and every call that the model made has a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inturn.journal.ledger import steps
from inturn.journal.log import codec, log
from inturn.journal.log.log import Log
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry, Recorded
from inturn.journal.views import outcomes
from inturn.keys import SessionKey, StepKey, TurnKey

INTERRUPTED: Final = "interrupted: the turn ended before this call had a result"
CLOSED_KEY: Final = "closed"


def record(
    tx: Transaction,
    session: SessionKey,
    recorded: Sequence[Recorded],
    settle: Sequence[TurnKey],
    close: bool,
    cancelled: str | None = None,
    number: str | None = None,
) -> int:
    """Settle turns, write the decisions whose keys are new, close; see `Journal.record`. Return the new head."""
    with log.locked(tx, session) as journal:
        keys = [decision.entry.key for decision in recorded if decision.entry.key]
        repeated = bool(settle and keys and number is None) and all(map(journal.knows, keys))
        for turn in () if repeated else settle:
            _settle(journal, turn, number, ("cancelled", cancelled) if cancelled else ("interrupted", INTERRUPTED))
        for decision in recorded:
            before = journal.head
            journal.append([decision.entry])
            if decision.outcome and journal.head > before:
                outcomes.put(tx, session, decision.outcome)
        if close:
            journal.append([NewEntry("session.closed", {}, key=CLOSED_KEY)])
            journal.close()
        return journal.head


def _settle(journal: Log, turn: TurnKey, number: str | None, ended: tuple[str, str]) -> None:
    status, text = ended
    steps.settle(journal.tx, turn, number)
    rows = journal.tx.execute(
        "SELECT key, body FROM entries WHERE tenant = ? AND session = ? AND event_id = ? AND type = 'agent.tool_use' "
        "ORDER BY seq",
        (turn.session.tenant, turn.session.session_id, turn.event_id),
    )
    for key, body in rows:
        call = _call_of(turn, key)
        if call is None or number not in (None, call.step):
            continue
        steps.settle_unclaimed(journal.tx, call)
        use = codec.loads(body)
        # A call that has a result has an entry under this key: then nothing is appended.
        journal.append(
            [
                NewEntry(
                    "agent.tool_result",
                    {
                        "call_id": use.get("call_id"),
                        "tool": use.get("tool"),
                        "status": status,
                        "text": text,
                    },
                    event_id=turn.event_id,
                    step=call.within_turn,
                    key=call.within_session,
                )
            ]
        )


def _call_of(turn: TurnKey, key: str | None) -> StepKey | None:
    """Read the call's step from the key of its `agent.tool_use` entry: `{turn}/{step}/{index}/use`."""
    parts = (key or "").split("/")
    if len(parts) != 4 or parts[0] != turn.turn or parts[3] != "use" or not parts[2].isdecimal():
        return None
    return turn.step(parts[1], int(parts[2]))
