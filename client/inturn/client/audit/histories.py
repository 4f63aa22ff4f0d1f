"""What the server's histories say was accepted.

Invariant: read from the server's own record, not from anything that a session or the journal counted; and from every
run of the workflow id that is retained, not only those that led to the present one: a session that was terminated began
anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Request
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.transport import SessionTransport
from inturn.decoding import Undecodable, decode, is_claimed, read_event

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
        with contextlib.suppress(Undecodable):  # what a session is started with by hand is anything
            for event_id in _carried(decode(await self._decoded(started.input), sizes.PAYLOAD, ours=True)):
                into.events.setdefault(event_id, run_id)
        refused = _refused(history.events)
        for event in history.events:
            if (payloads := _signalled(event)) is not None:
                name = event.workflow_execution_signaled_event_attributes.signal_name
                _take(into, run_id, await self._decoded(payloads), signal=name)
            elif (payloads := _updated(event, refused)) is not None:
                _take(into, run_id, await self._decoded(payloads))
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

    async def _decoded(self, payloads: Payloads) -> list[RawValue]:
        """Return what was sent, without the client's encryption or compression, unread."""
        codec = (await self.transport.connection.temporal()).data_converter.payload_codec
        found = list(payloads.payloads)
        with contextlib.suppress(Exception):  # anything may have been sent
            found = await codec.decode(found) if codec else found
        return [RawValue(payload) for payload in found]


def _take(into: Accepted, run_id: str, args: Sequence[RawValue], *, signal: str | None = None) -> None:
    """Note what a message brought, read as the session reads it. An update was accepted; a signal may be anything."""
    try:
        fields = decode(args, sizes.READ_EVENT)
        if signal is None and fields.get("wait") and not fields.keys() & {"content", "claim"}:
            return  # who waits for an event sends none
        event = read_event(fields)
    except Undecodable as invalid:
        into.named |= {invalid.event_id} if invalid.event_id else set()
        return
    if event.event_id is None:
        return  # the session named it
    if signal not in (None, names.SUBMIT):
        into.named.add(event.event_id)
        return
    into.events.setdefault(event.event_id, run_id)
    into.claimed |= {event.event_id} if is_claimed(fields) else set()


def _carried(start: Mapping[str, Any]) -> Iterator[str]:
    """Yield the events that a run began with: those that waited, or ran, when the one before it ended."""
    state = start.get("state") or {}
    inbox, turn = state.get("inbox") or {}, state.get("turn") or {}
    held = (inbox.get("sequencer") or {}).get("held") or ()
    items = [*((inbox.get("queue") or {}).get("events") or ()), *(item for item in held if item.get("event"))]
    for item in [*items, *([turn] if turn else [])]:
        yield str(item.get("turn", "")).partition("~")[0]
    yield from turn.get("merged") or ()


def _refused(events: Sequence[HistoryEvent]) -> set[str]:
    """Return the updates that their handler refused: the server took them, the session did not."""
    ended = (event.workflow_execution_update_completed_event_attributes for event in events)
    return {update.meta.update_id for update in ended if update.outcome.HasField("failure")}


def _signalled(event: HistoryEvent) -> Payloads | None:
    """Return what came for the inbox by a signal."""
    if event.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        return None
    signal = event.workflow_execution_signaled_event_attributes
    return signal.input if signal.signal_name != names.CONTROL else None


def _updated(event: HistoryEvent, refused: Collection[str]) -> Payloads | None:
    """Return what came for the inbox by an update that was not refused."""
    request: Request | None = None
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:  # again, after a reset
        request = event.workflow_execution_update_admitted_event_attributes.request
    if request is None or request.input.name != names.SUBMIT or request.meta.update_id in refused:
        return None
    return request.input.args
