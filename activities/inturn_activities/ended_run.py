"""The history of a run that was ended from outside: what it had accepted, and what it had decided.

Invariant: it is read page by page, and only ids are kept of what it accepted: what is sent again is read anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution
from temporalio.common import RawValue

from inturn import names, sizes
from inturn.decoding import Undecodable, decode, invalid_id, only_waits, read_event
from inturn.encryption.payload_codec import CLEAR, verdict
from inturn.histories import (
    Came,
    Fields,
    SetAside,
    Times,
    Unnamed,
    came,
    carried,
    decoded,
    named_run,
    refused,
    state_of,
)
from inturn.signals import Signal
from inturn_activities.unrecorded import Unrecorded


@dataclass
class EndedRun:
    """The history of one run."""

    temporal: Client
    run: WorkflowExecution
    _refused: set[str] = field(default_factory=set[str])
    """Updates that their handler refused: the server took them, the session did not."""
    _cancelled: dict[str, int] = field(default_factory=dict[str, int])
    """Events that people took out, and where in the history: the journal may not know yet."""
    _asked: set[str] = field(default_factory=set[str])
    """Controls that had taken events out, and those before the run: by their ids each is carried out once."""
    _set_aside: SetAside = field(default_factory=SetAside)
    unrecorded: Unrecorded = field(init=False)
    closing: str = ""
    """What was to become of events that wait, where the session was closing."""
    _cleared: int = 0
    """Where they took out all that waited."""
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

    async def look(self, chain: str) -> bool:
        """Read what it says of others, and what it had decided; return `False` where it is of that chain."""
        times = Times()
        async for event in self._history():
            self._set_aside.note(event)
        async for event in self._history():
            at = times.of(event)
            if event.event_id == 1:
                self._first = event.workflow_execution_started_event_attributes.first_execution_run_id
                if self.chain == chain:
                    return False
                self._state = await state_of(self.temporal, self.run.id, event)
                self._asked = set(self._state.get("controls") or ())
                self._closes(self._state.get("closing"))
                self.unrecorded.begin(self._state, at.timestamp())
            await self._look(event, at)
            await self.unrecorded.look(self.temporal, self.run.id, event)
        return True

    async def events(self) -> AsyncIterator[tuple[str, Fields, datetime, Signal, bool]]:
        """Yield the events that it began with and accepted: when, by which of its signals, and if taken out."""
        times, run = Times(), named_run(self._state, self._first)
        async for event in self._history():
            at = times.of(event)
            found = self._carried() if event.event_id == 1 else await self._brought(event, at)
            for event_id, message in found:
                out = max(self._cleared, self._cancelled.get(event_id, 0)) > event.event_id
                yield event_id, message, at, Signal(run, self._set_aside.number_of(event)), out

    async def _history(self) -> AsyncIterator[HistoryEvent]:
        async for event in self.temporal.get_workflow_handle(
            self.run.id, run_id=self.run.run_id
        ).fetch_history_events():
            yield event

    def _carried(self) -> list[tuple[str, Fields]]:
        self._unnamed = Unnamed.of(self._state, self._first)
        turn, waiting = carried(self._state)
        events = [item for item in [turn, *(turn.get("joined") or ()), *waiting] if item.get("event")]
        return [
            (item["turn"], _message(item["event"], item.get("at") or item.get("accepted_at") or True))
            for item in events
            if "~" not in item["turn"]
        ]

    async def _look(self, event: HistoryEvent, at: datetime) -> None:
        """Note what an event says of others."""
        if (update_id := refused(event)) is not None:
            self._refused.add(update_id)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            self._closes("park")
        message = came(event)
        if message is None or message.name != names.CONTROL or event in self._set_aside:
            return
        args = await decoded(self.temporal, self.run.id, message.payloads)
        if self._turned_away(event, message, args):  # what came in clear carries nothing out here either
            return
        with contextlib.suppress(Undecodable):
            control = decode(args, sizes.READ_CONTROL)
            control_id = control.get("control_id")
            if not isinstance(control_id, str) or control_id in self._asked:
                return  # it was none, or was answered as before
            self._takes_out(control, control_id, event.event_id)
            if control.get("op") == "close":
                self._closes(control.get("pending", "park"))
            if control.get("op") == "discard":
                self.unrecorded.discarded(str(control.get("event_id")), at, control.get("reason"))

    def _takes_out(self, control: Fields, control_id: str, at: int) -> None:
        """Note what a control takes out, at that place of the history."""
        if control.get("op") == "cancel":
            self._cancelled[str(control.get("event_id"))] = at
            self._asked.add(control_id)
        if control.get("op") == "interrupt" and control.get("clear_queue"):
            self._cleared = at
            self._asked.add(control_id)

    def _closes(self, pending: object) -> None:
        """Note that the session was to close; the first one to say so decides."""
        if pending in ("park", "cancel"):
            self.closing = self.closing or str(pending)

    async def _brought(self, event: HistoryEvent, at: datetime) -> list[tuple[str, Fields]]:
        message = came(event)
        if message is None or message.name == names.CONTROL or message.update_id in self._refused:
            return []
        if event in self._set_aside:  # it was nothing to the run: the journal has it for who redrives it
            return []
        args = await decoded(self.temporal, self.run.id, message.payloads)
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

    def _turned_away(self, event: HistoryEvent, message: Came, args: Sequence[RawValue]) -> bool:
        """Return whether it is a signal in clear that the session did not take: none encrypts it for its sender."""
        clear = message.update_id is None and any(verdict(raw.payload)[0] == CLEAR for raw in args)
        return clear and not self._set_aside.took_clear(event)


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
