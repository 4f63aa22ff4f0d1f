"""What a turn used so far, and whether it may go on.

Invariant: a budget is checked against what the journal holds, so that no retry, worker or continue-as-new forgets a
cost.
"""

from __future__ import annotations

from collections.abc import Mapping

from inturn.journal import Journal
from inturn.keys import TurnKey
from inturn.turns.budget import add
from inturn.values import Usage


def added(used: Usage, more: Mapping[str, float]) -> Usage:
    """Return a usage with what attempts used that gave no answer: it is no step."""
    return used.model_copy(update={name: getattr(used, name, 0) + value for name, value in more.items()})


async def spent(journal: Journal, turn: TurnKey) -> Usage:
    """Add up the answers of a turn."""
    used = Usage()
    types = ("turn.started", "agent.message")
    async for entry in journal.entries(turn.session, event_id=turn.event_id, types=types):
        if entry.type == "turn.started":
            used = Usage()  # a redriven turn has its own budget
        else:
            used = add(used, Usage.model_validate(entry.body.get("usage", {})))
    return used
