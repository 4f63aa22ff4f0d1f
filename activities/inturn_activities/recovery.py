"""What a session had accepted when a run of it was ended from outside (terminated, timed out, failed), sent again.

Invariant: it goes in the order in which it was accepted, under its ids and by the ordinary way, a signal, so the
session takes what it knows for a duplicate: to do this twice does nothing. What has an end in the journal is not sent.
A history is read page by page, and only ids are kept of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.decoding import Undecodable, decode, is_claimed, only_waits, read_event
from inturn.encryption.converter import Undecryptable
from inturn.encryption.payload_codec import CLEAR, verdict
from inturn.events import ClaimedEvent, Event, derived_id, split
from inturn.histories import Fields, SetAside, Times, came, carried, decoded, ended_how, refused, state_of
from inturn.journal import Journal
from inturn.journal.views.turns import FOR_GOOD, ended_events
from inturn.keys import SessionKey, StepKey
from inturn_activities import failures
from inturn_activities.heartbeat import waits_for

logger = logging.getLogger("inturn.worker")
_TAKEN_OUT: Final = "cancelled before its run was ended"
_PASSING: Final = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.CANCELLED,
)
_KEYS_MISSING: Final = 30
"""So often, about half an hour long, a worker is waited for that can decrypt what was sent."""
_LISTED: Final = 4
"""So often it is asked which runs there are: every new session asks, and most have none."""
_LEFT_OPEN: Final = "what earlier runs of the session left open"
"""Said with the beats: the next attempt learns from them that there is something."""


async def recovered(journal: Journal, step: StepKey, chain: str) -> bool:
    """Send what earlier runs of the session left open to its present one; return whether there was any.

    Args:
        journal: The session's.
        step: Its first one: its event is there already.
        chain: Of the present run: how its first run's id ends. A run of this chain was reset, and lost nothing.
    """
    try:
        return await _send(journal, step.session, chain, step.turn.event_id) > 0
    except RPCError as error:  # something was left open: the session goes on only where no try can bring it
        if error.status in _PASSING:
            message = f"what the session had accepted cannot be sent again now: {failures.describe(error)}"
            raise failures.again(names.OUTAGE, message, after=failures.backoff(activity.info().attempt)) from error
        _unread(step.session, error)
    except Undecryptable as error:
        if activity.info().attempt < _KEYS_MISSING:
            raise failures.again(names.OUTAGE, str(error), after=failures.backoff(activity.info().attempt)) from error
        _unread(step.session, error)
    except RuntimeError as error:  # no client in this process
        _unread(step.session, error)
    return False


async def _send(journal: Journal, session: SessionKey, chain: str, running: str) -> int:
    ended = await _found(session)
    if not ended or await journal.read(session, types=("session.closed",), limit=1):
        return 0
    waits_for(_LEFT_OPEN)
    done = await ended_events(journal, session) | {running: FOR_GOOD}
    begun = {entry.event_id async for entry in journal.entries(session, types=("turn.started",))}
    sent, cancelled, closing = set[str](), set[str](), ""
    handle = activity.client().get_workflow_handle(str(session), run_id=activity.info().workflow_run_id)
    for run in sorted(ended, key=lambda run: run.start_time):
        with _retained(session):
            old = _EndedRun(activity.client(), run)
            async for event_id, message, at, out in old.events(chain):
                if event_id not in done or at > done[event_id]:
                    done[event_id] = FOR_GOOD
                    # One whose turn had begun does not expire any more.
                    when = {} if event_id not in begun else {names.AGAIN: True}
                    again = await _small(journal, session, message | {"event_id": event_id} | when)
                    await handle.signal(names.SUBMIT, again)
                    sent.add(event_id)
                if out and event_id in sent:  # by whichever run it was taken out: this may be its second recovery
                    cancelled.add(event_id)
            closing = closing or old.closing
    for event_id in sorted(cancelled):  # so they end as they had, in the journal, too
        control_id = f"again:{hashlib.blake2b(event_id.encode(), digest_size=12).hexdigest()}"
        cancel = {"control_id": control_id, "op": "cancel", "event_id": event_id, "reason": _TAKEN_OUT}
        await handle.signal(names.CONTROL, cancel)
    if closing:  # it was acknowledged, and is final: what waits ends as it was to
        await handle.signal(names.CONTROL, {"control_id": "again:close", "op": "close", "pending": closing})
    return len(sent) + bool(closing)


async def _small(journal: Journal, session: SessionKey, message: Fields) -> Fields:
    """Return what travels of a message: what ended one run for its size is not to end the next."""
    if sizes.written(message) <= sizes.INLINE or is_claimed(message):
        return message
    try:
        event = read_event(message)
    except Undecodable:  # carried by a newer version
        return message
    assert isinstance(event, Event)
    travels, kept = split(event)
    claim = await journal.put_content(session, message["event_id"], kept)
    return travels | {"claim": claim, names.AGAIN: message[names.AGAIN]}


async def _found(session: SessionKey) -> list[WorkflowExecution]:
    """Return the runs that were ended from outside; none where the server cannot tell: then hardly any is lost."""
    found_before = activity.info().heartbeat_details
    if found_before:  # by an attempt that was cut short: it had begun to send
        waits_for(_LEFT_OPEN)
    try:
        return [run async for run in _ended(session)]
    except RPCError as error:
        if error.status in _PASSING and (found_before or activity.info().attempt < _LISTED):
            raise
        _unread(session, error)
        return []


@contextlib.contextmanager
def _retained(session: SessionKey) -> Iterator[None]:
    """Go on to the next run where the server has this one no more."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        _unread(session, error)


