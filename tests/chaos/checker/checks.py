"""The checks: each takes a recording and gives what contradicts its promise.

Invariant: a check looks at what was recorded, never at how it came about: no allowance for a fault that was done, and
none for what the system says of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tests.chaos.checker.histories import CANARY, Session, endings, event_of
from tests.chaos.checker.interrupts import interrupts, joins, stopped
from tests.chaos.checker.recording import OUTCOMES, Recording
from tests.chaos.checker.sequences import excused, per_source

Find = Callable[[Recording], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and how to find what breaks it."""

    name: str
    says: str
    promises: tuple[str, ...]
    find: Find


def log(recording: Recording) -> Iterator[str]:
    """A log that was cut off would hide what it lost."""
    end = recording.log[-1] if recording.log else {}
    if end.get("op") != "end" or end.get("calls") != len(recording.calls):
        yield f"the log ends with {end}, after {len(recording.calls)} calls"
    for call in recording.calls:
        if len(call.outcomes) != 1:
            yield f"{call.session} {call.source}#{call.sequence} has the outcomes {call.outcomes or 'none'}"
    for line in recording.log:
        if line["op"] not in ("session", "invoke", "cancel", "interrupt", "answer", "end", *OUTCOMES):
            yield f"unknown line {line}"


def runs(recording: Recording) -> Iterator[str]:
    """Every run is there, and hangs on the one before."""
    for name in sorted({session for session, _ in recording.promised} - recording.sessions.keys()):
        yield f"{name}: no history"
    for session in recording.sessions.values():
        first, last = session.runs[0], session.runs[-1]
        if first.continued_from is not None:
            yield f"{session.name}: the first run continues {first.continued_from}, which is missing"
        if last.end != "COMPLETED":
            yield f"{session.name}: run {last.run_id} ends {last.end or 'open'}, not closed in good order"
        for earlier, later in pairwise(session.runs):
            if later.continued_from != earlier.run_id or earlier.continued_to != later.run_id:
                yield f"{session.name}: run {later.run_id} does not continue {earlier.run_id}"


def loss(recording: Recording) -> Iterator[str]:
    """What a producer was told is durable ends in exactly one disposition."""
    reached = {(row["session"], event_id) for row in recording.ledger for event_id in row.get("said", ())}
    for name, event_id in sorted(recording.promised):
        session = recording.sessions.get(name)
        ends = session.ends.get(event_id, []) if session else []
        if session is None or event_id not in session.accepted:
            yield f"{name} {event_id}: acknowledged and in no history"
        elif not ends:
            yield f"{name} {event_id}: accepted and never ended"
        elif ends[0].how in ("applied", "merged") and (name, event_id) not in reached:
            # Where the turn that it joined was stopped or failed, that may have been before the model was asked.
            hosts = session.ends.get(ends[0].into or "", ()) if ends[0].how == "merged" else ()
            if not any(host.how in ("cancelled", "parked") for host in hosts):
                yield f"{name} {event_id}: {ends[0].how}, and no model was ever told of it"


def ends(recording: Recording) -> Iterator[str]:
    """An event ends as it asked for; no fault parks, cancels or rejects it."""
    for call in recording.first_calls:
        session = recording.sessions.get(call.session)
        if session is None or not call.ok:
            continue
        allowed = {*call.ends, "cancelled"} if (call.session, call.event_id) in recording.cancelled else {*call.ends}
        if call.event_id in session.accepted and excused(session, call.event_id):
            allowed.add("parked")
        # Stopped with its turn, which somebody interrupted.
        found = {end.how for end in session.ends.get(call.event_id, ()) if not stopped(session, end)}
        if found - allowed:
            yield f"{call.session} {call.event_id}: ended {sorted(found)}, asked for {sorted(allowed)}"


def once(recording: Recording) -> Iterator[str]:
    """One turn and one end per event; no step is done twice."""
    for session in recording.sessions.values():
        for event_id, ends in session.ends.items():
            if len(ends) > 1:
                yield f"{session.name} {event_id}: ended {len(ends)} times: {[end.how for end in ends]}"
        done = Counter(step.key for _, step in session.steps if step.result is not None and step.stood is None)
        for key, count in done.items():
            if count > 1:
                yield f"{key}: done {count} times"


def phantom(recording: Recording) -> Iterator[str]:
    """Nothing is accepted, run or done outside that nobody sent."""
    for session in recording.sessions.values():
        ran = {event_of(turn) for turn in session.turns}
        known = session.accepted.keys() | ran | session.ends.keys()
        for event_id in sorted(known - {""}):
            if (session.name, event_id) not in recording.invoked:
                yield f"{session.name} {event_id}: in the history, and nobody sent it"
        for event_id in sorted((ran | session.ends.keys()) - session.accepted.keys()):
            yield f"{session.name} {event_id}: ran or ended, and was never accepted"
    for row in recording.ledger:
        if (row["session"], row["event_id"]) not in recording.invoked:
            yield f"{row['key']}: in the ledger, and nobody sent its event"


