"""Inputs and results of the steps.

Invariant: small, by reference, and readable by older and newer peers: every field has a default, fields that say
nothing do not travel (a turn's history bytes are a promise), and fields of a newer peer are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from inturn.policy import InboxPolicy
from inturn.ticks import Dst
from inturn.turns.call_results import CallStatus
from inturn.wire import Exchanged, Message


class StepInput(Exchanged):
    """What every step is told: which journal the session knows, and how far."""

    journal: str | None = None
    """The identity of its log (`inturn.journal.Position`); `None` before it has one."""
    head: int = 0


class StepResult(Exchanged):
    """What every step tells of the journal."""

    journal: str | None = None
    """The identity of the session's log, where the input had none or another: `head` may be lower than before then."""
    head: int = 0
    seal: str | None = None
    """The seal of the log at `head`, where this step wrote it."""
    elsewhere: str | None = None
    """Nothing was done: a worker that can do it takes it from this task queue."""


class Answered(Message):
    """What became of an approval, on its way to the journal."""

    approval_id: str = ""
    call_id: str = ""
    tool: str = ""
    answer: Literal["approved", "denied", "expired"] = "approved"
    by: str | None = None
    via: str | None = None
    reason: str | None = None
    at: float = 0.0
    """Seconds since 1970 by the workflow's clock."""

    def body(self) -> dict[str, Any]:
        """Return the body of its journal entry."""
        fields = ("approval_id", "call_id", "tool", "answer", "by", "via", "reason")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}


class ModelInput(StepInput):
    """Input of `call_model`. Session, turn and step are in the activity id (`inturn.keys.StepKey`)."""

    event: dict[str, Any] | None = None
    """The event's JSON object, at step 0 only; `None` at step 0 of a redrive: the journal has it."""
    n: int = 0
    """The event's number in the order of acceptance."""
    agent: str | None = None
    """The session's agent, or the one that the event asked for; `None`: the worker's only one."""
    model: str | None = None
    """Behind step 0: the model that answers in this turn, where it is not the agent's own."""
    policy: str | None = None
    """Hash of the policy that the workflow holds."""
    inline: bool = False
    """The answer's text is wanted back: somebody waits who cannot read the journal."""
    trace: str | None = None
    chain: str | None = None
    """Set until the journal knows it: names this chain of runs. Goes into `turn.started`; counts are per chain."""
    recover: bool = False
    """The session began anew: what earlier runs of it left open is to be sent again first."""
    resets: int = 0
    """At step 0: how often the session was reset. Goes into `turn.started`; the order of acceptance begins anew."""
    joined: list[dict[str, Any]] = []
    """Events merged or steered into this turn, in order, as JSON objects."""
    compact: str | None = None
    """Somebody asked for a summary of the conversation; empty, or what the summary is to be like."""
    raised: int = 0
    """How often a person gave the turn as much as its budget once more."""
    answered: Answered | None = None
    """What a person said of that last, where nobody has written it down yet."""
    backlogged: bool = False
    """At step 0: many events wait behind this one, which did not come to interrupt."""


class CallPlan(Message):
    """One tool call as the workflow sees it."""

    id: str = ""
    """The model's id of the call."""
    tool: str = ""
    preview: str = ""
    """The arguments, at most 200 characters."""
    hash: str = ""
    """12 hex digits of the arguments' hash."""
    timeout: float = 30.0
    retries: int = 2
    approval: bool = False
    approval_timeout: float = 86_400.0
    """Seconds a person has to answer."""
    locks: list[str] = []
    result: int | None = None
    """Bytes of its result that the conversation has room for, where that is less than usual."""
    failures: int | None = None
    """So many failed calls of the step, and its others are cancelled."""
    kind: Literal["call", "budget"] = "call"
    """What a person is asked for: this call, or as much once more as the turn has used."""

    @property
    def approval_id(self) -> str:
        """The call, and what exactly would be done."""
        return f"{self.id}:{self.hash}"


