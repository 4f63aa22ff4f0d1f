"""How far named readers are.

Invariant: a cursor only moves forward, whoever moves it and in whatever order the moves arrive.
"""

from __future__ import annotations

from inturn.journal.store.store import Transaction


def get(tx: Transaction, tenant: str, name: str, session_id: str) -> int:
    """Return a cursor's seq, 0 where it has none."""
    rows = tx.execute(
        "SELECT seq FROM cursors WHERE tenant = ? AND name = ? AND session = ?", (tenant, name, session_id)
    )
    return int(rows[0][0]) if rows else 0


def move(tx: Transaction, tenant: str, name: str, session_id: str, seq: int) -> int:
    """Move a cursor forward; return where it is then."""
    [(reached,)] = tx.execute(
        "INSERT INTO cursors (tenant, name, session, seq) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, name, session) DO UPDATE SET "
        "seq = CASE WHEN excluded.seq > cursors.seq THEN excluded.seq ELSE cursors.seq END RETURNING seq",
        (tenant, name, session_id, max(seq, 0)),
    )
    return int(reached)
