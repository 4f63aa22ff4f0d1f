"""The turn's span, written where the turn ends.

Invariant: it costs nothing where nobody traces, and its failure never costs a turn.
"""

from __future__ import annotations

from typing import Final

from inturn.errors import JournalUnavailable
from inturn.journal import SessionJournal
from inturn.journal.views.turns import entries_of
from inturn.keys import SessionKey, TurnKey
from inturn.values import Usage
from inturn_activities.messages import Decision
from inturn_activities.telemetry.spans import tracing, turn_span

_ENDS: Final = {"turn.interrupted": None, "turn.failed": "parked"}


async def trace_completed(
    journal: SessionJournal, turn: TurnKey, carried: str | None, agent: str, stop: str, used: Usage
) -> None:
    """Write the span of a turn that its last model step ended."""
    if not tracing():
        return
    try:
        entries = await entries_of(journal, turn.session, turn.event_id, ("turn.started",))
    except JournalUnavailable:
        return
    begun = [entry.at.timestamp() for entry in entries if entry.body.get("turn") == turn.turn]
    if begun:
        turn_span(turn, carried, agent=agent, started=begun[-1], stop=stop, usage=used)


def trace_decided(session: SessionKey, decision: Decision) -> None:
    """Write the span of a turn that the workflow ended, if that is what was decided."""
    if decision.type not in _ENDS or decision.turn is None:
        return
    turn_span(
        TurnKey(session, decision.turn),
        decision.trace,
        agent=decision.agent or "unknown",
        started=decision.started or decision.at,
        ended=decision.at,
        stop="interrupted" if decision.type == "turn.interrupted" else None,
        error=_ENDS[decision.type],
    )
