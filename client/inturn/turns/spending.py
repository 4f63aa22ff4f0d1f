"""Whether a request may be sent, by what it could cost.

Invariant: what is spent never exceeds what may be: judged before each request by the most that it can cost, all of its
prompt written to the cache and its answer as long as asked for. Where the price is not known the answer is no.
"""

from __future__ import annotations

from inturn.amounts import nanos
from inturn.models.prices import Price
from inturn.turns.budget import Budget
from inturn.turns.compaction import SHORTEST
from inturn.values import Usage


def left_of(budget: Budget, used: Usage, *, session: int = 0, raised: int = 0) -> int | None:
    """Return the nanodollars that a turn may spend yet; `None`: they are not bounded.

    Args:
        budget: What it may spend in all.
        used: What it has used.
        session: What earlier turns of its session cost.
        raised: How often somebody gave it as much once more.
    """
    bounds = ((budget.usd, used.usd_nanos), (budget.session_usd, session + used.usd_nanos))
    lefts = [nanos(most) * (1 + raised) - spent for most, spent in bounds if most is not None]
    return min(lefts, default=None)


def longest_answer(price: Price | None, prompt: int, asked: int, left: int | None) -> int:
    """Return how long an answer may be that is asked for; 0: there is no money for one that is worth it."""
    if left is None:
        return asked
    if price is None:
        return 0
    most = price.affordable(prompt, left)
    fits = asked if most is None else min(asked, most)
    return fits if fits >= min(SHORTEST, asked) else 0
