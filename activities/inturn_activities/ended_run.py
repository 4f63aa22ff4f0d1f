"""The history of a run that was ended from outside: what it had accepted, and what it had decided.

Invariant: it is read page by page, and only ids and controls are kept of what it accepted: what is sent again is read
anew. A signal that cannot be read, and that no worker had handled, is set aside as the session would have done.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution
from temporalio.common import RawValue

from inturn import names, sizes
from inturn.decoding import Undecodable, decode, invalid_id, only_waits, read_event
from inturn.encryption.converter import Undecryptable
from inturn.histories import (
    Came,
    Fields,
    SetAside,
    Times,
    Unnamed,
    came,
    came_clear,
    carried,
    decoded,
    named_run,
    refused,
    state_of,
)
from inturn.keys import StepKey
from inturn.signals import Signal
from inturn_activities.asked import Asked
from inturn_activities.unrecorded import Unrecorded

logger = logging.getLogger("inturn.worker")
_CANCEL_REQUESTED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
_MOST: Final = 2 * sizes.READ_CONTROL
"""Bytes of a control, encrypted: larger ones are not read."""


@dataclass
class EndedRun:
    """The history of one run.

    Attributes:
        patient: A worker that has all keys is waited for; else what cannot be read is set aside.
        chains: The chains of runs that the journal knows. Only in those may something have been taken in clear, before
            there were keys: who has none may have ended a run of their own.
    """

    temporal: Client
    run: WorkflowExecution
    patient: bool = True
    chains: Container[str] = ()
    asked: Asked = field(default_factory=Asked)
    unrecorded: Unrecorded = field(init=False)
    _refused: set[str] = field(default_factory=set[str])
    """Updates that their handler refused: the server took them, the session did not."""
    _set_aside: SetAside = field(default_factory=SetAside)
    _unnamed: Unnamed = field(default_factory=lambda: Unnamed(""))
    _first: str = ""
    """The first run of its chain."""
    _state: Fields = field(default_factory=dict[str, Any])
    """What it began with."""

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.unrecorded = Unrecorded(self.run.run_id)

    @property
    def chain(self) -> str:
        """How its chain of runs is named; known once it was looked at."""
        return self._first[-8:]

    @property
    def _known(self) -> bool:
        """Whether the journal knows its chain."""
        return self.chain in self.chains

    async def look(self, chain: str) -> bool:
        """Read what was asked of it, and what it had decided; return `False` where it is of that chain.

        Raises:
            Undecryptable: It had read what cannot be read here.
        """
        times, asking, running = Times(), list[tuple[HistoryEvent, datetime, str]](), ""
        async for event in self._history():
            at = times.of(event)
            if event.event_id == 1:
                self._first = event.workflow_execution_started_event_attributes.first_execution_run_id
                if self.chain == chain:
                    return False
                running = await self._began(event, at)
            self._set_aside.note(event)
            if (update_id := refused(event)) is not None:
                self._refused.add(update_id)
            running = _runs(event) or running
            if _asks(event):
                asking.append((event, at, running))
            with self._without_what_is_locked("a record"):
                await self.unrecorded.look(self.temporal, self.run.id, event, clear=self._known)
        for event, at, running in asking:  # what became of each stands behind it
            await self._ask(event, at, running)
        return True

    async def events(self) -> AsyncIterator[tuple[str, Fields, datetime, Signal, bool]]:
        """Yield the events that it began with and accepted: when, by which of its signals, and if taken out.

        Raises:
            Undecryptable: It had read what cannot be read here.
        """
        times, run = Times(), named_run(self._state, self._first)
        async for event in self._history():
            at = times.of(event)
            found = self._carried() if event.event_id == 1 else await self._brought(event, at)
            for event_id, message in found:
                out = self.asked.took_out(event_id, event.event_id)
                yield event_id, message, at, Signal(run, self._set_aside.number_of(event)), out

    async def _history(self) -> AsyncIterator[HistoryEvent]:
        async for event in self.temporal.get_workflow_handle(
            self.run.id, run_id=self.run.run_id
        ).fetch_history_events():
            yield event

    async def _began(self, event: HistoryEvent, at: datetime) -> str:
        """Read what it began with; return the event whose turn ran then."""
        with self._without_what_is_locked("what it began with"):
            self._state = await state_of(self.temporal, self.run.id, event, clear=self._known)
        self.unrecorded.begin(self._state, at.timestamp())
        self.asked.begin(self._state, at)
        return self.asked.running

    def _carried(self) -> list[tuple[str, Fields]]:
        self._unnamed = Unnamed.of(self._state, self._first)
        turn, waiting = carried(self._state)
        events = [item for item in [turn, *(turn.get("joined") or ()), *waiting] if item.get("event")]
        return [
            (item["turn"], _message(item["event"], item.get("at") or item.get("accepted_at") or True))
            for item in events
            if "~" not in item["turn"]
        ]

    async def _ask(self, event: HistoryEvent, at: datetime, running: str) -> None:
        """Note what an event asks of the session."""
        message = came(event)
        if message is None:  # an operator's cancel
            self.asked.close("park")
            return
        if event in self._set_aside or message.update_id in self._refused:
            return
        args = await self._read(event, message)
        if args is None or self._turned_away(
            event, message, args
        ):  # what came in clear carries nothing out here either
            return
        with contextlib.suppress(Undecodable):
            control = decode(args, sizes.READ_CONTROL)
            self.asked.take(control, event.event_id, at, running, answered=message.update_id is not None)

    async def _brought(self, event: HistoryEvent, at: datetime) -> list[tuple[str, Fields]]:
        message = came(event)
        if message is None or message.update_id in self._refused:
            return []
        if event in self._set_aside:  # it was nothing to the run: the journal has it for who redrives it
            self._keep_sealed(event, at)
            return []
        args = await self._read(event, message)
        if args is None:
            self._keep_sealed(event, at)
        if args is None or message.name == names.CONTROL:
            return []
        away = self._turned_away(event, message, args)
        try:
            fields = decode(args, sizes.READ_EVENT)
            if message.update_id is not None and only_waits(fields):
                return []
            brought = read_event(fields)
            if message.name != names.SUBMIT:
                raise Undecodable(f"unknown signal {message.name[:80]!r}", brought.event_id)
        except Undecodable as error:
            if message.update_id is None and not away:
                named = error.event_id or invalid_id(args)
                self.unrecorded.no_event(named, str(error), at.timestamp())
            return []
        event_id = brought.event_id or self._unnamed.id_of(brought, message.update_id)  # also numbers what is rejected
        return [] if away else [(event_id, _message(fields, at.timestamp()))]

    async def _read(self, event: HistoryEvent, message: Came) -> Sequence[RawValue] | None:
        """Return what a message brought; `None`: its key is not here, and is not waited for.

        Raises:
            Undecryptable: Its key is not here; a worker that had it took it.
        """
        try:
            return await decoded(self.temporal, self.run.id, message.payloads)
        except Undecryptable as error:
            if self.patient and (message.update_id is not None or self._set_aside.handled(event)):
                raise
            logger.warning("a message of run %s is left out: %s", self.run.run_id, error)
            return None

    @contextlib.contextmanager
    def _without_what_is_locked(self, what: str) -> Iterator[None]:
        try:
            yield
        except Undecryptable as error:
            if self.patient:
                raise
            logger.warning("%s of run %s is left out: %s", what, self.run.run_id, error)

    def _keep_sealed(self, event: HistoryEvent, at: datetime) -> None:
        """Have the journal keep a signal that cannot be read for who has its key, as the session would have."""
        if number := self._set_aside.number_of(event):
            signal = Signal(named_run(self._state, self._first), number)
            self.unrecorded.sealed(signal, at.timestamp())

    def _turned_away(self, event: HistoryEvent, message: Came, args: Sequence[RawValue]) -> bool:
        """Return whether it came in clear and the session did not take it: none encrypts it for its sender."""
        taken = self._known and (message.update_id is not None or self._set_aside.took_clear(event))
        return came_clear(args) and not taken


def _asks(event: HistoryEvent) -> bool:
    """Return whether an event asks something of the session, and may be read."""
    message = came(event)
    if message is None:
        return event.event_type == _CANCEL_REQUESTED
    return message.name == names.CONTROL and message.payloads.ByteSize() <= _MOST


def _runs(event: HistoryEvent) -> str:
    """Return the event whose turn asks the model with this one; empty: it does not."""
    scheduled = event.activity_task_scheduled_event_attributes
    if scheduled.activity_type.name != names.CALL_MODEL:
        return ""
    try:
        return StepKey.parse(scheduled.activity_id).turn.event_id
    except ValueError:
        return ""


def _message(fields: Fields, at: float) -> Fields:
    """Return an event's object as it is sent again: it waits its turn, whatever it was to do to another.

    Args:
        fields: As it came.
        at: When, in seconds since 1970; not above 0: not known.
    """
    kept = {name: value for name, value in fields.items() if name not in ("wait", "inline", names.AFTER)}
    if kept.get("when_busy") != "merge":
        kept.pop("when_busy", None)
    return kept | {names.AGAIN: at if at > 0 else True}
