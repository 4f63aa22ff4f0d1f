"""Events that do not wait for their turn: those that interrupt, and those that join another one.

Invariant: an interrupt stops the one turn that runs, and only while it runs; what joins a turn joins the one that ran
when it came, or the queue's last of its own source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.checker.histories import End, Position, Session, event_of
from tests.chaos.checker.recording import Recording


def interrupts(recording: Recording) -> Iterator[str]:
    """An event that interrupts runs next; no step of another turn begins before it."""
    for session in recording.sessions.values():
        asked = sum(control.op == "interrupt" for control in session.controls)
        if asked > recording.interrupts[session.name]:
            yield f"{session.name}: {asked} interrupts, and {recording.interrupts[session.name]} were asked for"
        for event_id, event in session.arrivals.items():
            if event.mode == "interrupt" and event_id in session.turns:
                came, began = session.accepted[event_id], session.turns[event_id][0]
                for step in sorted(_overtaking(session, came, began)):
                    yield f"{session.name}: {step} began after {event_id} had come to interrupt, and before its turn"


def joins(recording: Recording) -> Iterator[str]:
    """A merged event stands in the turn that ran when it came, or in that of its source's last."""
    for session in recording.sessions.values():
        for event_id, ends in session.ends.items():
            for end in (end for end in ends if end.how == "merged" and event_id in session.accepted):
                if not _may_join(session, event_id, end.into or ""):
                    mode = session.arrivals[event_id].mode
                    yield f"{session.name} {event_id}: {mode}, and was merged into {end.into}"


def stopped(session: Session, end: End) -> bool:
    """Return whether somebody stopped the turn that ended: an interrupt came while it ran, or its event's cancel."""
    if not end.interrupted:
        return False
    came = [session.accepted[e] for e, event in session.arrivals.items() if event.mode == "interrupt"]
    came += [control.at for control in session.controls if _means(control.op, control.event_id, event_of(end.turn))]
    since = session.since(end.turn)
    return any(since < at < end.at for at in came)


def _means(op: str, named: str | None, event_id: str) -> bool:
    return (op == "interrupt" and named in (None, event_id)) or (op == "cancel" and named == event_id)


def _overtaking(session: Session, came: Position, began: Position) -> Iterator[str]:
    for at, step in session.steps:
        if came < at < began and step.kind != "record":
            other = session.arrivals.get(step.event_id)
            later = other is not None and other.mode == "interrupt" and session.accepted[step.event_id] > came
            if not later:
                yield step.key


def _may_join(session: Session, event_id: str, host: str) -> bool:
    if host not in session.accepted or host not in session.overs:
        return False
    event, other = session.arrivals[event_id], session.arrivals[host]
    came = session.accepted[event_id]
    if event.mode == "steer":
        turns = [turn for turn in session.overs if event_of(turn) == host]
        return any(session.since(turn) < came < session.overs[turn] for turn in turns)
    return event.mode == other.mode == "merge" and event.source == other.source and session.accepted[host] < came


def counts(recording: Recording) -> Counter[str]:
    """Count what there was to see."""
    ends = [end for session in recording.sessions.values() for ends in session.ends.values() for end in ends]
    steered = [
        (session.name, event_id)
        for session in recording.sessions.values()
        for event_id, ends in session.ends.items()
        if session.arrivals.get(event_id) is not None and session.arrivals[event_id].mode == "steer"
        if any(end.how == "merged" for end in ends)
    ]
    return Counter(interrupted=sum(end.interrupted for end in ends), steered=len(steered))
