"""Exported Temporal histories, read as the facts of a session.

Invariant: only the server's own record counts: what is accepted stands as a signal or an accepted update, what ran as
an activity, how an event ended as a model step's result or a recorded decision. A position in a session is (run, event
of its history), so everything that happened has one order.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

Position = tuple[int, float]
"""(run, place in its history)"""
CANARY: Final = re.compile(rb"canary-[0-9a-f]{12}")
_PAYLOAD: Final = re.compile(rb'"data":\s*"([A-Za-z0-9+/=]+)"')
_GOES_ON: Final = ("tool_use", "pause_turn")
_STANDS: Final = ("ended", "closed")
"""Stop reasons of a step that did not run, since the journal holds its event's end already."""


@dataclass(slots=True)
class Step:
    """One activity of a history."""

    key: str
    kind: str
    first: int
    last: int | None = None
    result: dict[str, Any] | None = None
    attempt: int = 1
    """Of the attempt that the history shows: the ones before it were lost or failed."""

    @property
    def turn(self) -> str:
        """The turn's name."""
        return self.key.split("/")[2]

    @property
    def event_id(self) -> str:
        """The event; empty for what belongs to none."""
        return event_of(self.turn)

    @property
    def ends_turn(self) -> bool:
        """Whether it is the model's last word of its turn."""
        stop = self.result.get("stop", "end_turn") if self.result is not None else None
        return self.kind == "call_model" and stop is not None and stop not in (*_GOES_ON, *_STANDS)

    @property
    def stood(self) -> str | None:
        """The disposition that the journal held before, where the step found one."""
        ended = (self.result or {}).get("ended") if self.kind == "call_model" else None
        return ended.get("disposition", "applied") if ended else None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event as it was accepted."""

    event_id: str
    at: float
    time: float
    """When the session knew of it at the earliest, in seconds since 1970, by the server's clock."""
    source: str = "client"
    number: int | None = None
    """Its number in its source."""
    mode: str = "queue"
    """What it wanted to do while a turn ran."""


@dataclass(frozen=True, slots=True)
class Control:
    """What somebody asked of a session, out of band."""

    control_id: str
    op: str
    event_id: str | None
    at: Position


@dataclass(frozen=True, slots=True)
class End:
    """How a turn's event ended."""

    turn: str
    how: str
    at: Position = (0, 0)
    interrupted: bool = False
    """Its turn was running, and stopped."""
    settled: bool = False
    """Its turn was stopped or failed, as far as the session knew."""
    into: str | None = None
    """The event whose turn took it up."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers that a source was told to miss: `first` to `last`."""

    source: str
    first: int
    last: int
    policy: str
    at: Position
    """Where it was recorded: a run may carry it to the next."""
    time: float
    decided: Position
    """Where it was decided: before whatever the session knew of later."""


@dataclass(slots=True)
class Run:
    """One run of a session."""

    session: str
    run_id: str
    continued_from: str | None = None
    continued_to: str | None = None
    end: str = ""
    """The type of its last event, where that closed it."""
    accepted: list[Accepted] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    decisions: list[tuple[End, int]] = field(default_factory=list)
    """(end, position)"""
    controls: list[tuple[dict[str, Any], float]] = field(default_factory=list)
    """(control, position)"""
    gaps: list[tuple[dict[str, Any], int, float, float]] = field(default_factory=list)
    """(what was told, position, time, when it was decided)"""
    carried: dict[str, Any] | None = None
    """The inbox that it handed to the next run."""
    canaries: frozenset[str] = frozenset()
    workers: set[str] = field(default_factory=set)
    lost_tasks: int = 0
    """Workflow tasks that timed out or failed."""


