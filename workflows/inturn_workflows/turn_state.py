"""The running turn as it is carried: all that is needed to go on with it in another run or on another worker.

Invariant: a turn goes on from here alone; what it did is in the journal.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any, Final, Literal, Self

from pydantic import Field

from inturn import sizes
from inturn.wire import Message
from inturn_activities.messages import Answered, CallPlan
from inturn_workflows.inbox.events import Queued

MAX_JOINED: Final = 500
"""Events that join one turn; one step more may join."""


class Decided(Message):
    """A person's answer to an approval."""

    answer: Literal["approved", "denied", "expired"]
    by: str | None = None
    via: str | None = None
    """Through what they said it."""
    reason: str | None = None
    at: float = 0.0
    """Seconds since 1970."""


class CallState(CallPlan):
    """A call of the running turn."""

    done: bool = False
    failed: bool = False
    """It ended without a success."""
    cancelled: bool = False
    """Too many of its step failed: it is not to run, or not to go on."""
    asked_at: float | None = None
    """When it began to wait for a person, in seconds since 1970."""
    answer: Literal["approved", "denied", "expired"] | None = None
    by: str | None = None
    via: str | None = None
    reason: str | None = None
    answered_at: float = 0.0
    delivered: bool = False
    """The question went out through `deliver`."""

    @classmethod
    def of(cls, plan: CallPlan) -> Self:
        """Return a call about to run; what it locks is the step's affair."""
        preview = sizes.clip(plan.preview, sizes.WHO)
        return cls.model_validate(plan.model_dump(exclude={"locks"}) | {"preview": preview})

    @property
    def unanswered(self) -> bool:
        """Whether a person has yet to answer before it may run."""
        return self.approval and self.answer is None

    @property
    def waits(self) -> bool:
        """Whether it waits for a person."""
        return bool(self.asked_at and not self.answer and not self.done)

    @property
    def expires_at(self) -> float:
        """When its approval runs out, in seconds since 1970; never before it was asked for."""
        return math.inf if self.asked_at is None else self.asked_at + self.approval_timeout

    @property
    def question(self) -> dict[str, Any]:
        """What a person is asked."""
        about: dict[str, Any] = {"approval_id": self.approval_id, "call_id": self.id, "tool": self.tool}
        if self.kind != "call":
            about |= {"kind": self.kind, "preview": self.preview}
        return about | {"asked_at": self.asked_at, "expires_at": self.expires_at}

    def ask(self, plan: CallPlan) -> None:
        """Wait for a person after all: the worker that is to run it found that the call needs that."""
        self.approval, self.approval_timeout, self.hash = True, plan.approval_timeout, plan.hash
        self.timeout, self.retries = plan.timeout, plan.retries  # what its result may have stays as it was planned

    def decide(self, decided: Decided) -> None:
        """Take an answer."""
        self.answer, self.by, self.via = decided.answer, decided.by, decided.via
        self.reason, self.answered_at = decided.reason, decided.at

    def answered(self) -> Answered | None:
        """Return what became of its approval, for the journal; `None` where it needed none."""
        if not self.approval or self.answer is None:
            return None
        return Answered(
            approval_id=self.approval_id,
            call_id=self.id,
            tool=self.tool,
            answer=self.answer,
            by=self.by,
            via=self.via,
            reason=self.reason,
            at=self.answered_at,
        )


class TurnState(Message):
    """The running turn: all that is needed to go on with it elsewhere."""

    turn: str
    n: int = 0
    accepted_at: float = 0.0
    started_at: float = 0.0
    step: int = 0
    """The next model step; the calls are of the step before it."""
    calls: list[CallState] = Field(default_factory=list[CallState])
    event: dict[str, Any] | None = None
    """Its content, until step 0 has recorded it."""
    joined: list[Queued] = Field(default_factory=list[Queued])
    """Events that joined it, until the next model step has recorded them."""
    merged: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    """All that joined it, by id, with what the journal learns of each when the turn ends."""
    aliases: list[str] = Field(default_factory=list[str])
    """Other ids of its event."""
    preview: str = ""
    inline: bool = False
    trace: str | None = None
    agent: str | None = None
    model: str | None = None
    """The model that answers in it, where it is not the agent's own."""
    effects: bool = False
    """A tool of it ran."""
    stop: str | None = None
    """Why it is to stop, where it is."""
    question: CallState | None = None
    """It has used its budget: a person is asked, or has answered, whether it may use as much once more."""
    raised: int = 0
    """How often it was given that, before this question."""

    @classmethod
    def of(cls, queued: Queued, now: float) -> Self:
        """Return the turn of an event, about to begin."""
        event = queued.event or None
        return cls(
            turn=queued.turn,
            n=queued.n,
            accepted_at=queued.at,
            started_at=now,
            event=event,
            aliases=queued.aliases,
            preview=queued.preview,
            inline=queued.inline,
            trace=event.get("trace") if event else None,
            agent=event.get("agent") if event else None,
            model=event.get("model") if event else None,
        )

    @property
    def event_id(self) -> str:
        """The event, whichever time it is driven."""
        return self.turn.partition("~")[0]

    @property
    def event_ids(self) -> list[str]:
        """All events that it answers, its own first."""
        return [self.event_id, *self.merged]

    @property
    def interrupts(self) -> bool:
        """Whether its event came to interrupt."""
        return self.event is not None and self.event.get("when_busy") == "interrupt"

    @property
    def questions(self) -> list[CallState]:
        """The calls that may wait for a person, and the question about its budget."""
        return [*self.calls, self.question] if self.question else self.calls

    @property
    def answered(self) -> Answered | None:
        """What a person said of its budget, where one was asked."""
        return self.question.answered() if self.question else None

    @property
    def raised_now(self) -> int:
        """How often it was given as much as its budget once more."""
        return self.raised + (self.question is not None and self.question.answer == "approved")

    @property
    def doing(self) -> str:
        """What it waits for, for people."""
        if self.question is not None and self.question.waits:
            return "budget"
        running = [call.tool for call in self.calls if not call.done]
        return f"tools: {', '.join(running)}" if running else "model"

    def ask(self, plans: Sequence[CallPlan]) -> None:
        """Ask a person whether it may use more, or ask no more: the answer to the question before was used."""
        self.raised = self.raised_now
        self.question = CallState.of(plans[0]) if plans else None

    def join(self, events: Sequence[Queued]) -> None:
        """Take events in; the next model step brings them to the model."""
        self.joined += events
        self.merged |= {queued.event_id: queued.noted for queued in events}
        self.inline = self.inline or any(queued.inline for queued in events)

    @property
    def room(self) -> int:
        """Bytes that are left for what is noted of events that join it."""
        return sizes.MERGED - sizes.written(self.merged) if len(self.merged) < MAX_JOINED else 0

    def __contains__(self, event_id: object) -> bool:
        """Return whether it answers an event that is known by this id."""
        return event_id == self.event_id or event_id in self.merged or event_id in self.aliases

    def part(self, event_ids: Container[str]) -> list[Queued]:
        """Take out those of the joined events that are no part of this turn."""
        parted = [queued for queued in self.joined if queued.event_id in event_ids]
        self.joined = [queued for queued in self.joined if queued.event_id not in event_ids]
        for queued in parted:
            self.merged.pop(queued.event_id, None)
            queued.steers = None
        return parted
