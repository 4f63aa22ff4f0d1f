"""What the server's histories say was accepted.

Invariant: read from the server's own record, not from anything that a session or the journal counted; and from every
run of the workflow id that is retained, not only those that led to the present one: a session that was terminated began
anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Request
from temporalio.client import WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.client.retries import retry_rpc
from inturn.client.transport import SessionTransport
from inturn.keys import is_id

_PATIENCE: Final = 30.0
_ENDS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "terminated",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: "timed out",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "cancelled",
}


@dataclass
class Accepted:
    """Accepted events by id, with the run that took each; and runs that the server no longer has."""

    events: dict[str, str] = field(default_factory=dict[str, str])
    named: set[str] = field(default_factory=set[str])
    """Ids that came with something else than an event: that is parked under its id, if it is still free."""
    claimed: set[str] = field(default_factory=set[str])
    """Events whose content the journal was to keep."""
    gone: list[str] = field(default_factory=list[str])
    chains: set[str] = field(default_factory=set[str])
    """The chains of runs that were read, as `turn.started` names them."""
    ended: dict[str, str] = field(default_factory=dict[str, str])
    """Runs that were ended from outside, and how."""


@dataclass
class HistoryReader:
    """Reads the runs of one session, from the latest back to the first."""

    transport: SessionTransport

    async def accepted(self) -> Accepted:
        """Return what the retained runs accepted.

        Raises:
            SessionNotFound: No such session.
            Unavailable: The server did not answer.
        """
        found, read = Accepted(), set[str]()
        seen = await retry_rpc(self.transport.describe, patience=_PATIENCE, session=str(self.transport.key))
        for latest in [seen.run_id, *await self._listed()]:  # the list is some seconds behind
            run_id = latest
            while run_id and run_id not in read:
                read.add(run_id)
                run_id = await self.read(run_id, found)
        return found

    async def read(self, run_id: str, into: Accepted) -> str:
        """Read one run; return the one before it in its chain, empty where there is none.

        Raises:
            Unavailable: The server did not answer.
        """
        history = await self._history(run_id)
        if history is None or not history.events:
            into.gone.append(run_id)
            return ""
        started = history.events[0].workflow_execution_started_event_attributes
        into.chains.add(started.first_execution_run_id[-8:])
        if (end := _ENDS.get(history.events[-1].event_type)) is not None:
            into.ended[run_id] = end
        for event_id in _carried(await self._decoded(started.input)):
            into.events.setdefault(event_id, run_id)
        for message, valid in [found async for found in self._submitted(history.events)]:
            event_id = str(message["event_id"])
            if valid:
                into.events.setdefault(event_id, run_id)
                into.claimed |= {event_id} if "claim" in message else set()
            else:
                into.named.add(event_id)
        return started.continued_execution_run_id

    async def _listed(self) -> list[str]:
        """Return all runs of the workflow id that the server's visibility knows, the latest first."""
        temporal, query = await self.transport.connection.temporal(), f"WorkflowId = '{self.transport.key}'"

        async def listed() -> list[str]:
            return [run.run_id async for run in temporal.list_workflows(query)]

        return await retry_rpc(listed, patience=_PATIENCE, session=str(self.transport.key))

    async def _history(self, run_id: str) -> WorkflowHistory | None:
        async def fetch() -> WorkflowHistory | None:
            try:
                return await (await self.transport.handle(run_id)).fetch_history()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise

        return await retry_rpc(fetch, patience=_PATIENCE, session=str(self.transport.key))

    async def _submitted(self, events: Sequence[HistoryEvent]) -> Any:
        """Yield the messages that name an id, and whether the session takes each for an event."""
        refused = _refused(events)
        for event in events:
            payloads = _message(event, refused)
            if payloads is None or not all(map(readable, payloads.payloads)):
                continue
            message = await self._decoded(payloads)
            if not is_id(message.get("event_id")):
                continue
            said = "content" in message or "claim" in message
            if said or event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED or not message.get("wait"):
                yield message, said and not _misnamed(event)  # an update that only waits for an event sends none

    async def _decoded(self, payloads: Payloads) -> Mapping[str, Any]:
        """Return the JSON object that was sent; an empty one for anything else: that was parked under another id."""
        temporal = await self.transport.connection.temporal()
        try:
            decoded = await temporal.data_converter.decode(payloads.payloads)
        except Exception:  # anything may have been sent
            return {}
        one = decoded[0] if len(decoded) == 1 else None
        return cast("dict[str, Any]", one) if isinstance(one, dict) else {}


def _carried(start: Mapping[str, Any]) -> Iterator[str]:
    """Yield the events that a run began with: those that waited, or ran, when the one before it ended."""
    state = start.get("state") or {}
    inbox, turn = state.get("inbox") or {}, state.get("turn") or {}
    held = (inbox.get("sequencer") or {}).get("held") or ()
    items = [*((inbox.get("queue") or {}).get("events") or ()), *(item for item in held if item.get("event"))]
    for item in [*items, *([turn] if turn else [])]:
        yield str(item.get("turn", "")).partition("~")[0]
    yield from turn.get("merged") or ()


def readable(payload: Payload) -> bool:
    """Return whether a session reads a message; of a larger one it takes no id."""
    return len(payload.data) <= sizes.READ_EVENT


def _refused(events: Sequence[HistoryEvent]) -> set[str]:
    """Return the updates that their handler refused: the server took them, the session did not."""
    ended = (event.workflow_execution_update_completed_event_attributes for event in events)
    return {update.meta.update_id for update in ended if update.outcome.HasField("failure")}


def _misnamed(event: HistoryEvent) -> bool:
    signal = event.workflow_execution_signaled_event_attributes
    return event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED and signal.signal_name != names.SUBMIT


def _message(event: HistoryEvent, refused: Collection[str]) -> Payloads | None:
    """Return what came for the inbox and was not refused, whichever way it came."""
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        signal = event.workflow_execution_signaled_event_attributes
        return signal.input if signal.signal_name != names.CONTROL else None
    request: Request | None = None
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:  # again, after a reset
        request = event.workflow_execution_update_admitted_event_attributes.request
    if request is not None:
        taken = request.input.name == names.SUBMIT and request.meta.update_id not in refused
        return request.input.args if taken else None
    return None