@dataclass
class Session:
    """All runs of a session, first to last."""

    name: str
    runs: list[Run]

    @cached_property
    def accepted(self) -> dict[str, Position]:
        """Where each event was accepted first."""
        found: dict[str, Position] = {}
        for n, run in enumerate(self.runs):
            for event in run.accepted:
                found.setdefault(event.event_id, (n, event.at))
        return found

    @cached_property
    def arrivals(self) -> dict[str, Accepted]:
        """Each event, as it was accepted first."""
        found: dict[str, Accepted] = {}
        for event in (event for run in self.runs for event in run.accepted):
            found.setdefault(event.event_id, event)
        return found

    @cached_property
    def gaps(self) -> list[Gap]:
        """Every gap that was told."""
        found: list[Gap] = []
        for n, run in enumerate(self.runs):
            for gap, at, time, decided in run.gaps:
                later = [self.accepted[e] for e, event in self.arrivals.items() if event.time > decided]
                before = min([(n, at), *later])
                first, last = gap["missing"]
                found.append(Gap(gap["source"], first, last, gap["policy"], (n, at), time, before))
        return found

    @cached_property
    def controls(self) -> list[Control]:
        """Every control, each as it came first: one that was sent again has the same id."""
        found: dict[str, Control] = {}
        for n, run in enumerate(self.runs):
            for message, at in ((message, at) for message, at in run.controls if "control_id" in message):
                control = Control(message["control_id"], message["op"], message.get("event_id"), (n, at))
                found.setdefault(control.control_id, control)
        return list(found.values())

    @cached_property
    def steps(self) -> list[tuple[Position, Step]]:
        """Every activity, in the order of scheduling."""
        return [((n, step.first), step) for n, run in enumerate(self.runs) for step in run.steps]

    @cached_property
    def turns(self) -> dict[str, tuple[Position, Position]]:
        """Where each turn began, and where its last step closed, by the turn's name."""
        found: dict[str, tuple[Position, Position]] = {}
        for (n, first), step in self.steps:
            if step.event_id and step.stood is None:
                began, ended = found.get(step.turn, ((n, first), (n, first)))
                found[step.turn] = (began, max(ended, (n, step.last or first)))
        return found

    @cached_property
    def overs(self) -> dict[str, Position]:
        """Where each turn was over: with its last step, or with the record of its interruption."""
        found = {turn: ended for turn, (_, ended) in self.turns.items()}
        for end in (end for ends in self.ends.values() for end in ends if end.interrupted):
            found[end.turn] = max(found.get(end.turn, end.at), end.at)
        return found

    def since(self, turn: str) -> Position:
        """Return where the turn before was over: what came after that found this one running, or the next."""
        over = self.overs[turn]
        return max((at for at in self.overs.values() if at < over), default=(0, 0))

    @cached_property
    def ends(self) -> dict[str, list[End]]:
        """How each event ended: more than one entry is a mistake."""
        found: dict[str, list[End]] = {}
        for (n, first), step in self.steps:
            if step.ends_turn:
                found.setdefault(step.event_id, []).append(End(step.turn, "applied", (n, step.last or first)))
            elif step.stood and step.event_id not in found:
                found.setdefault(step.event_id, []).append(End(step.turn, step.stood, (n, step.last or first)))
        for n, run in enumerate(self.runs):
            for end, at in run.decisions:
                found.setdefault(event_of(end.turn), []).append(replace(end, at=(n, at)))
        return found


def read_sessions(directory: Path) -> dict[str, Session]:
    """Read every run of a directory, and put each session's in order."""
    runs: dict[str, list[Run]] = {}
    for path in sorted(directory.glob("*.json")):
        run = read_run(path.read_bytes())
        runs.setdefault(run.session, []).append(run)
    return {name: Session(name, in_order(found)) for name, found in runs.items()}


def in_order(runs: list[Run]) -> list[Run]:
    """Order runs along continue-as-new; those that hang on nothing come last, for `runs` to complain of."""
    left = {run.run_id: run for run in runs}
    ordered: list[Run] = []
    following = next((run for run in runs if run.continued_from is None), None)
    while following is not None:
        ordered.append(left.pop(following.run_id))
        following = left.get(following.continued_to or "")
    return ordered + list(left.values())


def read_run(text: bytes) -> Run:
    """Read one history."""
    events = json.loads(text)["events"]
    started = events[0]["workflowExecutionStartedEventAttributes"]
    run = Run(started["workflowId"], started["originalExecutionRunId"], started.get("continuedExecutionRunId"))
    reader = _Reader(run)
    for event in events:
        reader.read(event)
    reader.put_behind_updates()
    decoded = b"\n".join(base64.b64decode(data) for data in _PAYLOAD.findall(text))
    run.canaries = frozenset(found.decode() for found in CANARY.findall(text + decoded))
    return run


