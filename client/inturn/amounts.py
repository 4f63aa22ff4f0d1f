"""Amounts of money: whole nanodollars in every book, dollars for people.

Invariant: a sum of amounts is exact, so no order and no number of steps changes it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

NANOS: Final = 10**9
"""Of a dollar."""


def nanos(usd: float | Decimal | str) -> int:
    """Return dollars as whole nanodollars, rounded down; 0.1 is a tenth, whatever a float makes of it."""
    return int(Decimal(str(usd)) * NANOS)


def dollars(nanos: int) -> str:
    """Return an amount for people: with cents, and with as many places more as a small one needs."""
    usd = Decimal(nanos) / NANOS
    places = max(2, 1 - usd.adjusted()) if usd else 2
    return f"${usd:,.{min(places, 9)}f}"
