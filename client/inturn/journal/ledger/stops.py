"""Notices of stops: which steps workflows cancelled a moment ago.

Invariant: a notice is a hint that may be lost, and dies with its step. Whoever runs that step asks the server sooner,
and nothing else follows from it.
"""

from __future__ import annotations

from typing import Final

from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey

LIFE: Final = 60.0
"""Seconds."""
OVERLAP: Final = 2.0
"""Seconds by which a look goes back behind the last notice that it found: one may be committed after a later one."""

Notices = list[tuple[StepKey, float]]
"""Steps, and when they were stopped."""


def put(tx: Transaction, step: StepKey) -> None:
    """Write a notice, and delete those that are old."""
    session, now = step.session, micros(tx.now)
    tx.execute(
        "INSERT INTO stops (tenant, session, step, at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, session, step) DO UPDATE SET at = excluded.at",
        (session.tenant, session.session_id, step.within_session, now),
    )
    sweep(tx, "stops", "tenant, session, step", "at < ?", (now - micros(LIFE),))  # last: it waits for nobody


def since(tx: Transaction, at: float) -> Notices:
    """Return the notices since a time, some of them for the second time."""
    rows = tx.execute(*stopped_since(at))
    return [(StepKey.parse(f"{tenant}/{session}/{step}"), when / 1e6) for tenant, session, step, when in rows]


def stopped_since(at: float) -> tuple[str, list[int]]:
    """Return the statement that reads the notices since a time, and its parameters."""
    return "SELECT tenant, session, step, at FROM stops WHERE at > ?", [micros(at - OVERLAP)]
