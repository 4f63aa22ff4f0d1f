"""Events that were to join a turn and are no part of it.

Invariant: what an event says is said once, and never lost. One that ended before (a duplicate older than the window) is
not said again; one that came to a step which is recorded without it (after a reset signals arrive side by side that
came one after the other) is not taken for said. Both become turns of their own, where the journal's end is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from inturn.journal import Journal, Outcome
from inturn.journal.views.turns import entries_of
from inturn.keys import SessionKey, TurnKey


async def ended_before(journal: Journal, session: SessionKey, events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of those that have an outcome, under whichever of their ids."""
    known = [(str(event["event_id"]), *event.get("aliases", ())) for event in events]
    found = await asyncio.gather(*(journal.outcome_by(session, *ids) for ids in known))
    return [ids[0] for ids, outcome in zip(known, found, strict=True) if outcome is not None]


async def elsewhere(journal: Journal, turn: TurnKey, event_ids: Sequence[str]) -> list[Outcome]:
    """Return the ends of those that ended otherwise than by joining this event's turn."""
    outcomes = await _outcomes(journal, turn.session, event_ids)
    return [outcome for outcome in outcomes if outcome.into != turn.event_id]


async def not_recorded(journal: Journal, turn: TurnKey, events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the ids of those that no recorded step of the turn took up."""
    return await unsaid(journal, turn, [str(event["event_id"]) for event in events])


async def unsaid(journal: Journal, turn: TurnKey, event_ids: Sequence[str]) -> list[str]:
    """Return those of which the turn has no message."""
    entries = await entries_of(journal, turn.session, turn.event_id, ("user.message",)) if event_ids else []
    said = {entry.body.get("joined") for entry in entries}
    return [event_id for event_id in event_ids if event_id not in said]


async def _outcomes(journal: Journal, session: SessionKey, event_ids: Sequence[str]) -> list[Outcome]:
    outcomes = await asyncio.gather(*(journal.outcome(session, event_id) for event_id in event_ids))
    return [outcome for outcome in outcomes if outcome is not None]
