"""What a session had decided when a run of it was ended from outside, and the journal may not have.

Invariant: a decision is written as it was made, under its key, so one that the journal has is not written again,
however often it is brought. It is never sent: none is too large for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from inturn import names, sizes
from inturn.decoding import Undecodable, decode
from inturn.encryption.payload_codec import UNREADABLE
from inturn.histories import Fields, came_clear, decoded
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn.signals import Signal
from inturn_activities.messages import Decision, RecordInput, counted_decisions
from inturn_activities.record import record

RECOVERED: Final = "~recovered"
"""Stands for the turn, where recovery records."""
AT_ONCE: Final = 200
"""Decisions that go into one transaction."""


@dataclass
class Unrecorded:
    """The decisions of one run."""

    run_id: str
    _carried: list[Decision] = field(default_factory=list[Decision])
    """What the run before it had left to it."""
    _counted: list[Decision] = field(default_factory=list[Decision])
    """The same of events that were too many to be told one by one."""
    _scheduled: dict[int, RecordInput] = field(default_factory=dict[int, RecordInput])
    """What no step had said to have recorded when the run was ended."""
    _no_events: dict[str, Decision] = field(default_factory=dict[str, Decision])
    """What was no event, by the id under which it is parked."""

    def begin(self, state: Fields, at: float) -> None:
        """Note what the run began with, at a time."""
        books: Fields = (state.get("inbox") or {}).get("books") or {}
        for item in books.get("decisions") or ():
            with contextlib.suppress(ValidationError):
                self._carried.append(Decision.model_validate(item))
        counts, named, signals = (books.get(name) or {} for name in ("overflowed", "names", "signals"))
        self._counted = counted_decisions(counts, named, signals, self.run_id, at)

    async def look(self, temporal: Client, workflow_id: str, event: HistoryEvent, *, clear: bool) -> None:
        """Note what an event of the run says of its records; `clear`: also where they are not encrypted."""
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == names.RECORD:
            with contextlib.suppress(Undecodable, ValidationError):
                args = await decoded(temporal, workflow_id, scheduled.input)
                if came_clear(args) and not clear:
                    return
                input = RecordInput.model_validate(decode(args, sizes.PAYLOAD, ours=True))
                self._scheduled[event.event_id] = input
                if any("count" in decision.body for decision in input.decisions):
                    self._counted = []  # they are among these
        self._scheduled.pop(event.activity_task_completed_event_attributes.scheduled_event_id, None)

    def no_event(self, event_id: str, error: str, at: float) -> None:
        """Note what was no event."""
        body: dict[str, Any] = {"error": error, "attempts": 0, "turn": event_id}
        key = f"{event_id}/parked"
        made = Decision(type="event.parked", turn=event_id, key=key, disposition="parked", body=body, at=at)
        self._no_events.setdefault(event_id, made)

    def sealed(self, signal: Signal, at: float) -> None:
        """Note a signal that no worker had the key of; what came is read from the history once this is written."""
        event_id, there = f"{names.SEALED}{signal.run}-{signal.number}", {"run": self.run_id, "signal": signal.number}
        self.no_event(event_id, UNREADABLE, at)
        self._no_events[event_id].body["sealed"] = there

    async def write(self, journal: Journal, session: SessionKey, chain: str) -> None:
        """Write what was decided; before anything is sent again: what has ended is not. `chain`: the run's."""
        body = {"run": self.run_id, "chain": chain}
        noted = Decision(type="session.recovered", key=f"recovered/{self.run_id}", body=body)
        await record_parts(journal, session, RecordInput(decisions=[noted, *self._carried, *self._counted]))
        for input in self._scheduled.values():
            await record_parts(journal, session, input.model_copy(update={"close": False, "policy": False}))

    async def write_others(self, journal: Journal, session: SessionKey, events: Container[str]) -> None:
        """Write what was no event; unless it has the id of one of these."""
        others = [decision for event_id, decision in self._no_events.items() if event_id not in events]
        await record_parts(journal, session, RecordInput(decisions=others))


async def merged(journal: Journal, session: SessionKey, ended: Container[str]) -> list[str]:
    """Write that events ended which the journal says joined another's turn, and that have no end; return them.

    They are not sent again: the turn that they joined has said them, and is run anew where it has not ended.
    """
    decisions: dict[str, Decision] = {}
    async for entry in journal.entries(session, types=("user.message",)):
        event_id, host = entry.body.get("joined"), entry.event_id
        if isinstance(event_id, str) and host and event_id not in ended:
            body = {"into": host, "source": str(entry.body.get("source", "client"))}
            key, at = f"{event_id}/disposition", entry.at.timestamp()
            decisions[event_id] = Decision(
                type="event.merged", turn=event_id, key=key, disposition="merged", body=body, at=at
            )
    await record_parts(journal, session, RecordInput(decisions=list(decisions.values())))
    return list(decisions)


async def record_parts(journal: Journal, session: SessionKey, input: RecordInput) -> None:
    """Write decisions, of many some at a time."""
    if input.settle:
        await record(journal, session.turn(RECOVERED).step(0), input)
        return
    for at in range(0, len(input.decisions), AT_ONCE):  # other sessions write beside a flood of them
        part = input.model_copy(update={"decisions": input.decisions[at : at + AT_ONCE]})
        await record(journal, session.turn(RECOVERED).step(0), part)
