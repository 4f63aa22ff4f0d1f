"""What a call has its session's agent remember.

Invariant: a document is written once by a call, however often that is tried, in one transaction with the entry that
says so; and only by the attempt that holds the call.
"""

from __future__ import annotations

from inturn.journal.ledger import rows
from inturn.journal.log import log
from inturn.journal.state import documents
from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry
from inturn.journal.views.memory import REMEMBERED
from inturn.keys import StepKey


def remember(tx: Transaction, step: StepKey, token: str, name: str, text: str, version: int) -> int | None:
    """Write a document at the version that the call knows; return its new version, `None`: the call is not ours.

    Raises:
        Changed: It is at another version.
        Full: There is no room for another document.
    """
    tx.ahead([log.locking(tx, step.session), rows.finding(tx, step)])
    with log.locked(tx, step.session) as journal:
        row = rows.find(tx, step, lock=True)
        if row is None or not row.held_by(token):
            return None
        key = f"{step.within_session}/remembered"
        if (known := log.keyed(tx, step.session, key)) is not None:
            return int(known.body["version"])
        made = documents.put(tx, step.session.tenant, name, text, version)
        body = {"name": name, "version": made.version}
        journal.append([NewEntry(REMEMBERED, body, step.turn.event_id, step.within_turn, key=key)])
        return made.version
