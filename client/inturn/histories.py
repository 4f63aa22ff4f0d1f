"""What a run's history says that its session began with and was sent, for who reads it from outside.

Invariant: it is read as the session reads it; what a client's codec made of it is undone by the one that looks.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ContinueAsNewInitiator, EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.converter import WithSerializationContext, WorkflowSerializationContext

from inturn import names, sizes
from inturn.decoding import Undecodable, decode
from inturn.encryption.converter import Undecryptable
from inturn.encryption.payload_codec import CLEAR, LOCKED, verdict
from inturn.events import ClaimedEvent, Event, derived_id
from inturn.signals import run_name

Fields = dict[str, Any]

_TURNED_AWAY: Final = re.compile(names.TURNED_AWAY.format(said=f"({LOCKED}|{CLEAR})", number=r"(\d+)"))

_BY_HAND: Final = (
    ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE,
    ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY,
)
"""Who else than a run of ours begins the next one: that has what the first one was started with."""
_PATCH: Final = "core_patch"
"""What the SDK's Core calls the markers of `workflow.patched`."""
_ENDED: Final = {"TERMINATED": "terminated", "FAILED": "failed", "TIMED_OUT": "timed out", "CANCELED": "cancelled"}
"""How runs end from outside, by the server's names."""


@dataclass(frozen=True, slots=True)
class Came:
    """A message that a run was sent.

    Attributes:
        name: The signal's, or the update's.
        payloads: As they travelled.
        update_id: `None` for a signal.
    """

    name: str
    payloads: Payloads
    update_id: str | None = None


def ended_how(status: WorkflowExecutionStatus | None) -> str | None:
    """Return how a run was ended from outside; `None` where it was not."""
    return None if status is None else _ENDED.get(status.name)


