"""What the server's histories say was accepted.

Invariant: read from the server's own record, not from anything that a session or the journal counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

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

_PATIENCE = 30.0


@dataclass
class Accepted:
    """Accepted events by id, with the run that took each; and runs that the server no longer has."""

    events: dict[str, str] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """Ids that came with something else than an event: that is parked under its id, if it is still free."""
    gone: list[str] = field(default_factory=list)


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
        found = Accepted()
        seen = await retry_rpc(self.transport.describe, patience=_PATIENCE, session=str(self.transport.key))
        run_id = seen.run_id
        while run_id:
            history = await self._history(run_id)
            if history is None or not history.events:
                found.gone.append(run_id)
                break
            for event_id, whole in await self._submitted(history.events):
                if whole:
                    found.events.setdefault(event_id, run_id)
                else:
                    found.named.add(event_id)
            run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        return found

    async def _history(self, run_id: str) -> WorkflowHistory | None:
        async def fetch() -> WorkflowHistory | None:
            try:
                return await (await self.transport.handle(run_id)).fetch_history()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise

        return await retry_rpc(fetch, patience=_PATIENCE, session=str(self.transport.key))

    async def _submitted(self, events: Sequence[HistoryEvent]) -> list[tuple[str, bool]]:
        """Return the ids that messages name, and whether each came with an event."""
        temporal = await self.transport.connection.temporal()
        ids: list[tuple[str, bool]] = []
        refused = _refused(events)
        for event in events:
            payloads = _message(event, refused)
            if payloads is None or not all(map(readable, payloads.payloads)):
                continue
            try:
                decoded = await temporal.data_converter.decode(payloads.payloads)
            except Exception:  # anything may have been sent; what cannot be read was parked under another id
                continue
            message = decoded[0] if decoded else None
            if isinstance(message, dict) and is_id(message.get("event_id")):
                whole = "content" in message or "claim" in message
                if whole or not message.get("wait"):  # who waits for an event sends none
                    ids.append((message["event_id"], whole and not _misnamed(event)))
        return ids


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
