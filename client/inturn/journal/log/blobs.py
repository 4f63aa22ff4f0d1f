"""Values too large for an entry, kept beside the log.

Invariant: a reference is the hash of its bytes (with keys a keyed one) and belongs to one session: it never changes and
is read there, and by those that were forked from it, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from inturn.encryption.columns import CLEAR, key_of
from inturn.journal.log import codec, lineage, uploads
from inturn.journal.store.pages import pages
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
    """Return the bytes of a reference of this session: of a result that was cut, or of what was uploaded for it.

    Of a fork, also those of the sessions that it was forked from.
    """
    parts = [part for part, _ in reversed(lineage.parts(tx, session))]
    found = (_own(tx, part, ref) or uploads.get(tx, part, ref) for part in parts)
    return next((data for data in found if data is not None), None)


def of_result(tx: Transaction, session: SessionKey, ref: str) -> bytes | None:
    """Return the whole of a result of this session that was cut, or of one that it was forked from."""
    found = (_own(tx, part, ref) for part, _ in reversed(lineage.parts(tx, session)))
    return next((data for data in found if data is not None), None)


def faults(tx: Transaction) -> Iterator[str]:
    """Yield what lies under a reference that is not its hash; what is encrypted is proved where it is read."""
    for table, owner in (("blobs", ("tenant", "session")), ("uploads", ("tenant",))):
        key = (*owner, "ref")
        for rows in pages(tx, table, (*key, "data"), key=key, large=("data",)):
            for *of, ref, data in rows:
                stored = bytes(data)
                if key_of(stored) is None and ref != f"sha256:{_hash(stored)}":
                    yield f"{table} of {'/'.join(of)}: {ref} is not what was kept"


def _hash(stored: bytes) -> str:
    return hashlib.sha256(CLEAR.unseal_bytes(stored)).hexdigest()


def _own(tx: Transaction, session: SessionKey, ref: str) -> bytes | None:
    named = (session.tenant, session.session_id, codec.column(ref) or "")
    rows = tx.execute("SELECT data FROM blobs WHERE tenant = ? AND session = ? AND ref = ?", named)
    return tx.sealing.unseal_bytes(bytes(rows[0][0]), _DATA, *named) if rows else None
