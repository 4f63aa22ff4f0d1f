"""Planted bugs: what a broken system would have left behind, and the check that must notice.

Each changes a recorded good run as that bug would have changed it. Invariant: a bug is caught by the check that its
entry names; that others complain, too, is no credit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Line = dict[str, Any]
Event = dict[str, Any]


@dataclass
class Evidence:
    """A recording as plain JSON, to be changed."""

    log: list[Line]
    ledger: list[Line]
    faults: list[Line]
    histories: dict[str, list[Event]]

    @classmethod
    def read(cls, directory: Path) -> Evidence:
        """Read a recording."""
        log, ledger, faults = (_lines(directory / f"{name}.jsonl") for name in ("producers", "effects", "faults"))
        paths = sorted((directory / "histories").glob("*.json"))
        return cls(log, ledger, faults, {path.name: json.loads(path.read_text())["events"] for path in paths})

    def write(self, directory: Path) -> None:
        """Write it where a checker can read it."""
        (directory / "histories").mkdir(parents=True)
        for name, lines in (("producers", self.log), ("effects", self.ledger), ("faults", self.faults)):
            (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for name, events in self.histories.items():
            (directory / "histories" / name).write_text(json.dumps({"events": events}))

    @property
    def longest(self) -> list[Event]:
        """The history with most turns."""
        return max(self.histories.values(), key=lambda events: len(plain_turns(events)))

    @property
    def effects(self) -> list[Line]:
        """The ledger's rows of tools."""
        return [row for row in self.ledger if row["kind"] == "effect"]


@dataclass(frozen=True)
class Planted:
    """A bug, and the check that finds it."""

    name: str
    says: str
    caught_by: str
    plant: Callable[[Evidence], None]


# Reading and changing histories.


def kind(event: Event) -> str:
    """The type, as `SIGNALED`, `ACTIVITY_TASK_SCHEDULED`."""
    name: str = event["eventType"]
    return name.removeprefix("EVENT_TYPE_").removeprefix("WORKFLOW_EXECUTION_")


def attributes(event: Event) -> dict[str, Any]:
    """What the event says."""
    return next(value for name, value in event.items() if name.endswith("EventAttributes"))


def turn_of(event: Event) -> str:
    """The turn of a scheduled activity."""
    return str(attributes(event)["activityId"].split("/")[2])


def steps_of(events: list[Event], turn: str) -> list[Event]:
    """Every event of a turn's activities."""
    scheduled = [e for e in events if kind(e) == "ACTIVITY_TASK_SCHEDULED" and turn_of(e) == turn]
    ids = {e["eventId"] for e in scheduled}
    return scheduled + [e for e in events if attributes(e).get("scheduledEventId") in ids and "ACTIVITY" in kind(e)]


def plain_turns(events: list[Event]) -> list[str]:
    """Turns of one step that were accepted and done in this run, alone."""
    accepted = [submitted(e) for e in events]
    turns = dict.fromkeys(turn_of(e) for e in events if kind(e) == "ACTIVITY_TASK_SCHEDULED")
    return [turn for turn in turns if accepted.count(turn) == 1 and len(steps_of(events, turn)) == 3]


def queued_turns(events: list[Event]) -> list[str]:
    """Plain turns that have nothing but the queue to order them."""
    sent = [payload(attributes(event)["input"]) for event in events if submitted(event)]
    queued = {event["event_id"] for event in sent if "sequence" not in event and event.get("when_busy") != "interrupt"}
    return [turn for turn in plain_turns(events) if turn in queued]


def submitted(event: Event) -> str | None:
    """The event id that a signal brought."""
    if kind(event) != "SIGNALED" or attributes(event)["signalName"] != "submit":
        return None
    return str(payload(attributes(event)["input"]).get("event_id"))


def payload(payloads: dict[str, Any]) -> dict[str, Any]:
    """Decode."""
    value: dict[str, Any] = json.loads(base64.b64decode(payloads["payloads"][0]["data"]))
    return value


def put(payloads: dict[str, Any], value: dict[str, Any]) -> None:
    """Encode."""
    payloads["payloads"][0]["data"] = base64.b64encode(json.dumps(value).encode()).decode()


def remove(events: list[Event], gone: Iterable[Event]) -> None:
    """Take events out."""
    ids = {event["eventId"] for event in gone}
    events[:] = [event for event in events if event["eventId"] not in ids]


# The bugs.


def dropped_event(evidence: Evidence) -> None:
    events = evidence.longest
    turn = plain_turns(events)[1]
    remove(events, [*steps_of(events, turn), *(e for e in events if submitted(e) == turn)])


