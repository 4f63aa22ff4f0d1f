"""Events that were to join a turn and are no part of it.

Invariant: what an event says is said once, and never lost. One that ended before (a duplicate older than the window) is
not said again; one that came to a step which is recorded without it (after a reset signals arrive side by side that
came one after the other) is not taken for said. Both become turns of their own, where the journal's end is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from inturn.journal import Journal
from inturn.journal.turns import entries_of
from inturn.keys import SessionKey, TurnKey


async def ended_before(journal: Journal, session: SessionKey, events: Sequence[dict[str, Any]]) -> list[str]:
    """Give the ids of those that have an outcome."""
    outcomes = await asyncio.gather(*(journal.outcome(session, str(event.get("event_id"))) for event in events))
    return [outcome.event_id for outcome in outcomes if outcome is not None]


async def unsaid(journal: Journal, turn: TurnKey, events: Sequence[dict[str, Any]]) -> list[str]:
    """Give the ids of those that no recorded step of the turn said."""
    said = await entries_of(journal, turn.session, turn.event_id, ("user.message",)) if events else []
    keys = {entry.body.get("joined") for entry in said}
    return [str(event["event_id"]) for event in events if event.get("event_id") not in keys]
