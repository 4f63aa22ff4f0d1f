"""What turns cost, added up by who had them.

Invariant: read from the outcomes alone: a turn counts once it has ended, with all that its attempts used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from inturn.journal.store.store import Transaction

By = Literal["tenant", "agent", "model", "session"]
_FIELDS: Final = ("input", "output", "cache_read", "cache_write", "usd_nanos", "failed_usd_nanos")


@dataclass(frozen=True, slots=True)
class Cost:
    """What some turns cost.

    Attributes:
        name: Whose they are; empty: nobody knows.
        turns: How many.
        input: Tokens of prompts, neither read from the cache nor written to it.
        usd_nanos: Nanodollars.
        failed_usd_nanos: Of them, those of attempts that gave no answer.
    """

    name: str
    turns: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    usd_nanos: int
    failed_usd_nanos: int

    @property
    def cache_hit(self) -> float | None:
        """Which part of the prompts came from the cache; `None` where nothing was cached."""
        cached = self.cache_read + self.cache_write
        return self.cache_read / (self.input + cached) if cached else None


def total(found: Sequence[Cost]) -> Cost:
    """Return the sum of some."""
    fields = ("turns", *_FIELDS)
    return Cost("all", *(sum(getattr(cost, name) for cost in found) for name in fields))


def costs(tx: Transaction, by: By, *, tenant: str | None, since: int) -> list[Cost]:
    """Return what the turns cost that ended since a time, the dearest first; of all tenants where none is given."""
    mine, parameters = ("tenant = ? AND ", [tenant]) if tenant is not None else ("", [])
    sums = ", ".join(f"SUM({name})" for name in _FIELDS)
    found = tx.execute(
        f"SELECT COALESCE({by}, ''), COUNT(*), {sums} FROM outcomes WHERE {mine}at >= ? "
        "AND usd_nanos IS NOT NULL GROUP BY 1",
        (*parameters, since),
    )
    made = [Cost(str(name), *map(int, numbers)) for name, *numbers in found]
    return sorted(made, key=lambda cost: (-cost.usd_nanos, -cost.output, cost.name))


def spent(tx: Transaction, tenant: str, session: str) -> int:
    """Return what the turns of a session cost that have ended."""
    [(amount,)] = tx.execute(
        "SELECT COALESCE(SUM(usd_nanos), 0) FROM outcomes WHERE tenant = ? AND session = ?", (tenant, session)
    )
    return int(amount)