def forgotten_event(evidence: Evidence) -> None:
    events = evidence.longest
    remove(events, steps_of(events, plain_turns(events)[1]))


def unheard_event(evidence: Evidence) -> None:
    row = next(row for row in evidence.ledger if row["kind"] == "model")
    same = (row["session"], row["said"])
    evidence.ledger[:] = [row for row in evidence.ledger if (row["session"], row.get("said")) != same]


def doubled_turn(evidence: Evidence) -> None:
    events = evidence.longest
    again = json.loads(json.dumps(steps_of(events, plain_turns(events)[1])))
    last = int(events[-1]["eventId"])
    names = {event["eventId"]: str(last + n) for n, event in enumerate(again)}
    for event in again:
        event["eventId"] = names[event["eventId"]]
        fields = attributes(event)
        fields |= {key: names[fields[key]] for key in ("scheduledEventId", "startedEventId") if key in fields}
    events[-1]["eventId"] = str(last + len(again))
    events[-1:-1] = again


def swapped_turns(evidence: Evidence) -> None:
    events = evidence.longest
    first, second = queued_turns(events)[1:3]
    one, other = steps_of(events, first)[0], steps_of(events, second)[0]
    for name in ("activityId", "input"):
        a, b = attributes(one), attributes(other)
        a[name], b[name] = b[name], a[name]


def swapped_numbers(evidence: Evidence) -> None:
    numbered = next(found for found in map(_numbered, evidence.histories.values()) if len(found) > 1)
    one, other = (attributes(event)["input"] for event in numbered[:2])
    first, second = payload(one), payload(other)
    put(one, first | {"sequence": second["sequence"]})
    put(other, second | {"sequence": first["sequence"]})
    numbers = {first["event_id"]: second["sequence"], second["event_id"]: first["sequence"]}
    for line in evidence.log:
        if line["op"] == "invoke" and line["event_id"] in numbers:
            line["number"] = numbers[line["event_id"]]


def silent_gap(evidence: Evidence) -> None:
    for gap in _gaps(evidence):
        value = payload(gap)
        put(gap, value | {"decisions": [d for d in value["decisions"] if d["type"] != "session.gap"]})


def hasty_gap(evidence: Evidence) -> None:
    for line in evidence.log:
        if line["op"] == "session":
            line["patience"] += 3600


def idle_interrupt(evidence: Evidence) -> None:
    for events in evidence.histories.values():
        for message in _messages(events):
            value = payload(message)
            if value.get("when_busy") == "interrupt":
                put(message, value | {"when_busy": "queue"})
            elif value.get("op") == "interrupt":
                put(message, value | {"op": "resume"})


def patient_interrupt(evidence: Evidence) -> None:
    events = evidence.longest
    began = {turn: int(steps_of(events, turn)[0]["eventId"]) for turn in plain_turns(events)}
    for event in events:
        came, turn = int(event["eventId"]), submitted(event)
        if turn in began and any(came < at < began[turn] for at in began.values()):
            message = attributes(event)["input"]
            put(message, payload(message) | {"when_busy": "interrupt"})
            return


def wrong_host(evidence: Evidence) -> None:
    for recorded in _records(evidence):
        value = payload(recorded)
        for decision in value.get("decisions", ()):
            if decision["type"] == "event.merged":
                decision["body"]["into"] = decision["turn"]
        put(recorded, value)


def overlapping_turns(evidence: Evidence) -> None:
    events = evidence.longest
    first, second = plain_turns(events)[1:3]
    closed, scheduled = steps_of(events, first)[-1], steps_of(events, second)[0]
    began = scheduled["eventId"]
    scheduled["eventId"], closed["eventId"] = closed["eventId"], began
    for event in events:
        if attributes(event).get("scheduledEventId") == began and "ACTIVITY" in kind(event):
            attributes(event)["scheduledEventId"] = scheduled["eventId"]
    events.sort(key=lambda event: int(event["eventId"]))


def phantom_turn(evidence: Evidence) -> None:
    turn = plain_turns(evidence.longest)[1]
    session = attributes(evidence.longest[0])["workflowId"]
    evidence.log[:] = [e for e in evidence.log if (e.get("session"), e.get("event_id")) != (session, turn)]
    evidence.log[-1]["calls"] = sum(line["op"] == "invoke" for line in evidence.log)


def doubled_effect(evidence: Evidence) -> None:
    evidence.ledger.append(next(row for row in evidence.effects if not row["keyed"]))


