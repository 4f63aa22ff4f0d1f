"""The doctor's look at money: how old the prices are, and what came from the cache.

Invariant: it shows what is known here; what a worker's own file of prices says only that worker knows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

from inturn.amounts import dollars
from inturn.cli.doctor.findings import Finding, fine, warned
from inturn.cli.output import percent
from inturn.journal import SessionJournal
from inturn.journal.money.costs import Cost, total
from inturn.models.prices import known_prices

_OLD: Final = 90
"""Days after which prices may well be others."""
_DAY: Final = 86_400.0


async def examine_prices(journal: SessionJournal, tenant: str, *, now: datetime | None = None) -> Finding:
    """Return the finding on prices and on what the tenant spent in a day."""
    now = now or datetime.now(UTC)
    spent = await journal.costs("agent", tenant=tenant, since=now.timestamp() - _DAY)
    prices = known_prices()
    return judge_prices(prices.as_of, prices.source, now.date(), total(spent))


def judge_prices(as_of: str, source: str, today: date, spent: Cost) -> Finding:
    """Return the finding on prices of a day."""
    hit = f", {percent(spent.cache_hit)} of the prompts from the cache" if spent.cache_hit is not None else ""
    found = f"prices of {as_of} ({source}); in the last day {dollars(spent.usd_nanos)} in {spent.turns:,} turns{hit}"
    age = (today - date.fromisoformat(as_of)).days
    if age > _OLD:
        advice = "upgrade inturn, or name the prices of today in a file (INTURN_PRICES)"
        return warned("money", f"{found}; the prices are {age} days old", advice)
    return fine("money", found)
