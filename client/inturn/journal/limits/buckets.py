"""Token buckets: so many calls in a second, over all workers.

Invariant: a bucket never holds more than its capacity and never less than nothing, and a token is taken once.
"""

from __future__ import annotations

from inturn.journal.limits.requests import Want
from inturn.journal.log.log import micros
from inturn.journal.store.store import Transaction


def level(tx: Transaction, want: Want) -> float:
    """Return how many tokens a bucket holds now; one that was never used, or says no number, is full."""
    rows = tx.execute("SELECT tokens, at FROM buckets WHERE scope = ? AND resource = ?", (want.scope, want.resource))
    if not rows:
        return want.capacity
    try:
        tokens, at = float(rows[0][0]), int(rows[0][1])
    except (ValueError, OverflowError):  # mangled: all sessions of a tenant read this row
        return want.capacity
    if not tokens >= 0:  # so is less than nothing, and NaN
        return want.capacity
    passed = max(micros(tx.now) - at, 0) / 1e6  # a clock that was set back refills nothing
    return min(tokens + passed * want.refill, want.capacity)


def wind(tx: Transaction, want: Want) -> None:
    """Have a bucket refill from now on, where its last token was taken by a clock that was set back since."""
    now = micros(tx.now)
    tx.execute(
        "UPDATE buckets SET at = ? WHERE scope = ? AND resource = ? AND at > ?", (now, want.scope, want.resource, now)
    )


def take_unseen(tx: Transaction, want: Want) -> None:
    """Take a token without a look; a guard behind it has to see that there was one."""
    now = micros(tx.now)
    passed = "CASE WHEN excluded.at > buckets.at THEN (excluded.at - buckets.at) / 1e6 ELSE 0 END"
    filled = f"buckets.tokens + ({passed}) * ?"
    tx.execute(
        "INSERT INTO buckets (scope, resource, tokens, at) VALUES (?, ?, ?, ?) ON CONFLICT (scope, resource) DO UPDATE "
        f"SET tokens = (CASE WHEN {filled} < ? THEN {filled} ELSE ? END) - 1, at = excluded.at",
        (want.scope, want.resource, want.capacity - 1, now, want.refill, want.capacity, want.refill, want.capacity),
    )


def take(tx: Transaction, want: Want) -> None:
    """Take a token; the caller has looked that there is one."""
    left = max(level(tx, want) - 1, 0.0)
    tx.execute(
        "INSERT INTO buckets (scope, resource, tokens, at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (scope, resource) DO UPDATE SET tokens = excluded.tokens, at = excluded.at",
        (want.scope, want.resource, left, micros(tx.now)),
    )
