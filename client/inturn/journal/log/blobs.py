"""Values too large for an entry, kept beside the log.

Invariant: a reference is the hash of its bytes and belongs to one session: it never changes and is read nowhere else.
"""

from __future__ import annotations

import hashlib

from inturn.journal.log import codec
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey


def put(tx: Transaction, session: SessionKey, data: bytes) -> str:
    """Insert bytes; return their reference."""
    ref = f"sha256:{hashlib.sha256(data).hexdigest()}"
    tx.execute(
        "INSERT INTO blobs (tenant, session, ref, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (session.tenant, session.session_id, ref, data),
    )
    return ref


def get(tx: Transaction, session: SessionKey, ref: str) -> bytes | None:
    """Return the bytes of a reference of this session."""
    rows = tx.execute(
        "SELECT data FROM blobs WHERE tenant = ? AND session = ? AND ref = ?",
        (session.tenant, session.session_id, codec.column(ref)),
    )
    return bytes(rows[0][0]) if rows else None
