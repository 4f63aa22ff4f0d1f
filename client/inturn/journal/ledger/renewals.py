"""How claims are held for longer.

Invariant: only what is still its holder's is renewed, with what was granted with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from inturn.journal.ledger import rows
from inturn.journal.limits import places
from inturn.journal.log.log import micros
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey

Claims = Sequence[tuple[StepKey, str]]
"""Steps, and the tokens by which they are held."""


def renew_all(tx: Transaction, claims: Claims, *, lease: float) -> list[tuple[StepKey, str]]:
    """Hold claims for longer; return those that are not their holders' any more."""
    keys = {(*rows.key_of(step), token): (step, token) for step, token in claims if token}
    if not keys:
        return list(claims)
    marks = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(keys))
    which = f"(tenant, session, turn, step, call, token) IN (VALUES {marks}) AND state = 'open'"
    named = [value for key in keys for value in key]
    if tx.for_update:
        locked = f"SELECT 1 FROM steps WHERE {which} ORDER BY tenant, session, turn, step, call {tx.for_update}"
        tx.ahead([(locked, named)])
        tx.execute(locked, named)
    sql = f"UPDATE steps SET lease_until = ? WHERE {which} RETURNING tenant, session, turn, step, call, token"
    kept = {keys[row] for row in tx.execute(sql, (micros(tx.now + lease), *named))}
    if kept:
        places.renew_all(tx, [step for step, _ in kept], lease=lease)
    return [claim for claim in claims if claim not in kept]
