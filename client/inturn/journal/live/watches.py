"""Which sessions somebody looks at now, word by word.

Invariant: a watch is a lease that readers renew and that runs out by itself. Without one nothing is published.
"""

from __future__ import annotations

from collections.abc import Collection

from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey


def watch(tx: Transaction, sessions: Collection[SessionKey], *, seconds: float) -> None:
    """Watch sessions for so long; never for shorter than others do."""
    until = micros(tx.now + seconds)
    for session in sorted(sessions, key=str):
        tx.execute(
            "INSERT INTO watches (tenant, session, until) VALUES (?, ?, ?) ON CONFLICT (tenant, session) DO UPDATE "
            "SET until = excluded.until WHERE watches.until < excluded.until",
            (session.tenant, session.session_id, until),
        )
    sweep(tx, "watches", "tenant, session", "until < ?", (micros(tx.now),))  # last: it waits for nobody


def watched(tx: Transaction, sessions: Collection[SessionKey]) -> set[SessionKey]:
    """Return which of these sessions somebody looks at."""
    if not sessions:
        return set()
    marks = ", ".join(["(?, ?)"] * len(sessions))
    named = [name for session in sessions for name in (session.tenant, session.session_id)]
    select = f"SELECT tenant, session, until FROM watches WHERE (tenant, session) IN (VALUES {marks})"
    tx.ahead([(select, named)])
    now = micros(tx.now)
    return {SessionKey(tenant, session) for tenant, session, until in tx.execute(select, named) if until > now}