def _unread(session: SessionKey, error: Exception) -> None:
    # The audit names what is missing; the session does not wait for it.
    logger.warning("the earlier runs of session %s cannot be read: %s", session, error)


async def _ended(session: SessionKey) -> AsyncIterator[WorkflowExecution]:
    """Yield the session's runs that were ended from outside, of those that the server still lists."""
    temporal, own = activity.client(), activity.info().workflow_run_id
    async for run in temporal.list_workflows(f"WorkflowId = '{session}'"):
        status = run.status
        if status is WorkflowExecutionStatus.RUNNING and run.run_id != own:  # the list is some seconds behind
            status = (await temporal.get_workflow_handle(run.id, run_id=run.run_id).describe()).status
        if ended_how(status):
            yield run


@dataclass
class _EndedRun:
    """The history of one run."""

    temporal: Client
    run: WorkflowExecution
    _refused: set[str] = field(default_factory=set[str])
    """Updates that their handler refused: the server took them, the session did not."""
    _cancelled: dict[str, int] = field(default_factory=dict[str, int])
    """Events that people took out, and where in the history: the journal may not know yet."""
    _set_aside: SetAside = field(default_factory=SetAside)
    closing: str = ""
    """What was to become of events that wait, where the session was closing."""
    _cleared: int = 0
    """Where they took out all that waited."""
    _unnamed: int = 0

    async def events(self, chain: str) -> AsyncIterator[tuple[str, Fields, datetime, bool]]:
        """Yield the events that it began with and accepted, unless it is of that chain: when, and if taken out."""
        first, times = "", Times()
        async for event in self._history():
            at = times.of(event)
            if event.event_id == 1:
                started = event.workflow_execution_started_event_attributes
                first = started.first_execution_run_id
                if first[-8:] == chain:
                    return
                async for other in self._history():
                    self._set_aside.note(other)
                async for other in self._history():
                    await self._look(other)
                found = self._carried(await state_of(self.temporal, self.run.id, event))
            else:
                found = await self._brought(event, first, at)
            for event_id, message in found:
                out = max(self._cleared, self._cancelled.get(event_id, 0)) > event.event_id
                yield event_id, message, at, out

    async def _history(self) -> AsyncIterator[HistoryEvent]:
        async for event in self.temporal.get_workflow_handle(
            self.run.id, run_id=self.run.run_id
        ).fetch_history_events():
            yield event

    def _carried(self, state: Fields) -> list[tuple[str, Fields]]:
        self._closes(state.get("closing"))
        books = (state.get("inbox") or {}).get("books") or {}
        self._unnamed = int(books.get("unnamed") or 0)
        turn, waiting = carried(state)
        events = [item for item in [turn, *(turn.get("joined") or ()), *waiting] if item.get("event")]
        return [
            (item["turn"], _message(item["event"], item.get("at") or item.get("accepted_at") or True))
            for item in events
            if "~" not in item["turn"]
        ]

    async def _look(self, event: HistoryEvent) -> None:
        """Note what an event says of others."""
        if (update_id := refused(event)) is not None:
            self._refused.add(update_id)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            self._closes("park")
        message = came(event)
        if message is None or message.name != names.CONTROL or event in self._set_aside:
            return
        with contextlib.suppress(Undecodable):
            control = decode(await decoded(self.temporal, self.run.id, message.payloads), sizes.READ_CONTROL)
            if control.get("op") == "cancel":
                self._cancelled[str(control.get("event_id"))] = event.event_id
            if control.get("op") == "interrupt" and control.get("clear_queue"):
                self._cleared = event.event_id
            if control.get("op") == "close":
                self._closes(control.get("pending", "park"))

    def _closes(self, pending: object) -> None:
        """Note that the session was to close; the first one to say so decides."""
        if pending in ("park", "cancel"):
            self.closing = self.closing or str(pending)

    async def _brought(self, event: HistoryEvent, first: str, at: datetime) -> list[tuple[str, Fields]]:
        message = came(event)
        if message is None or message.name != names.SUBMIT or message.update_id in self._refused:
            return []
        if event in self._set_aside:  # it was nothing to the run: the journal has it for who redrives it
            return []
        args = await decoded(self.temporal, self.run.id, message.payloads)
        if message.update_id is None and any(verdict(raw.payload)[0] == CLEAR for raw in args):
            return []  # as the session does: what came in clear is not encrypted for its sender
        try:
            fields = decode(args, sizes.READ_EVENT)
            if only_waits(fields):
                return []
            brought = read_event(fields)
        except Undecodable:  # it was parked as what it was, or is seen by the audit
            return []
        return [
            (brought.event_id or self._derived(brought, message.update_id, first), _message(fields, at.timestamp()))
        ]

    def _derived(self, event: Event | ClaimedEvent, update_id: str | None, first: str) -> str:
        """Return the id that the run gave an event without one; `first`: of its chain."""
        assert isinstance(event, Event), "what refers to its content has an id"
        if update_id is not None:
            return derived_id(event, 0, update_id)
        self._unnamed += 1
        return derived_id(event, self._unnamed - 1, first)


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
