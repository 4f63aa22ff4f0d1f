"""Chains that a session's log had before it was encrypted anew: known by their identities, and what they came to.

Invariant: only who has the keys can say that one chain is another written anew: that is encrypted, bound to the session
and the identity of the old one. It names the hash that the new chain has at the old one's head, so nobody without keys
can change an entry up to there, and write the chain anew, unseen; and the old one's seals, so what a session had
seen of it is compared as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from inturn.errors import JournalUnavailable
from inturn.journal.log import codec, pruned
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey

SEAL: Final = 8
"""Hex digits of a hash by which it is compared."""
_PROOF: Final = "rewritten.proof"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A chain that was written anew.

    Attributes:
        identity: By which it was known.
        head: Its last seq.
        seals: Of all its entries, one behind the other.
        before: The seq that its entries begin behind: a fork's are chained to one of its parent's.
    """

    identity: str
    head: int
    seals: str
    before: int = 0

    def seal(self, seq: int) -> str | None:
        """Return the seal that it had at a seq; `None`: it had no such entry."""
        at = (seq - self.before) * SEAL
        return self.seals[at - SEAL : at] if self.before < seq <= self.head else None


def note(tx: Transaction, session: SessionKey, old: Rewritten) -> None:
    """Write down that the log was another chain; its entries are there, or were pruned."""
    to = hash_at(tx, session, old.head) or ""  # it was pruned
    proof = codec.dumps({"head": old.head, "to": to, "seals": old.seals, "before": old.before})
    where = (session.tenant, session.session_id, old.identity)
    tx.execute(
        "INSERT INTO rewritten (tenant, session, identity, proof) VALUES (?, ?, ?, ?)",
        (*where, tx.sealing.seal(proof, _PROOF, *where)),
    )


def hash_at(tx: Transaction, session: SessionKey, seq: int) -> str | None:
    """Return an entry's hash, which covers all entries up to it; `None` where there is no such."""
    rows = tx.execute(
        "SELECT hash FROM entries WHERE tenant = ? AND session = ? AND seq = ?",
        (session.tenant, session.session_id, seq),
    )
    return str(rows[0][0]) if rows else None


def find(tx: Transaction, session: SessionKey, identity: str) -> Rewritten | None:
    """Return the chain that was known by an identity, where this log is that one written anew."""
    return next((old for old, _ in _read(tx, session) if old.identity == identity), None)


def chains(tx: Transaction, session: SessionKey) -> list[Rewritten]:
    """Return all chains that the log was."""
    return [old for old, _ in _read(tx, session)]


def faults(tx: Transaction, session: SessionKey) -> list[str]:
    """Check that the entries are those that were written anew; where there are no keys, nobody can say."""
    if not tx.sealing.on:
        return []
    try:
        return list(_faults(tx, session))
    except JournalUnavailable as error:
        return [f"what its chain was before cannot be read: {error}"]


def _faults(tx: Transaction, session: SessionKey) -> Iterator[str]:
    for old, to in _read(tx, session):
        found = hash_at(tx, session, old.head)
        if found is None and old.head <= pruned.upto(tx, session):
            continue
        if found != to:
            yield f"seq 1 to {old.head}: are not the entries that were encrypted anew"


def _read(tx: Transaction, session: SessionKey) -> Iterator[tuple[Rewritten, str]]:
    where = (session.tenant, session.session_id)
    rows = tx.execute("SELECT identity, proof FROM rewritten WHERE tenant = ? AND session = ? ORDER BY identity", where)
    for identity, stored in rows:
        said = codec.loads(tx.sealing.unseal(str(stored), _PROOF, *where, identity))
        yield Rewritten(identity, said["head"], said["seals"], said["before"]), said["to"]