def order(recording: Recording) -> Iterator[str]:
    """Turns of a session begin in the order of acceptance, but for those that interrupt or are numbered."""
    for session in recording.sessions.values():
        queued = {e for e, event in session.arrivals.items() if event.number is None and event.mode != "interrupt"}
        began = sorted((at, event_id) for event_id, (at, _) in session.turns.items() if event_id in queued)
        for (_, earlier), (_, later) in pairwise(began):
            if session.accepted[earlier] > session.accepted[later]:
                yield f"{session.name}: {earlier} ran before {later}, which was accepted earlier"


def calls(recording: Recording) -> Iterator[str]:
    """What one handle sends is accepted in the order of its calls."""
    latest: dict[tuple[str, str], tuple[Any, str]] = {}
    for call in sorted(recording.first_calls, key=lambda call: (call.session, call.source, call.sequence)):
        session = recording.sessions.get(call.session)
        # Not known to have arrived: it may have come later, when its call had given up its place.
        if session is None or not call.ok or call.event_id not in session.accepted:
            continue
        at = session.accepted[call.event_id]
        before = latest.get((call.session, call.source))
        if before is not None and before[0] > at:
            yield f"{call.session} {call.source}: {call.event_id} was accepted before {before[1]}, called earlier"
        latest[call.session, call.source] = (at, call.event_id)


def overlap(recording: Recording) -> Iterator[str]:
    """The steps of one turn are over before those of the next begin."""
    for session in recording.sessions.values():
        spans = sorted((began, ended, event_id) for event_id, (began, ended) in session.turns.items())
        for (_, ended, earlier), (began, _, later) in pairwise(spans):
            if began < ended:
                yield f"{session.name}: {later} began at {began}, before {earlier} was over at {ended}"


