"""What the workflow alone decided goes into the journal.

Invariant: decisions are written in the order in which they were made, each once, the first of them in one transaction
with the settling of the steps that they leave open; so are the others, but for those whose contents would be too much.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

from inturn import names
from inturn.journal import Journal, NewEntry, Outcome, Recorded, Written
from inturn.journal.log import contents
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import Disposition
from inturn_activities import sealed
from inturn_activities.messages import Decision, Ended, RecordInput, RecordResult
from inturn_activities.model import joined_events
from inturn_activities.recorded_ends import recorded_outcome
from inturn_activities.telemetry.turn_spans import trace_decided

MOVED: Final = 1024 * 1024
"""Bytes of contents that one transaction moves into entries, as their events say: others wait for it."""


async def record(journal: Journal, step: StepKey, input: RecordInput) -> RecordResult:
    """Write the decisions of a session."""
    session = step.session
    parts, end, usage = _parts(await sealed.kept(journal, session, input.decisions)), Written(), dict[str, float]()
    for number, part in enumerate(parts):
        end = await journal.record(
            session,
            [recorded(session, decision) for decision in part],
            settle=[TurnKey(session, turn) for turn in input.settle] if number == 0 else (),
            close=input.close and number == len(parts) - 1,
            cancelled=input.cancelled,
            number=input.number,
            unclaimed=input.unclaimed,
        )
        usage |= end.usage
    for decision in input.decisions:
        trace_decided(session, decision)
    result = RecordResult(head=end.head, seal=end.seal or None, usage=usage)
    result.ended = await _recorded_before(journal, session, input)
    if decided := _decided(input):
        stood = await journal.standing(session, decided)
        result.stood = {name: await recorded_outcome(journal, session, before) for name, before in stood.items()}
    for turn in (TurnKey(session, turn) for turn in input.settle if input.joined):
        for other in await joined_events.elsewhere(journal, turn, input.joined):
            result.apart[other.event_id] = await recorded_outcome(journal, session, other)
        here = [event_id for event_id in input.joined if event_id not in result.apart]
        result.unsaid += await joined_events.unsaid(journal, turn, here)
    result.lost += [event_id for decision in input.decisions async for event_id in _lost(journal, session, decision)]
    return result


def _decided(input: RecordInput) -> dict[str, tuple[str, int]]:
    """Return how those events end by these decisions that have no turn of theirs, with their numbers."""
    ended = [d for d in input.decisions if d.ends and d.turn not in input.settle]
    return {d.event_id: (d.ends, d.n) for d in ended if d.n}


async def _lost(journal: Journal, session: SessionKey, decision: Decision) -> AsyncIterator[str]:
    """Yield the event that a decision parked, where the entry says that its content is nowhere."""
    if decision.turn is not None and contents.refers(decision.body.get("event")):
        entry = await journal.entry(session, decision.key)
        if entry is not None and entry.body.get("type") == names.CONTENT_LOST:
            yield TurnKey(session, decision.turn).event_id


def _parts(decisions: Sequence[Decision]) -> list[list[Decision]]:
    """Cut decisions where the contents that they move would be more than one transaction should write."""
    parts, size = [list[Decision]()], 0
    for decision in decisions:
        moved = sum(int(event["claim"]["size"]) for event in _set_aside(decision) if contents.refers(event))
        if moved and size + moved > MOVED:
            parts.append([])
            size = 0
        parts[-1].append(decision)
        size += moved
    return parts


def _set_aside(decision: Decision) -> list[Any]:
    return [decision.body.get("event"), *decision.body.get("joined", ())]


async def _recorded_before(journal: Journal, session: SessionKey, input: RecordInput) -> Ended | None:
    """Return the end that the settled turn had already: recorded before its worker died, before a reset, long ago."""
    for decision in input.decisions:
        if decision.type not in ("turn.interrupted", "turn.failed") or decision.turn not in input.settle:
            continue
        end = await journal.outcome(session, TurnKey(session, decision.turn).event_id)
        if end is None:
            continue
        before = await recorded_outcome(journal, session, end)
        differs = (end.turn, end.disposition) != (decision.turn, decision.disposition)
        if differs or (before.n and before.n != decision.n):
            return before
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