class _Reader:
    """Reads a history's events, one by one."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.time = 0.0
        self.task_began = 0.0
        self.tasks = 0
        """Workflow tasks that are completed."""
        self.behind: dict[float, tuple[int, str]] = {}
        """Signals that name an update of their sender's, by place: the task that takes them, and that update."""
        self.updates: dict[tuple[int, str], float] = {}
        self.scheduled: dict[str, Step] = {}
        self.readers: dict[str, Callable[[int, dict[str, Any]], None]] = {
            "WORKFLOW_EXECUTION_SIGNALED": self._signaled,
            "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": self._updated,
            "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": self._continued,
            "ACTIVITY_TASK_SCHEDULED": self._scheduled,
            "ACTIVITY_TASK_STARTED": self._started,
            "ACTIVITY_TASK_COMPLETED": self._closed,
            "ACTIVITY_TASK_FAILED": self._closed,
            "ACTIVITY_TASK_TIMED_OUT": self._closed,
            "ACTIVITY_TASK_CANCELED": self._closed,
            "WORKFLOW_TASK_STARTED": self._task,
            "WORKFLOW_TASK_COMPLETED": self._task_completed,
            "WORKFLOW_TASK_TIMED_OUT": self._lost,
            "WORKFLOW_TASK_FAILED": self._lost,
        }

    def read(self, event: dict[str, Any]) -> None:
        """Read one event."""
        kind = event["eventType"].removeprefix("EVENT_TYPE_")
        ended = kind.removeprefix("WORKFLOW_EXECUTION_")
        if ended in ("COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED", "CANCELED", "CONTINUED_AS_NEW"):
            self.run.end = ended
        if reader := self.readers.get(kind):
            attributes = next(value for name, value in event.items() if name.endswith("EventAttributes"))
            self.time = datetime.fromisoformat(event["eventTime"]).timestamp()
            reader(int(event["eventId"]), attributes)

    def put_behind_updates(self) -> None:
        """Put each signal behind the update that it names, where one task brought both: so they are taken."""
        places = {at: self.updates[named] + at / 1e6 for at, named in self.behind.items() if named in self.updates}
        moved = [replace(event, at=places.get(event.at, event.at)) for event in self.run.accepted]
        self.run.accepted = sorted(moved, key=lambda event: event.at)
        self.run.controls = [(message, places.get(at, at)) for message, at in self.run.controls]

    def _task_completed(self, at: int, attributes: dict[str, Any]) -> None:
        self.tasks += 1

    def _signaled(self, at: int, attributes: dict[str, Any]) -> None:
        if after := _decoded(attributes.get("input")).get("after"):
            self.behind[at] = self.tasks + 1, after
        if attributes["signalName"] == "submit":
            self._accepted(at, attributes.get("input"), self.time)
        else:
            self._controlled(at, attributes.get("input"))

    def _updated(self, at: int, attributes: dict[str, Any]) -> None:
        request = attributes["acceptedRequest"]["input"]
        message = _decoded(request.get("args"))
        self.updates[self.tasks, message.get("event_id") or message.get("control_id", "")] = at
        if request["name"] == "submit":
            self._accepted(at, request.get("args"), self.task_began)
        else:
            self._controlled(at, request.get("args"))

    def _controlled(self, at: int, payloads: dict[str, Any] | None) -> None:
        self.run.controls.append((_decoded(payloads), at))

    def _accepted(self, at: int, payloads: dict[str, Any] | None, time: float) -> None:
        event = _decoded(payloads)
        if "content" in event:
            source, number, mode = event.get("source", "client"), event.get("sequence"), event.get("when_busy", "queue")
            self.run.accepted.append(Accepted(event["event_id"], at, time, source, number, mode))

    def _continued(self, at: int, attributes: dict[str, Any]) -> None:
        self.run.continued_to = attributes["newExecutionRunId"]
        self.run.carried = _decoded(attributes["input"])["state"]

    def _scheduled(self, at: int, attributes: dict[str, Any]) -> None:
        step = Step(attributes["activityId"], attributes["activityType"]["name"], at)
        self.scheduled[str(at)] = step
        self.run.steps.append(step)
        if step.kind == "record":
            message = _decoded(attributes["input"])
            self.run.decisions += [(end, at) for end in endings(message)]
            gaps = (d for d in message.get("decisions", ()) if d.get("type") == "session.gap")
            self.run.gaps += [(gap["body"], at, self.time, gap.get("at", self.time)) for gap in gaps]

    def _started(self, at: int, attributes: dict[str, Any]) -> None:
        self.scheduled[attributes["scheduledEventId"]].attempt = attributes.get("attempt", 1)
        self._worked(at, attributes)

    def _task(self, at: int, attributes: dict[str, Any]) -> None:
        self.task_began = self.time
        self._worked(at, attributes)

    def _worked(self, at: int, attributes: dict[str, Any]) -> None:
        self.run.workers.add(attributes.get("identity", ""))

    def _closed(self, at: int, attributes: dict[str, Any]) -> None:
        step = self.scheduled[attributes["scheduledEventId"]]
        step.last = at
        if "result" in attributes:
            step.result = _decoded(attributes["result"])
            self._stood(step)

    def _stood(self, step: Step) -> None:
        """Correct what a record decided where the journal held another end already, which stands."""
        ended = (step.result or {}).get("ended") if step.kind == "record" else None
        if ended is not None:
            how = ended.get("disposition", "applied")
            self.run.decisions = [
                (replace(end, how=how, interrupted=False) if at == step.first and end.settled else end, at)
                for end, at in self.run.decisions
            ]

    def _lost(self, at: int, attributes: dict[str, Any]) -> None:
        self.run.lost_tasks += 1


def event_of(turn: str) -> str:
    """Return the event of a turn's name: `{event_id}`, or `{event_id}~{n}` where it was driven again."""
    return turn.partition("~")[0]


def endings(message: dict[str, Any]) -> Iterator[End]:
    """Return the ends among decisions of the workflow alone. A failed turn is told twice: as a turn and as an event."""
    decisions = message.get("decisions", ())
    settled = {d.get("turn") for d in decisions if d.get("type") in ("turn.interrupted", "turn.failed")}
    for decision in decisions:
        kind, disposition = decision.get("type", ""), decision.get("disposition")
        if kind == "event.rejected":
            disposition = "rejected"
        if disposition and kind != "turn.failed":
            turn, into = decision["turn"], decision.get("body", {}).get("into")
            interrupted = kind == "turn.interrupted"
            yield End(turn, disposition, interrupted=interrupted, settled=turn in settled, into=into)


def _decoded(payloads: dict[str, Any] | None) -> dict[str, Any]:
    found = (payloads or {}).get("payloads") or [{}]
    try:
        value = json.loads(base64.b64decode(found[0].get("data", "")))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