def second_key(evidence: Evidence) -> None:
    row = next(row for row in evidence.effects if row["keyed"])
    evidence.ledger.append({**row, "key": row["key"].replace(f"/{row['event_id']}/", f"/{row['event_id']}~1/")})


def lost_effect(evidence: Evidence) -> None:
    key = evidence.effects[0]["key"]
    evidence.ledger[:] = [row for row in evidence.ledger if row["key"] != key or row["kind"] != "effect"]


def misplaced_effect(evidence: Evidence) -> None:
    row, other = evidence.effects[0], next(row for row in evidence.ledger if row["kind"] == "model")
    row["event_id"] = other["event_id"] if other["event_id"] != row["event_id"] else evidence.ledger[-1]["event_id"]


def leaked_to_the_model(evidence: Evidence) -> None:
    rows = [row for row in evidence.ledger if row["kind"] == "model"]
    other = next(row for row in rows if row["session"] != rows[0]["session"])
    rows[0]["canaries"].extend(other["canaries"])


def leaked_to_a_history(evidence: Evidence) -> None:
    canaries = {line["session"]: line["canary"] for line in evidence.log if line["op"] == "session"}
    events = evidence.longest
    own = canaries[attributes(events[0])["workflowId"]]
    foreign = next(canary for canary in canaries.values() if canary != own)
    message = next(attributes(event)["input"] for event in events if submitted(event))
    value = payload(message)
    put(message, {**value, "content": value["content"].replace(own, foreign)})


def leaked_to_an_asker(evidence: Evidence) -> None:
    canaries = {line["session"]: line["canary"] for line in evidence.log if line["op"] == "session"}
    line = _answer(evidence)
    line["text"] += next(canary for session, canary in canaries.items() if session != line["session"])


def crossed_answer(evidence: Evidence) -> None:
    line = _answer(evidence)
    line["text"] = line["text"].replace(line["event_id"], "a0")


def parked_by_a_fault(evidence: Evidence) -> None:
    for line in evidence.log:
        if "parked" in line.get("ends", ()):
            line["ends"] = ["applied"]


def miscounted_disposition(evidence: Evidence) -> None:
    carried = _carried(evidence)
    value = payload(carried)
    counts = value["state"]["inbox"]["books"]["counts"]
    counts["applied"] -= 1
    put(carried, value)


def miscounted_acceptance(evidence: Evidence) -> None:
    carried = _carried(evidence)
    value = payload(carried)
    value["state"]["inbox"]["books"]["accepted"] += 1
    put(carried, value)


def missing_run(evidence: Evidence) -> None:
    name = next(n for n, e in evidence.histories.items() if "continuedExecutionRunId" in attributes(e[0]))
    del evidence.histories[name]


def unclosed_session(evidence: Evidence) -> None:
    events = next(events for events in evidence.histories.values() if kind(events[-1]) == "COMPLETED")
    del events[-1]


def swapped_calls(evidence: Evidence) -> None:
    session = attributes(evidence.longest[0])["workflowId"]
    first, second = [
        n
        for n, e in enumerate(evidence.log)
        if (e["op"], e.get("session"), e.get("source")) == ("invoke", session, "a")
    ][:2]
    one, other = evidence.log[first], evidence.log[second]
    one["event_id"], other["event_id"] = other["event_id"], one["event_id"]


def truncated_log(evidence: Evidence) -> None:
    del evidence.log[-10:]


def unanswered_call(evidence: Evidence) -> None:
    evidence.log.remove(next(line for line in evidence.log if line["op"] == "ok"))


def stubborn_worker(evidence: Evidence) -> None:
    evidence.faults.append({"op": "done", "kind": "stop", "pid": 1, "lane": "scripted", "code": None})


def no_faults(evidence: Evidence) -> None:
    evidence.faults[:] = [line for line in evidence.faults if line["op"] == "plan"]


def faults_that_hit_nothing(evidence: Evidence) -> None:
    for events in evidence.histories.values():
        for event in events:
            if kind(event) == "ACTIVITY_TASK_STARTED":
                attributes(event)["attempt"] = 1


def changed_step(evidence: Evidence) -> None:
    events = evidence.longest
    step = next(event for event in events if kind(event) == "ACTIVITY_TASK_SCHEDULED")
    attributes(step)["activityType"]["name"] = "call_other"


def _lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _answer(evidence: Evidence) -> Line:
    asked = (line for line in evidence.log if line["op"] == "answer" and line["disposition"] == "applied")
    return next(line for line in asked if "canary-" in line["asked"] and line["asked"] in line["text"])


