"""What a turn used so far, and whether it may go on.

Invariant: a budget is checked against what the journal holds, so that no retry, worker or continue-as-new forgets a
cost.
"""

from __future__ import annotations

from inturn.agents import Budget
from inturn.journal import Journal
from inturn.keys import TurnKey
from inturn.values import Usage

_PAGE = 500


async def spent(journal: Journal, turn: TurnKey) -> Usage:
    """Add up the answers of a turn."""
    used, after = Usage(), 0
    while True:
        entries = await journal.read(
            turn.session, after=after, limit=_PAGE, event_id=turn.event_id, types=("turn.started", "agent.message")
        )
        for entry in entries:
            if entry.type == "turn.started":
                used = Usage()  # a redriven turn has its own budget
            else:
                used = add(used, Usage.model_validate(entry.body.get("usage", {})))
        if len(entries) < _PAGE:
            return used
        after = entries[-1].seq


def add(used: Usage, more: Usage) -> Usage:
    """Add one answer; it counts as a step."""
    return Usage(
        input_tokens=used.input_tokens + more.input_tokens,
        output_tokens=used.output_tokens + more.output_tokens,
        cache_read_tokens=used.cache_read_tokens + more.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens + more.cache_write_tokens,
        usd=used.usd + more.usd,
        steps=used.steps + 1,
    )


def exceeded(budget: Budget, used: Usage) -> bool:
    """Tell whether the turn has used what it may."""
    tokens = used.input_tokens + used.output_tokens + used.cache_read_tokens + used.cache_write_tokens
    return (
        (budget.steps is not None and used.steps >= budget.steps)
        or (budget.tokens is not None and tokens >= budget.tokens)
        or (budget.usd is not None and used.usd >= budget.usd)
    )