def ended_by(event: HistoryEvent) -> str | None:
    """Return how an event ends its run from outside; `None` where it does not."""
    return _ENDED.get(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_WORKFLOW_EXECUTION_"))


def came(event: HistoryEvent) -> Came | None:
    """Return the message that an event brings, if any."""
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            return Came(signal.signal_name, signal.input)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            request = event.workflow_execution_update_accepted_event_attributes.accepted_request
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:  # again, after a reset
            request = event.workflow_execution_update_admitted_event_attributes.request
        case _:
            return None
    if not request.HasField("input"):
        return None
    return Came(request.input.name, request.input.args, request.meta.update_id)


def refused(event: HistoryEvent) -> str | None:
    """Return the update that this event says was refused by its handler: the server took it, the session did not."""
    completed = event.workflow_execution_update_completed_event_attributes
    return completed.meta.update_id if completed.outcome.HasField("failure") else None


@dataclass
class SetAside:
    """A run's signals that it turned away unread, as its markers say: known once its whole history was noted.

    Those whose key no worker had were no events to the run, whoever can read them now. Those in clear it took as long
    as its workers had no keys.
    """

    _numbers: dict[int, int] = field(default_factory=dict[int, int])
    _marked: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    _handled: int = 0
    """A worker has handled what is before that event."""

    def note(self, event: HistoryEvent) -> None:
        """Note the next event of the history."""
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            self._numbers[event.event_id] = len(self._numbers) + 1
        self._handled = max(self._handled, event.workflow_task_completed_event_attributes.started_event_id)
        marker = event.marker_recorded_event_attributes
        for payloads in marker.details.values() if marker.marker_name == _PATCH else ():
            found = (_TURNED_AWAY.search(payload.data.decode("utf-8", "replace")) for payload in payloads.payloads)
            self._marked |= {(match[1], int(match[2])) for match in found if match}

    def number_of(self, event: HistoryEvent) -> int:
        """Return which of the run's signals an event brought; 0: none."""
        return self._numbers.get(event.event_id, 0)

    def __contains__(self, event: HistoryEvent) -> bool:
        """Return whether an event brought one of them that no worker had the key of."""
        return (LOCKED, self.number_of(event)) in self._marked

    def handled(self, event: HistoryEvent) -> bool:
        """Return whether a worker has handled what an event brought."""
        return event.event_id < self._handled

    def took_clear(self, event: HistoryEvent) -> bool:
        """Return whether a signal that came in clear was taken: handled, by a worker without keys."""
        return self.handled(event) and (CLEAR, self.number_of(event)) not in self._marked


async def signals(temporal: Client, workflow_id: str, run_id: str, numbers: Collection[int]) -> dict[int, Came]:
    """Return signals of a run by their numbers, from 1, as they travelled; those that it has.

    Raises:
        RPCError: The server does not answer, or has the run no more.
    """
    found, count, last = dict[int, Came](), 0, max(numbers)
    async for event in temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events():
        if event.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            continue
        count += 1
        if count in numbers and (signal := came(event)) is not None:
            found[count] = signal
        if count >= last:
            break
    return found


class Times:
    """When a run's messages came, by the server's clock; asked with each event of its history, in order.

    What a reset brought again came before: only the run that was reset says when.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self._again = False

    def of(self, event: HistoryEvent) -> datetime:
        """Return the time of the next event."""
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            cause = event.workflow_task_failed_event_attributes.cause
            self._again = cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            self._again = False
        return datetime.min.replace(tzinfo=UTC) if self._again else event.event_time.ToDatetime(tzinfo=UTC)


@dataclass(slots=True)
class Unnamed:
    """Names a run's events that came without an id, as their session does; asked with each of them, in order.

    Attributes:
        chain: The first run of the run's chain.
        count: How many had come before it.
    """

    chain: str
    count: int = 0

    @classmethod
    def of(cls, state: Fields, chain: str) -> Self:
        """Begin as a run begins that carries a state."""
        count = ((state.get("inbox") or {}).get("books") or {}).get("unnamed")
        return cls(chain, count if isinstance(count, int) else 0)

    def id_of(self, event: Event | ClaimedEvent, update_id: str | None) -> str:
        """Return the id that the session gave the next such event."""
        assert isinstance(event, Event), "what refers to its content has an id"
        if update_id is not None:
            return derived_id(event, 0, update_id)
        self.count += 1
        return derived_id(event, self.count - 1, self.chain)


async def state_of(temporal: Client, workflow_id: str, event: HistoryEvent, *, clear: bool = True) -> Fields:
    """Return the state that a run began with, by its first event; empty where no run before had carried any.

    What a session was started with by hand is none of it, whatever it says; `clear`: what is not encrypted, where there
    are keys, is.

    Raises:
        Undecryptable: Its key is not here.
    """
    started = event.workflow_execution_started_event_attributes
    if not started.continued_execution_run_id or started.initiator in _BY_HAND:
        return {}
    args = await decoded(temporal, workflow_id, started.input)
    if came_clear(args) and not clear:
        return {}
    try:
        state = decode(args, sizes.PAYLOAD, ours=True).get("state")
    except Undecodable:
        return {}
    return state or {}


def named_run(state: Fields, chain: str) -> str:
    """Return the name of a run for its signals, by the state that it began with and its chain's first run."""
    runs = state.get("runs")
    return run_name(chain, runs if isinstance(runs, int) else 1)


def carried(state: Fields) -> tuple[Fields, list[Fields]]:
    """Return the turn that a run began with, empty where there was none, and what waited then, in order."""
    inbox = state.get("inbox") or {}
    queue, held = (inbox.get("queue") or {}).get("events"), (inbox.get("sequencer") or {}).get("held")
    return state.get("turn") or {}, [*(queue or ()), *(item for item in held or () if item.get("event"))]


def came_clear(args: Iterable[RawValue]) -> bool:
    """Return whether something came in clear where there are keys."""
    return any(verdict(raw.payload)[0] == CLEAR for raw in args)


async def decoded(temporal: Client, workflow_id: str, payloads: Payloads) -> list[RawValue]:
    """Return what a workflow was sent, without the client's encryption or compression, unread.

    Raises:
        Undecryptable: Its key is not here: nothing that depends on it can be said.
    """
    codec, found = temporal.data_converter.payload_codec, list(payloads.payloads)
    if isinstance(codec, WithSerializationContext):
        context = WorkflowSerializationContext(namespace=temporal.namespace, workflow_id=workflow_id)
        codec = codec.with_context(context)
    with contextlib.suppress(Exception):  # anything may have been sent
        found = await codec.decode(found) if codec else found
    for payload in found:
        said, reason = verdict(payload)
        if said == LOCKED:
            raise Undecryptable(f"what {workflow_id} was sent cannot be read: {reason}")
    return [RawValue(payload) for payload in found]
