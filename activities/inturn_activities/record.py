"""What the workflow alone decided goes into the journal.

Invariant: decisions are written in the order in which they were made, each once, in one transaction with the settling
of the steps that they leave open.
"""

from __future__ import annotations

from typing import cast

from inturn.journal import Journal, NewEntry, Outcome, Recorded
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import Disposition
from inturn_activities.messages import Decision, Ended, RecordInput, RecordResult
from inturn_activities.model import joined_events
from inturn_activities.recorded_ends import recorded_outcome
from inturn_activities.telemetry.turn_spans import trace_decided


async def record(journal: Journal, step: StepKey, input: RecordInput) -> RecordResult:
    """Write the decisions of a session."""
    session = step.session
    head = await journal.record(
        session,
        [recorded(session, decision) for decision in input.decisions],
        settle=[TurnKey(session, turn) for turn in input.settle],
        close=input.close,
        cancelled=input.cancelled,
        number=input.number,
        unclaimed=input.unclaimed,
    )
    for decision in input.decisions:
        trace_decided(session, decision)
    apart: dict[str, str] = {}
    for turn in input.settle if input.joined else ():
        apart |= await joined_events.elsewhere(journal, TurnKey(session, turn), input.joined)
    return RecordResult(head=head, ended=await _recorded_before(journal, session, input), apart=apart)


async def _recorded_before(journal: Journal, session: SessionKey, input: RecordInput) -> Ended | None:
    """Return the end that the settled turn had already: its last step was recorded before its worker died."""
    for decision in input.decisions:
        if decision.type not in ("turn.interrupted", "turn.failed") or decision.turn not in input.settle:
            continue
        end = await journal.outcome(session, TurnKey(session, decision.turn).event_id)
        if end is not None and end.turn == decision.turn and end.disposition != decision.disposition:
            return await recorded_outcome(journal, session, end)
    return None


def recorded(session: SessionKey, decision: Decision) -> Recorded:
    """Return a decision as the journal takes it."""
    body = decision.body
    turn = None if decision.turn is None else TurnKey(session, decision.turn)
    entry = NewEntry(
        decision.type,
        body,
        event_id=turn.event_id if turn else None,
        step=decision.step,
        key=decision.key or None,
        at=decision.at or None,
    )
    if turn is None or decision.disposition is None:
        return Recorded(entry)
    outcome = Outcome(
        turn.event_id,
        turn.turn,
        cast(Disposition, decision.disposition),
        stop="interrupted" if decision.type == "turn.interrupted" else None,
        reason=_text(body.get("reason", body.get("error"))),
        into=_text(body.get("into")),
    )
    return Recorded(entry, outcome)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
