"""What a session carries from run to run.

Invariant: everything a session knows is here or in the journal; a run that continues as new starts where the last one
stopped. State of a newer version keeps the fields this one does not know.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Final, Literal

from pydantic import Field
from pydantic_core import from_json, to_json

from inturn import sizes
from inturn.policy import InboxPolicy
from inturn.turns.budget import add
from inturn.values import Usage
from inturn.wire import Message
from inturn_activities.messages import ModelInput, ModelResult, Policy, StepResult
from inturn_workflows import policies
from inturn_workflows.inbox.events import ParkedEvent
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.turn_state import CallState, Decided, TurnState

MAX_CONTROLS: Final = 256
MAX_DECIDED: Final = 100
MAX_ANSWERS: Final = 64
MAX_REDELIVERED: Final = 8


class Limits(Message):
    """When to continue as new; a session started with lower ones is for tests."""

    events: int = Field(default=policies.MAX_EVENTS, ge=30, lt=2**31)
    bytes: int = Field(default=policies.MAX_BYTES, ge=16 * 1024, lt=2**31)
    signals: int = Field(default=policies.MAX_SIGNALS, ge=2, lt=2**31)
    cut_signals: int = Field(default=policies.CUT_SIGNALS, ge=2, lt=2**31)
    updates: int = Field(default=policies.MAX_UPDATES, ge=2, lt=2**31)


class SessionState(Message):
    """The whole of a session."""

    inbox: Inbox
    turn: TurnState | None = None
    agent: str | None = None
    """The session's own, known from its first model step on."""
    wanted: str | None = None
    """The agent that the start asked for."""
    policy: Policy = Policy()
    policy_asked: bool = False
    """The agent's policy was asked for before its first turn."""
    compact: str | None = None
    """Somebody asked for a summary of the conversation, in this way: the next model step makes it."""
    paused: bool = False
    closing: Literal["park", "cancel", "rejected"] | None = None
    closed: bool = False
    """The journal holds `session.closed`."""
    controls: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The latest controls by id, with their results."""
    early: dict[str, Decided] = Field(default_factory=dict[str, Decided])
    """Answers to approvals that were not asked for yet."""
    settled: dict[str, Decided] = Field(default_factory=dict[str, Decided])
    """The latest approvals that were answered or expired."""
    answers: dict[str, str] = Field(default_factory=dict[str, str])
    """Turns, as JSON, whose text a caller without the journal may still fetch: most are never looked at again."""
    answer_bytes: int = 0
    """Bytes of `answers` as JSON."""
    usage: Usage = Usage()
    """What all model steps used."""
    redeliver: list[ParkedEvent] = Field(default_factory=list[ParkedEvent])
    """Deliveries to be tried again."""
    notices: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    flooded_at: float = 0.0
    """When signals came in a flood, last."""
    records: int = 0
    deliveries: int = 0
    runs: int = 1
    recovered: bool = False
    """What earlier runs had left open was sent again, before the first turn."""
    fault: str | None = None
    """The latest exception of our own code, for people."""
    resets: int = 0
    """How often an operator reset it: what came since was numbered anew each time."""
    queue: str | None = None
    """The task queue on which its steps find a worker that has what they need, where the session's own was not it."""
    journal: str | None = None
    """The identity of its log, as the steps told it."""
    head: int = 0
    seal: tuple[int, str] | None = None
    """A seq of the log, and its seal there: what it covers cannot change unseen."""
    chain: str | None = None
    """Named to the journal once: a session started anew on an old journal is a new chain of counts."""
    limits: Limits = Limits()

    def inbox_policy(self) -> InboxPolicy:
        """Return the agent's policy for the inbox, or the defaults before it is known."""
        return self.policy.for_inbox

    @property
    def policy_known(self) -> bool:
        """Whether the agent was asked what a sequence means: in its first turn, or before it."""
        return bool(self.policy.hash) or self.policy_asked

    @property
    def policy_wanted(self) -> bool:
        """Whether the agent is to be asked now: a sequence waits, and nothing is known of what it means."""
        return bool(self.inbox.sequencer.held) and not self.policy_known

    @property
    def next_due(self) -> float | None:
        """When there is something to do between turns though nothing arrives: 0 at once, `None` never."""
        if self.paused:
            return None
        return 0.0 if self.policy_wanted else self.inbox.next_due(self.inbox_policy())

    # What people see.

    @property
    def running(self) -> int:
        """How many events the running turn answers."""
        return len(self.turn.event_ids) if self.turn else 0

    @property
    def answered(self) -> Container[str]:
        """The events that the running turn answers."""
        return self.turn or ()

    @property
    def waiting_calls(self) -> list[CallState]:
        """The calls that wait for a person."""
        return [call for call in self.turn.questions if call.waits] if self.turn else []

    @property
    def status(self) -> str:
        """The session's state as `SessionStatus` names it."""
        if self.closed:
            return "closed"
        if self.waiting_calls:
            return "requires_action"
        if self.turn is not None:
            return "running"
        return "paused" if self.paused else "idle"

    @property
    def rare_state(self) -> str | None:
        """The state that a search attribute shows; `None` for the plain ones."""
        if self.closed:
            return "closed"
        if self.closing:
            return None
        if self.paused:
            return "paused"
        return "requires_action" if self.waiting_calls else None

    # The running turn.

    def interrupt(self, reason: str) -> None:
        """Stop the running turn at its next step, if there is one."""
        if self.turn is not None:
            self.turn.stop = reason

    def interrupt_for(self, event_id: str | None) -> None:
        """Stop the running turn for an event that came to interrupt."""
        if event_id is not None:
            self.interrupt(f"interrupted by event {event_id}")

    def release_held(self, now: float) -> None:
        """Queue what was held for its time, while a turn runs; it may be there to interrupt."""
        turn = self.turn.turn if self.turn else None
        self.interrupt_for(self.inbox.release(now, self.inbox_policy(), turn))

    @property
    def recovering(self) -> bool:
        """Whether the session began anew, and what earlier runs left open may come again."""
        return self.chain is not None and not self.recovered

    def model_input(self, turn: TurnState) -> ModelInput:
        """Return the input of the turn's next model step."""
        return ModelInput(
            event=turn.event,
            n=turn.n if turn.step == 0 else 0,
            agent=self.agent or turn.agent or self.wanted,
            model=turn.model if turn.step else None,
            policy=self.policy.hash or None,
            inline=turn.inline,
            trace=turn.trace,
            chain=self.chain,
            recover=self.recovering and turn.step == 0,
            resets=self.resets if turn.step == 0 else 0,
            joined=[queued.event for queued in turn.joined],
            compact=self.compact,
            raised=turn.raised_now,
            answered=turn.answered,
            backlogged=turn.step == 0 and not turn.interrupts and self.inbox.queue.backlogged(self.inbox_policy()),
        )

    def learn(self, turn: TurnState, result: ModelResult) -> None:
        """Take what a model step tells of the session: what it used, whose agent and policy it is."""
        if result.usage:
            self.usage = add(self.usage, Usage.model_validate(result.usage))
        if self.chain is not None:
            self._name_chain(begun=turn.step == 0 and not result.recorded)
        self.locate(result)
        if result.compacted == self.compact:  # else somebody asked again, in another way
            self.compact = None
        self.agent = result.agent or self.agent or turn.agent or self.wanted
        turn.model = result.model or turn.model
        if result.policy is not None:
            self.policy = result.policy

    def _name_chain(self, *, begun: bool) -> None:
        """Note that the journal knows this chain of runs, where a turn of it `begun` there: else the next turn says."""
        if begun:
            self.chain = None
        else:  # by this asking, all the same
            self.recovered = True

    def locate(self, result: StepResult) -> None:
        """Take what a step tells of the log. Calls end in any order; only another log may end before."""
        if result.journal is not None:
            self.journal, self.head = result.journal, result.head
        else:
            self.head = max(self.head, result.head)
        if result.seal is not None:
            self.seal = (result.head, result.seal)

    # What is remembered.

    def keep_answer(self, turn: str, answer: dict[str, Any]) -> None:
        """Keep a turn's answer for callers that come back for it; the oldest go first."""
        self._drop_answer(turn)
        kept = self.answers[turn] = to_json(answer).decode()
        self.answer_bytes += _size_of(turn, kept)
        while len(self.answers) > MAX_ANSWERS or self.answer_bytes > sizes.ANSWERS:
            self._drop_answer(next(iter(self.answers)))

    def answer_of(self, turn: str) -> dict[str, Any] | None:
        """Return a turn's answer, if it is kept."""
        kept = self.answers.get(turn)
        return None if kept is None else from_json(kept)

    def _drop_answer(self, turn: str) -> None:
        if turn in self.answers:
            self.answer_bytes -= _size_of(turn, self.answers.pop(turn))

    def keep_notices(self, notices: Sequence[dict[str, Any]]) -> None:
        """Keep what sources are to be told of, as far as there is room: the journal has all of it."""
        room = sizes.NOTICES - sizes.written(self.notices)
        for notice in notices:
            room -= sizes.written(notice) + 1
            if room >= 0:
                self.notices.append(notice)

    def fit(self) -> bool:
        """Return whether all can be carried, without what can be missed; else decisions are to be recorded first."""
        over = sizes.written(self) - sizes.CARRIED
        while over > 0 and self.answers:  # the journal has them
            oldest = next(iter(self.answers))
            over -= _size_of(oldest, self.answers[oldest])
            self._drop_answer(oldest)
        if over > 0:
            over -= sizes.written(self.notices)
            self.notices = []
        return over <= 0

    def remember_control(self, control_id: str, result: Any) -> None:
        """Remember a control, so that the same one sent again does nothing."""
        _keep(self.controls, control_id, result, MAX_CONTROLS, sizes.CONTROLS)

    def decide_early(self, approval_id: str, decided: Decided) -> None:
        """Keep an answer whose call is not known yet."""
        _keep(self.early, approval_id, decided, MAX_DECIDED, sizes.EARLY)

    def settle_approval(self, approval_id: str, decided: Decided) -> None:
        """Remember how an approval ended, for those who come late: the outcome, not why."""
        outcome = decided.model_copy(update={"reason": None})
        _keep(self.settled, approval_id, outcome, MAX_DECIDED, sizes.SETTLED)


class SessionInput(Message):
    """The workflow's input: optional and loose, so that any SDK can start a session."""

    agent: str | None = None
    state: SessionState | None = None
    limits: Limits | None = None


def _keep(kept: dict[str, Any], name: str, value: Any, limit: int, most: int) -> None:
    """Keep a value, and of those before it the latest: so many, in so many bytes."""
    kept[name] = value
    over = sizes.written(kept) - most
    while kept and (len(kept) > limit or over > 0):
        oldest = next(iter(kept))
        over -= _size_of(oldest, kept.pop(oldest))


def _size_of(name: str, value: Any) -> int:
    """Return what a value takes in an object under its name, at least."""
    return sizes.written(name) + 1 + sizes.written(value)