def _numbered(events: list[Event]) -> list[Event]:
    plain = plain_turns(events)
    return [e for e in events if submitted(e) in plain and "sequence" in payload(attributes(e)["input"])]


def _gaps(evidence: Evidence) -> list[dict[str, Any]]:
    records = ((recorded, payload(recorded).get("decisions", ())) for recorded in _records(evidence))
    return [recorded for recorded, decisions in records if any(d["type"] == "session.gap" for d in decisions)]


def _records(evidence: Evidence) -> list[dict[str, Any]]:
    steps = (e for events in evidence.histories.values() for e in events if kind(e) == "ACTIVITY_TASK_SCHEDULED")
    return [attributes(e)["input"] for e in steps if attributes(e)["activityType"]["name"] == "record"]


def _messages(events: list[Event]) -> list[dict[str, Any]]:
    signalled = [attributes(e)["input"] for e in events if kind(e) == "SIGNALED"]
    updates = [attributes(e)["acceptedRequest"]["input"] for e in events if kind(e) == "UPDATE_ACCEPTED"]
    return signalled + [update["args"] for update in updates]


def _carried(evidence: Evidence) -> dict[str, Any]:
    histories = evidence.histories.values()
    continued = next(events[-1] for events in histories if kind(events[-1]) == "CONTINUED_AS_NEW")
    found: dict[str, Any] = attributes(continued)["input"]
    return found


PLANTED: Final = (
    Planted("dropped event", "an acknowledged event is in no history", "loss", dropped_event),
    Planted("forgotten event", "an accepted event is never processed", "loss", forgotten_event),
    Planted("unheard event", "an event ends as applied, and no model was told of it", "loss", unheard_event),
    Planted("doubled turn", "an event is processed twice", "once", doubled_turn),
    Planted("swapped turns", "an event overtakes the one accepted before it", "order", swapped_turns),
    Planted("swapped numbers", "a numbered event overtakes a lower one of its source", "source", swapped_numbers),
    Planted("silent gap", "a missing number is passed over and nobody is told", "source", silent_gap),
    Planted("hasty gap", "a missing number is given up before its time", "source", hasty_gap),
    Planted("idle interrupt", "a running event is cancelled, and nobody interrupted it", "ends", idle_interrupt),
    Planted("patient interrupt", "an event that interrupts waits in the queue", "interrupts", patient_interrupt),
    Planted("wrong host", "an event is merged into a turn that it did not come to", "joins", wrong_host),
    Planted("overlapping turns", "a turn begins before the last one is over", "overlap", overlapping_turns),
    Planted("phantom turn", "a turn of an event that nobody sent", "phantom", phantom_turn),
    Planted("doubled effect", "a tool without key acts twice", "effects", doubled_effect),
    Planted("second key", "a retry acts under another key", "effects", second_key),
    Planted("lost effect", "a call is reported as done and had no effect", "effects", lost_effect),
    Planted("misplaced effect", "a call acts for another event", "effects", misplaced_effect),
    Planted("leak to the model", "a model is told of another session", "leak", leaked_to_the_model),
    Planted("leak to a history", "an event lands in another session", "leak", leaked_to_a_history),
    Planted("leak to an asker", "an answer tells of another session", "leak", leaked_to_an_asker),
    Planted("crossed answer", "an asker is told the answer to another event", "answers", crossed_answer),
    Planted("parked by a fault", "an event ends as it did not ask for", "ends", parked_by_a_fault),
    Planted("miscounted end", "a run carries one end less than it had", "conservation", miscounted_disposition),
    Planted("miscounted event", "a run carries one event more than it had", "conservation", miscounted_acceptance),
    Planted("missing run", "a run of a session is gone", "runs", missing_run),
    Planted("unclosed session", "a session does not end", "runs", unclosed_session),
    Planted("swapped calls", "two calls of one handle are accepted in the other order", "calls", swapped_calls),
    Planted("truncated log", "the producers' log ends early", "log", truncated_log),
    Planted("unanswered call", "a call has no outcome", "log", unanswered_call),
    Planted("stubborn worker", "a worker that was told to stop goes on", "stops", stubborn_worker),
    Planted("no faults", "a campaign without faults", "faults", no_faults),
    Planted("harmless faults", "faults that the histories do not show", "faults", faults_that_hit_nothing),
    Planted("changed step", "code that cannot replay a history", "replay", changed_step),
)
