"""What a turn used so far, and whether it may go on.

Invariant: a budget is checked against what the journal holds, so that no retry, worker or continue-as-new forgets a
cost.
"""

from __future__ import annotations

from inturn.journal import Journal
from inturn.keys import TurnKey
from inturn.turns.budget import add
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
