"""The order of sources that number their events.

Invariant: the numbers are those of the histories, which the producers' log must confirm; a gap counts as told only
from where its record stands, and excuses nobody who had come by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.checker.histories import Accepted, Gap, Session
from tests.chaos.checker.recording import Recording


def per_source(recording: Recording) -> Iterator[str]:
    """A source's turns begin by its numbers, none is passed over in silence, and a gap is told in its time."""
    for call in recording.first_calls:
        session = recording.sessions.get(call.session)
        arrived = session.arrivals.get(call.event_id) if session else None
        if arrived is not None and arrived.number != call.number:
            yield f"{call.session} {call.event_id}: sent as number {call.number}, accepted as {arrived.number}"
    for session in recording.sessions.values():
        patience = recording.patience.get(session.name, 0.0)
        for source, numbered in _sources(session).items():
            gaps = [gap for gap in session.gaps if gap.source == source]
            for fault in (*_order(session, numbered), *_silence(session, numbered, gaps)):
                yield f"{session.name} {source}: {fault}"
            for gap in gaps:
                for fault in _haste(session, numbered, gap, patience):
                    yield f"{session.name} {source}: gap {gap.first} to {gap.last} {fault}"


def excused(session: Session, event_id: str) -> bool:
    """Return whether an event was set aside for its number's sake: late for a gap that was told, or behind one."""
    arrived = session.arrivals[event_id]
    if arrived.number is None:
        return False
    parked = [end.at for end in session.ends.get(event_id, ()) if end.how == "parked"]
    accepted = session.accepted[event_id]
    for gap in (gap for gap in session.gaps if gap.source == arrived.source):
        late = gap.first <= arrived.number <= gap.last and gap.decided <= accepted
        behind = gap.policy == "park" and gap.last < arrived.number and accepted < gap.at and gap.at in parked
        if late or behind:
            return True
    return False


def _sources(session: Session) -> dict[str, list[Accepted]]:
    found: dict[str, list[Accepted]] = {}
    for event in session.arrivals.values():
        if event.number is not None:
            found.setdefault(event.source, []).append(event)
    return found


def _order(session: Session, numbered: list[Accepted]) -> Iterator[str]:
    began = [(session.turns[event.event_id][0], event.number) for event in numbered if event.event_id in session.turns]
    for (_, earlier), (_, later) in pairwise(sorted(began)):
        if (earlier or 0) >= (later or 0):
            yield f"{later} ran after {earlier}"


def _silence(session: Session, numbered: list[Accepted], gaps: list[Gap]) -> Iterator[str]:
    known = {event.number for event in numbered}
    ran = [event.number or 0 for event in numbered if event.event_id in session.turns]
    for number in range(max(ran, default=0)):
        if number not in known and not any(gap.first <= number <= gap.last for gap in gaps):
            yield f"{number} was passed over, and no gap was told"


def _haste(session: Session, numbered: list[Accepted], gap: Gap, patience: float) -> Iterator[str]:
    come = [event for event in numbered if session.accepted[event.event_id] < gap.decided]
    for event in come:
        if gap.first <= (event.number or 0) <= gap.last:
            yield f"was told when {event.event_id} had come"
    waited = [event.time for event in come if (event.number or 0) > gap.last]
    if not waited or gap.time - min(waited) < patience:
        yield f"was told after {gap.time - min(waited):.3f} s" if waited else "kept nobody waiting"
