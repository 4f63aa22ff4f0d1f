"""What a session had accepted when a run of it was ended from outside (terminated, timed out, failed), sent again.

Invariant: it goes in the order in which it was accepted, under its ids and by the ordinary way, a signal, so the
session takes what it knows for a duplicate: to do this twice does nothing. What has an end in the journal is not sent.
A history is read page by page, and only ids are kept of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from temporalio import activity
from temporalio.api.common.v1 import Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from inturn import names, sizes
from inturn.decoding import Undecodable, decode, only_waits, read_event
from inturn.events import ClaimedEvent, Event, derived_id
from inturn.histories import Fields, came, carried, decoded, ended_how, refused
from inturn.journal import Journal
from inturn.journal.views.turns import ended_events
from inturn.keys import SessionKey, StepKey
from inturn_activities.heartbeat import beating

logger = logging.getLogger("inturn.worker")
_TAKEN_OUT: Final = "cancelled before its run was ended"


async def recovered(journal: Journal, step: StepKey, chain: str, *, every: float) -> bool:
    """Send what earlier runs of the session left open to its present one; return whether there was any.

    Args:
        journal: The session's.
        step: Its first one: its event is there already.
        chain: Of the present run: how its first run's id ends. A run of this chain was reset, and lost nothing.
        every: Seconds between heartbeats.
    """
    try:
        return await beating(_send(journal, step.session, chain, step.turn.event_id), every=every) > 0
    except (RPCError, RuntimeError) as error:  # no server, no right to list, or no client in this process
        # The audit names what is missing; the session does not wait for it.
        logger.warning("the earlier runs of session %s cannot be read: %s", step.session, error)
        return False


async def _send(journal: Journal, session: SessionKey, chain: str, running: str) -> int:
    ended = [run async for run in _ended(session)]
    if not ended or await journal.read(session, types=("session.closed",), limit=1):
        return 0
    done = await ended_events(journal, session) | {running}
    sent, cancelled = 0, list[str]()
    handle = activity.client().get_workflow_handle(str(session), run_id=activity.info().workflow_run_id)
    for run in sorted(ended, key=lambda run: run.start_time):
        async for event_id, message, out in _EndedRun(activity.client(), run).events(chain):
            if event_id not in done:
                done.add(event_id)
                await handle.signal(names.SUBMIT, message | {"event_id": event_id, names.AGAIN: True})
                sent += 1
                cancelled += [event_id] if out else []
    for event_id in cancelled:  # so they end as they had, in the journal, too
        control_id = f"again:{hashlib.blake2b(event_id.encode(), digest_size=12).hexdigest()}"
        cancel = {"control_id": control_id, "op": "cancel", "event_id": event_id, "reason": _TAKEN_OUT}
        await handle.signal(names.CONTROL, cancel)
    return sent


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
    _cancelled: set[str] = field(default_factory=set[str])
    """Events that people took out: the journal may not know yet."""
    _cleared: int = 0
    """Where in the history people took out all that waited."""
    _unnamed: int = 0

    async def events(self, chain: str) -> AsyncIterator[tuple[str, Fields, bool]]:
        """Yield the events that it began with and accepted, unless it is of that chain; and which were taken out."""
        first = ""
        async for event in self._history():
            if event.event_id == 1:
                started = event.workflow_execution_started_event_attributes
                first = started.first_execution_run_id
                if first[-8:] == chain:
                    return
                async for other in self._history():
                    await self._look(other)
                found = await self._carried(started.input)
            else:
                found = await self._brought(event, first)
            for event_id, message in found:
                yield event_id, message, event.event_id < self._cleared or event_id in self._cancelled

    async def _history(self) -> AsyncIterator[HistoryEvent]:
        async for event in self.temporal.get_workflow_handle(
            self.run.id, run_id=self.run.run_id
        ).fetch_history_events():
            yield event

    async def _carried(self, start: Payloads) -> list[tuple[str, Fields]]:
        try:
            begun = decode(await decoded(self.temporal, start), sizes.PAYLOAD, ours=True)
        except Undecodable:  # what a session is started with by hand is anything
            return []
        inbox = (begun.get("state") or {}).get("inbox") or {}
        self._unnamed = int((inbox.get("books") or {}).get("unnamed") or 0)
        turn, waiting = carried(begun)
        events = [item for item in [turn, *(turn.get("joined") or ()), *waiting] if item.get("event")]
        return [(item["turn"], _message(item["event"])) for item in events if "~" not in item["turn"]]

    async def _look(self, event: HistoryEvent) -> None:
        """Note what an event says of others."""
        if (update_id := refused(event)) is not None:
            self._refused.add(update_id)
        message = came(event)
        if message is None or message.name != names.CONTROL:
            return
        with contextlib.suppress(Undecodable):
            control = decode(await decoded(self.temporal, message.payloads), sizes.READ_CONTROL)
            if control.get("op") == "cancel":
                self._cancelled.add(str(control.get("event_id")))
            if control.get("op") == "interrupt" and control.get("clear_queue"):
                self._cleared = event.event_id

    async def _brought(self, event: HistoryEvent, first: str) -> list[tuple[str, Fields]]:
        message = came(event)
        if message is None or message.name != names.SUBMIT or message.update_id in self._refused:
            return []
        try:
            fields = decode(await decoded(self.temporal, message.payloads), sizes.READ_EVENT)
            if only_waits(fields):
                return []
            brought = read_event(fields)
        except Undecodable:  # it was parked as what it was, or is seen by the audit
            return []
        return [(brought.event_id or self._derived(brought, message.update_id, first), _message(fields))]

    def _derived(self, event: Event | ClaimedEvent, update_id: str | None, first: str) -> str:
        """Return the id that the run gave an event without one; `first`: of its chain."""
        assert isinstance(event, Event), "what refers to its content has an id"
        if update_id is not None:
            return derived_id(event, 0, update_id)
        self._unnamed += 1
        return derived_id(event, self._unnamed - 1, first)


def _message(fields: Fields) -> Fields:
    """Return an event's object as it is sent again: it waits its turn, whatever it was to do to another."""
    kept = {name: value for name, value in fields.items() if name not in ("wait", "inline", names.AFTER)}
    if kept.get("when_busy") != "merge":
        kept.pop("when_busy", None)
    return kept