def effects(recording: Recording) -> Iterator[str]:
    """Each call of a tool has its effect once, and no effect stands for no call."""
    tools = {
        step.key: step
        for session in recording.sessions.values()
        for _, step in session.steps
        if step.kind == "run_tool"
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in recording.ledger:
        if row["kind"] == "effect":
            rows.setdefault(row["key"], []).append(row)
    for key, found in rows.items():
        if key not in tools:
            yield f"{key}: an effect of no call in the histories"
        if len(found) > 1 and not found[0]["keyed"]:
            yield f"{key}: {len(found)} effects of a tool without key"
        if len({(row["session"], row["event_id"], row["tool"]) for row in found}) > 1:
            yield f"{key}: one key for different effects"
        yield from _misplaced(key, found[0])
    for key, step in tools.items():
        status = (step.result or {"status": "none"}).get("status", "ok")
        if status == "ok" and key not in rows:
            yield f"{key}: reported as done, and had no effect"


def leak(recording: Recording) -> Iterator[str]:
    """Nothing of one session is in another's history, model call or effect."""
    for session in recording.sessions.values():
        for run in session.runs:
            yield from _foreign(recording, f"history of {session.name}", session.name, run.canaries)
    for row in recording.ledger:
        yield from _foreign(recording, f"{row['kind']} {row['key']}", row["session"], row["canaries"])
    for line in recording.answers:
        found = [canary.decode() for canary in CANARY.findall(line["text"].encode())]
        yield from _foreign(recording, f"answer to {line['event_id']}", line["session"], found)


def answers(recording: Recording) -> Iterator[str]:
    """Who asked gets the answer to that."""
    # Asked again for an event that others were merged with, one is told the answer to all of them.
    shared = {(e["session"], e["event_id"]) for e in recording.log if e["op"] == "invoke" and "merged" in e["ends"]}
    for line in recording.answers:
        if (line["session"], line["event_id"]) in shared:
            continue
        if line["disposition"] == "applied" and "[[" not in line["asked"] and line["asked"] not in line["text"]:
            yield f"{line['session']} {line['event_id']}: asked {line['asked']!r}, and was told {line['text'][:100]!r}"


def conservation(recording: Recording) -> Iterator[str]:
    """What a session carried from run to run agrees with what its histories show; at the end nothing is open."""
    for session in recording.sessions.values():
        yield from _books(session)
        open_ = session.accepted.keys() - session.ends.keys()
        if open_:
            yield f"{session.name}: {len(session.accepted)} accepted, {len(open_)} without an end"


def stops(recording: Recording) -> Iterator[str]:
    """A worker that is told to stop does, in good order."""
    for line in recording.done:
        if line["kind"] == "stop" and line["code"] != 0:
            how = "did not end" if line["code"] is None else f"ended with {line['code']}"
            yield f"worker {line['pid']} of lane {line['lane']}, told to stop, {how}"


def faults(recording: Recording) -> Iterator[str]:
    """The campaign was no quiet day: what it planned was done, and the histories show it."""
    planned: list[str] = next((line["kinds"] for line in recording.faults if line["op"] == "plan"), [])
    done = Counter(line["kind"] for line in recording.done)
    for kind in planned:
        if not done[kind]:
            yield f"no {kind} was done"
        elif not any(line.get("hit", True) for line in recording.done if line["kind"] == kind):
            yield f"no {kind} hit anything"
    if not done:
        yield "no fault was done"
    retried = retries(recording)
    named = sum(line.get("point") is not None and line.get("hit", False) for line in recording.done)
    if retried < named * 0.5:
        yield f"{named} workers died in mid-step, and the histories show {retried} repeated attempts"
    workers = {name.rpartition(":")[2] for s in recording.sessions.values() for run in s.runs for name in run.workers}
    killed = {str(line["pid"]) for line in recording.done if line["kind"] == "kill"}
    if len(killed & workers) * 3 < len(killed):
        yield f"{len(killed)} workers were killed, and {len(killed & workers)} of them ever worked"


def retries(recording: Recording) -> int:
    """Attempts that were lost or failed, as the histories show them."""
    return sum(step.attempt - 1 for session in recording.sessions.values() for _, step in session.steps)


def _misplaced(key: str, row: dict[str, Any]) -> Iterator[str]:
    tenant, session_id, turn, *_ = key.split("/")
    if row["session"] != f"{tenant}/{session_id}" or row["event_id"] != turn.partition("~")[0]:
        yield f"{key}: its effect is that of {row['session']} {row['event_id']}"


def _foreign(recording: Recording, where: str, owner: str, canaries: Any) -> Iterator[str]:
    for canary in canaries:
        if canary != recording.canaries.get(owner):
            yield f"{where}: holds the canary of {recording.owners.get(canary, 'nobody')}"


def _books(session: Session) -> Iterator[str]:
    for n, run in enumerate(session.runs):
        if run.carried is None:
            continue
        inbox = run.carried["inbox"]
        books = {"accepted": 0, "counts": {}, **inbox.get("books", {})}  # what says nothing does not travel
        accepted = sum(at[0] <= n for at in session.accepted.values())
        counts = Counter({kind: count for kind, count in books["counts"].items() if count and kind != "repeated"})
        booked = Counter(end.how for ends in session.ends.values() for end in ends if end.at[0] <= n)
        ended = booked + Counter(end.how for end in endings(books))  # decided, and written by the next run
        turn, held = run.carried.get("turn"), inbox.get("sequencer", {}).get("held", ())
        queued = inbox.get("queue", {}).get("events", ())
        waiting = len(queued) + len(held) + (1 + len(turn.get("merged", ())) if turn else 0)
        if books["accepted"] != accepted or counts != ended or counts.total() + waiting != accepted:
            carried = f"{books['accepted']} accepted, {dict(counts)}, {waiting} open"
            yield f"{session.name} run {n + 1} carried {carried}; its histories show {accepted} accepted, {dict(ended)}"


CHECKS: Final = (
    Check("log", "the producers' log is whole: every call has one outcome", (), log),
    Check("runs", "every run of every session is there, first to last, and the last was closed", ("SUR-6",), runs),
    Check("loss", "what was acknowledged was accepted and ended", ("ACC-1", "SUR-1", "SUR-5"), loss),
    Check("ends", "an event ends as it asked for: no fault parks or drops it", ("SUR-5",), ends),
    Check("phantom", "nothing ran or had an effect that nobody sent", ("ACC-8",), phantom),
    Check("once", "one turn and one end per event id, no step done twice", ("ACC-2", "EFF-3"), once),
    Check("order", "turns begin in the order of acceptance", ("ORD-1",), order),
    Check("source", "a numbered source's turns begin by its numbers, none in silence left out", ("ORD-3",), per_source),
    Check("interrupts", "an event that interrupts runs next, before any other step", ("EFF-8",), interrupts),
    Check("joins", "an event is merged into the turn that it came to, or its source's last", ("ORD-10",), joins),
    Check("calls", "what one handle sends is accepted in call order", ("ORD-11",), calls),
    Check("overlap", "a turn is over before the next one of its session begins", ("ORD-2",), overlap),
    Check("effects", "an effect per call: not two, not none, no other's", ("EFF-1", "EFF-2"), effects),
    Check("leak", "no session's canary in another's history, model call or effect", ("ISO-1",), leak),
    Check("answers", "who asks is told the answer to that", ("ISO-1",), answers),
    Check("conservation", "accepted = sum of dispositions, in the histories and as carried", ("ACC-8",), conservation),
    Check("stops", "a worker that is told to stop ends by itself, in good order", ("SUR-2",), stops),
    Check("faults", "the planned faults were done, and the histories show them", (), faults),
)