class Policy(Message):
    """What the workflow has to know of an agent."""

    hash: str = ""
    inbox: dict[str, Any] = {}
    deliver: bool = False

    @cached_property
    def for_inbox(self) -> InboxPolicy:
        """What the inbox has to know; the defaults where a newer version's values are not known here."""
        try:
            return InboxPolicy.model_validate(self.inbox)
        except ValidationError:  # no reason to stand still
            return InboxPolicy()


class Ended(Message):
    """An event's end that the journal already holds."""

    disposition: str = "applied"
    stop: str | None = None
    reason: str | None = None
    into: str | None = None
    n: int = 0
    """Its number in the order of acceptance, where the journal knows it; else 0."""
    effects: bool = False
    """Its turns called tools."""
    turn: str | None = None
    """The turn that ended it: the event id, with `~n` when redriven."""
    delivered: bool = False
    """That turn was delivered."""


class ModelResult(StepResult):
    """Result of `call_model`."""

    stop: str = "end_turn"
    """`tool_use` and `pause_turn` go on; `ask_budget` has nothing done, and asks by the one call in `calls`; `ended`,
    `closed` and `recovered` mean that no step may run; all others end the turn."""
    calls: list[CallPlan] = []
    agent: str | None = None
    """The agent's name, where it differs from the input's."""
    model: str | None = None
    """Where the turn goes on: the model that answers in it, where it is not the agent's own."""
    policy: Policy | None = None
    """The agent's policy, where its hash differs from the input's."""
    usage: dict[str, Any] = {}
    """What this step used: the fields of `Usage` that are not zero."""
    apart: list[str] = []
    """Events that were to join and are no part of this step."""
    compacted: str | None = None
    """The summary that the input asked for was seen to."""
    ended: Ended | None = None
    recorded: bool = False
    """It was done before: nothing was written for this asking, neither that the turn began nor its chain."""
    turn: dict[str, Any] | None = None
    """The `Turn`, inline (text up to 4 KB), when wanted and the turn has ended."""


class ToolInput(StepInput):
    """Input of `run_tool`. The call is named by the activity id; its arguments are in the journal."""

    call: str = ""
    """The model's id of the call, for people: nothing is found by it."""
    result: int | None = None
    """Bytes of its result that the conversation has room for; `None`: as many as usual."""
    agent: str | None = None
    denied: str | None = None
    """A person said no: record this reason as the call's result, run nothing."""
    answered: Answered | None = None
    """What a person said of the call, where one was asked."""
    trace: str | None = None


ToolStatus = CallStatus | Literal["settled", "needs_approval"]


class ToolResult(StepResult):
    """Result of `run_tool`: the content stays in the journal."""

    status: ToolStatus = "ok"
    """`needs_approval`: nothing was done, a person is to be asked first."""
    plan: CallPlan | None = None
    """Where a person is to be asked: the call as the worker sees it that is to run it."""


class DeliverInput(StepInput):
    """Input of `deliver`: what to bring out. The activity id's step tells which delivery it is."""

    kind: Literal["turn", "approval", "notice"] = "turn"
    agent: str | None = None
    approval: dict[str, Any] | None = None
    notice: dict[str, Any] | None = None
    trace: str | None = None


class Decision(Message):
    """One thing that the workflow alone decided."""

    type: str = ""
    """The journal entry's type."""
    turn: str | None = None
    """The turn's name (the event id, with `~n` when redriven), where it concerns an event."""
    step: str | None = None
    """The step of the turn, where it concerns one."""
    key: str = ""
    """Unique in the session: a decision is recorded once."""
    disposition: str | None = None
    """How the event ended, where it did."""
    body: dict[str, Any] = {}
    at: float = 0.0
    """Seconds since 1970 by the workflow's clock."""
    trace: str | None = None
    """The producer's `traceparent`, where a turn ends by this."""
    started: float = 0.0
    """When that turn started, seconds since 1970."""
    agent: str | None = None
    """Its agent."""

    @property
    def event_id(self) -> str:
        """The event that it concerns, if any."""
        return (self.turn or "").partition("~")[0]

    @property
    def ends(self) -> str:
        """How it ends its event; one that is rejected has no outcome, for it may come again."""
        return self.disposition or ("rejected" if self.type == "event.rejected" else "")

    @property
    def n(self) -> int:
        """The number in the order of acceptance of the event that it ends, where it tells; else 0."""
        return int(self.body.get("n") or 0)


