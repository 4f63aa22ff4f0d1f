"""What clients uploaded, for events and results that refer to it.

Invariant: an upload is its tenant's alone, and never changes: it is named by the hash of its bytes (with keys a keyed
one). An entry that says a reference settles what it is shown as, for good, and keeps the upload for as long as its
session is kept; one that nobody names goes by age.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inturn.journal.log import codec
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey
from inturn.turns.blocks import Block, reference_of
from inturn.turns.media import judged, why_not
from inturn.turns.references import not_shown, references, replaced

UNKNOWN: Final = "nothing was uploaded under this reference"
_DATA: Final = "uploads.data"
_AT_ONCE: Final = 500
"""References that are looked up in one statement."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What was uploaded, ready to be stored.

    Attributes:
        media_type: What its sender says that it is.
        shown_as: What it can be shown as, by its bytes; empty: nothing.
        measure: Pages, or pixels of the longer side.
        data: Its bytes, as they are stored.
    """

    ref: str
    media_type: str
    shown_as: str
    measure: int
    size: int
    data: bytes


def prepared(tx: Transaction, tenant: str, data: bytes, media_type: str) -> Upload:
    """Return bytes as they are stored, with their reference. Changes nothing: who writes is not to wait for it."""
    ref, media = f"sha256:{tx.sealing.digest(data, tenant)}", judged(data)
    shown_as, measure = (media.type, media.measure) if media else ("", 0)
    stored = tx.sealing.seal_bytes(data, _DATA, tenant, ref)
    return Upload(ref, media_type, shown_as, measure, len(data), stored)


def put(tx: Transaction, tenant: str, upload: Upload) -> str:
    """Insert an upload; return its reference. The same again begins its time anew."""
    tx.execute(
        "INSERT INTO uploads (tenant, ref, media_type, shown_as, measure, size, at, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, ref) DO UPDATE SET at = excluded.at",
        (
            *(tenant, upload.ref, codec.column(upload.media_type), upload.shown_as),
            *(upload.measure, upload.size, round(tx.now * 1_000_000), upload.data),
        ),
    )
    return upload.ref


def get(tx: Transaction, session: SessionKey, ref: str) -> bytes | None:
    """Return the bytes of a reference that an entry of this session says."""
    named = (session.tenant, codec.column(ref) or "")
    rows = tx.execute(
        "SELECT data FROM uploads WHERE tenant = ? AND ref = ? AND EXISTS (SELECT 1 FROM upload_uses u "
        "WHERE u.tenant = uploads.tenant AND u.session = ? AND u.ref = uploads.ref)",
        (*named, session.session_id),
    )
    return tx.sealing.unseal_bytes(bytes(rows[0][0]), _DATA, *named) if rows else None


def settled(tx: Transaction, session: SessionKey, body: dict[str, Any]) -> dict[str, Any]:
    """Return an entry's body with its references settled, and keep what they name for the session.

    What cannot be shown is a text from here on. Of an event that was set aside nothing is settled yet: it may come
    again.
    """
    named = {ref for content in _contents(body) for block in references(content) if (ref := reference_of(block))}
    if not named:
        return body
    known = _known(tx, session.tenant, sorted(named))
    _keep(tx, session, sorted(known))
    content = body.get("content")
    if not isinstance(content, list):
        return body
    return {**body, "content": replaced(content, lambda block: _settled(block, known))}


def _contents(body: Mapping[str, Any]) -> Iterator[object]:
    """Yield what an entry says, or its events."""
    joined = body.get("joined")
    events = [body, body.get("event"), *(joined if isinstance(joined, list) else [])]
    yield from (event.get("content") for event in events if isinstance(event, Mapping))


def _settled(block: Block, known: Mapping[str, tuple[str, str, int, int]]) -> Block:
    ref = block["source"]["ref"]
    if ref not in known:
        return not_shown(block, f"{UNKNOWN}, {ref}")
    media_type, shown_as, measure, size = known[ref]
    if (why := why_not(block.get("type"), shown_as, measure, size)) is not None:
        return not_shown(block, f"{why}, but {media_type[:100]}" if not shown_as else why)
    source = {"type": block["source"]["type"], "ref": ref, "media_type": shown_as, "size": size, "measure": measure}
    return {**block, "source": source}


def _known(tx: Transaction, tenant: str, refs: list[str]) -> dict[str, tuple[str, str, int, int]]:
    """Return what is known of uploads, and keep whoever prunes from deleting them meanwhile."""
    found = dict[str, tuple[str, str, int, int]]()
    for start in range(0, len(refs), _AT_ONCE):
        some = refs[start : start + _AT_ONCE]
        held = tx.for_update.replace("UPDATE", "KEY SHARE")
        rows = tx.execute(
            "SELECT ref, media_type, shown_as, measure, size FROM uploads "
            f"WHERE tenant = ? AND ref IN ({', '.join('?' * len(some))}) {held}",
            (tenant, *some),
        )
        found |= {ref: (media_type, shown_as, measure, size) for ref, media_type, shown_as, measure, size in rows}
    return found


def _keep(tx: Transaction, session: SessionKey, refs: list[str]) -> None:
    for start in range(0, len(refs), _AT_ONCE):
        some = refs[start : start + _AT_ONCE]
        tx.execute(
            f"INSERT INTO upload_uses (tenant, session, ref) VALUES {', '.join(['(?, ?, ?)'] * len(some))} "
            "ON CONFLICT DO NOTHING",
            [value for ref in some for value in (session.tenant, session.session_id, ref)],
        )
