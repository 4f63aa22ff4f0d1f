"""Values too large for an entry, kept beside the log.

Invariant: a reference is the hash of its bytes (with keys a keyed one) and belongs to one session: it never changes and
is read nowhere else.
"""

from __future__ import annotations

from typing import Final

from inturn.journal.log import codec
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey

_DATA: Final = "blobs.data"


def put(tx: Transaction, session: SessionKey, data: bytes) -> str:
    """Insert bytes; return their reference."""
    where = (session.tenant, session.session_id)
    ref = f"sha256:{tx.sealing.digest(data, *where)}"
    tx.execute(
        "INSERT INTO blobs (tenant, session, ref, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*where, ref, tx.sealing.seal_bytes(data, _DATA, *where, ref)),
    )
    return ref


def get(tx: Transaction, session: SessionKey, ref: str) -> bytes | None:
    """Return the bytes of a reference of this session."""
    named = (session.tenant, session.session_id, codec.column(ref) or "")
    rows = tx.execute("SELECT data FROM blobs WHERE tenant = ? AND session = ? AND ref = ?", named)
    return tx.sealing.unseal_bytes(bytes(rows[0][0]), _DATA, *named) if rows else None