def counted_decisions(
    counts: Mapping[str, int], names: Mapping[str, int], signals: Mapping[str, str], stamp: str, now: float
) -> list[Decision]:
    """Return a decision for each kind of ends that were too many to be told one by one.

    How many there were is said, and of each event which one it was.

    Args:
        counts: How many of each kind: the type of its entries, a reason and perhaps a source, with spaces between.
        names: The short names of events that had waited, each with the place of its kind.
        signals: Which brought those that were rejected as they came, as `inturn.signals` marks them.
        stamp: What tells these decisions from others of the same kinds.
        now: The time, in seconds since 1970.
    """
    ids: dict[int, list[str]] = {}
    for name, place in names.items():
        ids.setdefault(place, []).append(name)
    made: list[Decision] = []
    for place, (kind, count) in enumerate(counts.items()):
        type_, reason, *source = kind.split(" ", 2)
        body: dict[str, Any] = {"reason": reason, "count": count} | ({"source": source[0]} if source else {})
        if place in ids:
            body["ids"] = "".join(ids[place])
        if signals and type_ == "event.rejected":
            body["signals"], signals = dict(signals), {}
        made.append(Decision(type=type_, key=f"{kind}/{stamp}", body=body, at=now))
    return made


class TickInput(Exchanged):
    """What a schedule sends: as its maker said, and for one tick which one."""

    session_id: str = ""
    agent: str | None = None
    event: dict[str, Any] = {}
    """The event's JSON object, without its id and its time."""
    timezone: str = "UTC"
    dst: Dst = "both"
    tenant: str = ""
    schedule_id: str = ""
    nominal: float = 0.0
    """When it was to be: whole seconds since 1970."""


class TickResult(Exchanged):
    """What became of a tick."""

    event_id: str = ""
    paused: str | None = None
    """Why the schedule was paused, where it was."""


class RecordInput(StepInput):
    """Input of `record`: decisions in order, and turns whose open steps are to be settled first."""

    decisions: list[Decision] = []
    settle: list[str] = []
    close: bool = False
    """Append `session.closed` last: nothing is taken afterwards."""
    cancelled: str | None = None
    """What the results of settled calls say that were cancelled: their turn goes on, or the session was closed."""
    joined: list[str] = []
    """Events that the settled turn took up: it may be that one had ended before."""
    number: str | None = None
    """The number of these calls' step: a late attempt must not settle those of a later one."""
    unclaimed: bool = False
    """Settle only calls that wait to begin: no attempt holds them, and their bodies never began."""
    policy: bool = False
    """Return the agent's policy."""
    agent: str | None = None
    """Which agent's; `None`: the worker's only one."""


class RecordResult(StepResult):
    """Result of `record`."""

    ended: Ended | None = None
    """How the settled turn had ended in the journal before, where that is not what was decided."""
    stood: dict[str, Ended] = {}
    """Events that these decisions ended and that had ended before, how: duplicates, or after a reset the events."""
    apart: dict[str, Ended] = {}
    """Events that it took up and that had ended before, otherwise than by it: how."""
    unsaid: list[str] = []
    """Events that it took up and that none of its steps had come to say."""
    usage: dict[str, float] = {}
    """What the settled turn's attempts used that gave no answer."""
    lost: list[str] = []
    """Parked events whose content the journal does not have."""
    policy: Policy | None = None
    """The agent's policy, where it was asked for and there is such an agent."""
