"""How an event ended by the journal, for a workflow that does not know it.

Invariant: the end is the recorded one, whoever asks: a duplicate beyond the window, a turn that runs anew after a
reset, or one whose last attempt failed beside an answer.
"""

from __future__ import annotations

from typing import Final

from inturn import sizes
from inturn.journal import Outcome, SessionJournal
from inturn.journal.views.turns import entries_of
from inturn.keys import SessionKey
from inturn_activities.messages import Ended

_ENDED: Final = ("event.merged", "event.expired", "event.cancelled", "event.parked")
_TYPES: Final = ("turn.started", "agent.tool_use", "event.delivered", *_ENDED)


async def recorded_outcome(journal: SessionJournal, session: SessionKey, outcome: Outcome) -> Ended:
    """Return how an event ended, with what its entries say of it."""
    entries = await entries_of(journal, session, outcome.event_id, _TYPES)
    delivered = [e.body for e in entries if e.type == "event.delivered"]
    return Ended(
        disposition=outcome.disposition,
        stop=outcome.stop,
        reason=None if outcome.reason is None else sizes.clip(outcome.reason, sizes.FAILURE),
        into=outcome.into,
        turn=outcome.turn,
        n=next((int(e.body["n"]) for e in entries if e.body.get("n")), 0),
        effects=any(e.type == "agent.tool_use" for e in entries),
        delivered={"kind": "turn", "turn": outcome.turn} in delivered,
    )
