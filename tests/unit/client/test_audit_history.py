"""The audit reads a history as its session did: what was an event, what was parked under which id, what only waited."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.update.v1 import Request
from temporalio.service import RPCStatusCode

from inturn import sizes
from inturn.client.audit.accepted import Accepted, HistoryReader
from inturn.events import Event, derived_id
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from tests.support.transport import FakeTransport, rpc_error

pytestmark = pytest.mark.promise("ACC-8")


def _payloads(*values: Any, encoding: bytes = b"json/plain") -> Payloads:
    data = [v if isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    return Payloads(payloads=[Payload(data=d, metadata={"encoding": encoding}) for d in data])


def _signal(*values: Any, name: str = "submit", encoding: bytes = b"json/plain") -> HistoryEvent:
    made = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    made.workflow_execution_signaled_event_attributes.signal_name = name
    made.workflow_execution_signaled_event_attributes.input.CopyFrom(_payloads(*values, encoding=encoding))
    return made


def _update(value: Any, update_id: str = "u", name: str = "submit") -> HistoryEvent:
    made = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
    request = Request()
    request.meta.update_id, request.input.name = update_id, name
    request.input.args.CopyFrom(_payloads(value))
    made.workflow_execution_update_accepted_event_attributes.accepted_request.CopyFrom(request)
    return made


def _failed(update_id: str) -> HistoryEvent:
    made = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)
    attributes = made.workflow_execution_update_completed_event_attributes
    attributes.meta.update_id = update_id
    attributes.outcome.failure.message = "refused"
    return made


def _started(before: str = "", start: Any = None, first: str = "first-of-chain") -> HistoryEvent:
    attributes = WorkflowExecutionStartedEventAttributes(
        continued_execution_run_id=before, first_execution_run_id=first, input=_payloads(start) if start else None
    )
    return HistoryEvent(workflow_execution_started_event_attributes=attributes)


def _reader(listed: list[str], **runs: list[HistoryEvent]) -> HistoryReader:
    """Return a reader of these runs; the first is the latest."""
    transport: Any = FakeTransport()

    async def handle(run_id: str) -> Any:
        async def fetch_history() -> Any:
            if run_id not in runs:
                raise rpc_error(RPCStatusCode.NOT_FOUND)
            return SimpleNamespace(events=runs[run_id])

        return SimpleNamespace(fetch_history=fetch_history)

    async def visible(query: str) -> Any:
        for run_id in listed:
            yield SimpleNamespace(run_id=run_id)

    async def temporal() -> Any:
        return SimpleNamespace(data_converter=SimpleNamespace(payload_codec=None), list_workflows=visible)

    async def describe() -> Any:
        return SimpleNamespace(run_id=next(iter(runs)))

    transport.handle, transport.describe, transport.connection.temporal = handle, describe, temporal
    return HistoryReader(transport)


async def _read(*events: HistoryEvent, start: Any = None) -> Accepted:
    before = "before" if start else ""
    return await _reader([], run=[_started(before, start=start), *events]).accepted()


async def test_events_are_those_that_the_session_takes_for_events() -> None:
    found = await _read(
        _signal({"event_id": "a", "content": "hi"}),
        _signal({"event_id": "b", "content": "hi", "wait": True}),
        _update({"event_id": "c", "content": "hi", "wait": True}),
    )
    assert (set(found.events), found.named) == ({"a", "b", "c"}, set())


async def test_events_without_an_id_have_those_that_the_session_gave_them() -> None:
    inbox = Inbox(dedup=DedupWindow(salt="s"))
    inbox.books.unnamed = 7
    state = SessionState(inbox=inbox).model_dump(mode="json")
    sent = [{"content": "hi"}, {"content": "hi"}, {"content": "hi", "sent_at": 5.0}]
    found = await _read(
        *map(_signal, sent), _signal({"content": ""}), _update({"content": "hi"}), start={"state": state}
    )
    named = [inbox.identify(Event.model_validate(fields), "first-of-chain").event_id for fields in sent]
    assert set(found.events) == {*named, derived_id(Event(content="hi"), 0, "u")}
    assert len(found.events) == 4


async def test_what_is_parked_under_the_id_that_it_names_was_no_event() -> None:
    found = await _read(
        _signal({"event_id": "waits", "wait": True}),
        _signal({"event_id": "empty", "content": ""}),
        _signal({"event_id": "typo", "content": "hi"}, name="sbumit"),
        _signal({"event_id": "number", "content": "hi", "sequence": -1}),
    )
    assert (found.events, found.named) == ({}, {"waits", "empty", "typo", "number"})


async def test_what_no_session_reads_names_nobody() -> None:
    found = await _read(
        _signal({"event_id": "x", "content": "x" * sizes.READ_EVENT}),
        _signal({"event_id": "x", "content": "hi"}, encoding=b"binary/plain"),
        _signal({"event_id": "x", "content": "hi"}, {"event_id": "x", "content": "hi"}),
        _signal({"event_id": "x", "content": "hi"}, name="control"),
        _signal(b'{"event_id": "x", "content": "hi", "metadata": {"a": NaN}}'),
        _signal({"event_id": "no spaces", "content": "hi"}),
        _signal([1, 2]),
        _update({"event_id": "x", "wait": True}),
        _update({"event_id": "x", "content": "hi"}, name="control"),
        _update({"event_id": "x", "content": "hi"}, "refused"),
        _failed("refused"),
    )
    assert (found.events, found.named) == ({}, set())


async def test_what_a_run_began_with_was_accepted_before() -> None:
    state = {
        "inbox": {
            "queue": {"events": [{"turn": "queued", "event": {"content": "hi"}}, {"turn": "driven~2"}]},
            "sequencer": {"held": [{"turn": "held", "event": {"content": "hi"}}, {"turn": "taken", "place": ["a", 1]}]},
        },
        "turn": {"turn": "runs", "merged": {"joined": {"n": "3"}}},
    }
    found = await _read(start={"state": state})
    assert set(found.events) == {"queued", "driven", "held", "runs", "joined"}
    assert (await _read(start={"agent": "support"})).events == {}


async def test_every_run_of_the_workflow_id_is_read_once_and_runs_that_are_gone_are_named() -> None:
    terminated = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED)
    reader = _reader(
        ["new", "old", "gone-too"],
        new=[_started(first="chain-of-new"), _signal({"event_id": "a", "content": "hi"})],
        old=[_started(before="gone", first="chain-of-old"), _signal({"event_id": "b", "content": "hi"}), terminated],
    )
    found = await reader.accepted()
    assert found.events == {"a": "new", "b": "old"}
    assert found.ended == {"old": "terminated"}
    assert sorted(found.gone) == ["gone", "gone-too"]
    assert found.chains == {"n-of-new", "n-of-old"}
