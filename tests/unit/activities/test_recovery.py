"""Sending again what earlier runs left open outlasts what passes at the server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode
from temporalio.testing import ActivityEnvironment

from inturn import names, sizes
from inturn.encryption.keys import Key, KeyRing
from inturn.encryption.payload_codec import EncryptionCodec
from inturn.journal import NewEntry, Recorded, open_journal
from inturn_activities.heartbeat import Heartbeat
from inturn_activities.recovery import recovered
from tests.support.steps import SESSION
from tests.support.stores import journal_url
from tests.support.transport import rpc_error

pytestmark = pytest.mark.promise("SUR-5", "SUR-11", "ACC-1")


class _Server:
    """Lists runs that were terminated; each had accepted one event. `fails` says which calls fail, and how."""

    def __init__(self, *runs: str, **fails: RPCStatusCode) -> None:
        self.runs, self.fails, self.sent = runs, fails, list[str]()
        self.data_converter, self.namespace = SimpleNamespace(payload_codec=None), "default"
        self.also = list[HistoryEvent]()
        """What else their histories hold."""
        self.histories = dict[str, list[HistoryEvent]]()
        """The histories of runs that had accepted more than one."""
        self.messages = list[dict[str, Any]]()
        self.known = False
        """The journal knows the chain of these runs."""
        self.killed_after = 0
        """The worker is gone once so many signals are out."""

    async def list_workflows(self, query: str) -> AsyncIterator[Any]:
        self._called("list")
        for run in self.runs:
            ended = WorkflowExecutionStatus.TERMINATED
            yield SimpleNamespace(id=str(SESSION), run_id=run, status=ended, start_time=datetime.now(UTC))

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Any:
        return SimpleNamespace(fetch_history_events=lambda: self._history(run_id), signal=self._signal)

    async def _history(self, run_id: str) -> AsyncIterator[HistoryEvent]:
        self._called(run_id)
        started = HistoryEvent(event_id=1)
        started.workflow_execution_started_event_attributes.first_execution_run_id = "the-first-run"
        yield started
        if run_id in self.histories:
            for event in self.histories[run_id]:
                yield event
            return
        yield _signalled(2, names.SUBMIT, {"event_id": run_id, "content": "hi"})
        for other in self.also:
            yield other

    async def _signal(self, name: str, message: dict[str, Any]) -> None:
        self._called("signal")
        if message.get("op") == "restore":
            return
        self.messages.append(message)
        said = message.get("event_id") if name == names.SUBMIT else f"{message['op']} {message.get('pending', '')}"
        self.sent.append(f"cancel {message['event_id']}" if message.get("op") == "cancel" else str(said))
        if len(self.sent) == self.killed_after:
            raise asyncio.CancelledError

    def _called(self, what: str) -> None:
        if what in self.fails:
            raise rpc_error(self.fails[what])


def _signalled(event_id: int, name: str, message: dict[str, Any]) -> HistoryEvent:
    event = HistoryEvent(event_id=event_id, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    attributes = event.workflow_execution_signaled_event_attributes
    attributes.signal_name = name
    payload = attributes.input.payloads.add(data=json.dumps(message).encode())
    payload.metadata["encoding"] = b"json/plain"
    return event


async def _recovered(
    server: Any, path: Path, *, attempt: int = 1, said: Sequence[Any] = (), beats: list[Any] | None = None
) -> bool:
    """Run an attempt. `said`: with the last beat of the one before; `beats`: what this one says."""
    environment = ActivityEnvironment(client=server)
    step = SESSION.turn("new").step(0)
    environment.info = dataclasses.replace(
        environment.info, activity_id=str(step), attempt=attempt, heartbeat_details=said
    )
    environment.on_heartbeat = lambda *details: beats.append(details) if beats is not None else None
    journal = open_journal(journal_url(path))
    if server.known:
        begun = NewEntry("turn.started", {"n": 1, "turn": "done", "chain": "irst-run"}, "done", key="done/started")
        await journal.record(SESSION, [Recorded(begun)])

    async def attempted() -> bool:
        with Heartbeat(every=0.001):
            try:
                return await recovered(journal, step, "chain")
            finally:
                await asyncio.sleep(0.01)

    try:
        return await environment.run(attempted)
    finally:
        await journal.close()


@pytest.mark.parametrize("call", ["list", "old", "signal"])
async def test_a_server_that_is_away_for_a_moment_costs_no_event(tmp_path: Path, call: str) -> None:
    server = _Server("old", **{call: RPCStatusCode.UNAVAILABLE})
    with pytest.raises(ApplicationError) as again:
        await _recovered(server, tmp_path)
    assert not again.value.non_retryable
    server.fails = {}
    assert await _recovered(server, tmp_path, attempt=2)
    assert server.sent == ["old"]


async def test_what_is_known_to_be_open_is_waited_for_longer_than_whether_anything_is(tmp_path: Path) -> None:
    assert not await _recovered(_Server("old", list=RPCStatusCode.UNAVAILABLE), tmp_path, attempt=9)
    assert not await _recovered(_Server("old", list=RPCStatusCode.PERMISSION_DENIED), tmp_path)
    with pytest.raises(ApplicationError):
        await _recovered(_Server("old", signal=RPCStatusCode.RESOURCE_EXHAUSTED), tmp_path, attempt=9)


async def test_a_run_that_the_server_has_no_more_costs_the_others_nothing(tmp_path: Path) -> None:
    server = _Server("gone", "old", gone=RPCStatusCode.NOT_FOUND)
    assert await _recovered(server, tmp_path)
    assert server.sent == ["old"]


@pytest.mark.parametrize(
    ("op", "sent"),
    [
        ({"op": "close"}, ["old", "close park"]),
        ({"op": "close", "pending": "cancel"}, ["old", "close cancel"]),
        ({"op": "close", "pending": "what?"}, ["old"]),
        ({"op": "pause"}, ["old"]),
        (None, ["old", "close park"]),
    ],
)
async def test_a_close_that_had_not_ended_is_sent_again_behind_what_waited(
    tmp_path: Path, op: dict[str, str] | None, sent: list[str]
) -> None:
    server = _Server("old")
    if op is None:
        server.also = [HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)]
    else:
        server.also = [_signalled(3, names.CONTROL, {"control_id": "c"} | op)]
    assert await _recovered(server, tmp_path)
    assert server.sent == sent


async def test_wherever_its_worker_is_killed_the_next_attempt_sends_all_in_order(tmp_path: Path) -> None:
    submits = [_signalled(n, names.SUBMIT, {"event_id": f"e{n}", "content": "hi"}) for n in range(2, 7)]
    out = _signalled(7, names.CONTROL, {"control_id": "c", "op": "cancel", "event_id": "e4"})
    close = _signalled(8, names.CONTROL, {"control_id": "d", "op": "close"})
    whole = ["e2", "e3", "e4", "e5", "e6", "cancel e4", "close park"]
    for killed_after in range(1, len(whole) + 1):
        server = _Server("old")
        server.histories["old"], server.killed_after = [*submits, out, close], killed_after
        with pytest.raises(asyncio.CancelledError):
            await _recovered(server, tmp_path)
        assert server.sent == whole[:killed_after]
        assert await _recovered(server, tmp_path, attempt=2)
        assert server.sent[killed_after:] == whole, "those that are there already are duplicates"


async def test_two_recoveries_at_once_bring_each_event_first_in_its_order(tmp_path: Path) -> None:
    server = _Server("old")
    server.histories["old"] = [
        _signalled(n, names.SUBMIT, {"event_id": f"e{n}", "content": "hi"}) for n in range(2, 30)
    ]
    assert await asyncio.gather(*(_recovered(server, tmp_path, attempt=n) for n in (1, 2, 3))) == [True] * 3
    assert list(dict.fromkeys(server.sent)) == [f"e{n}" for n in range(2, 30)]


async def test_what_an_attempt_found_open_the_next_one_does_not_give_up(tmp_path: Path) -> None:
    server, beats = _Server("old", "later"), list[Any]()
    server.fails = {"later": RPCStatusCode.UNAVAILABLE}
    with pytest.raises(ApplicationError):
        await _recovered(server, tmp_path, attempt=4, beats=beats)
    assert server.sent == [], "all are read before one is sent: what was decided is recorded first"
    server.fails = {"list": RPCStatusCode.UNAVAILABLE}
    for attempt in (5, 60):
        said = beats[-1]
        with pytest.raises(ApplicationError):
            await _recovered(server, tmp_path, attempt=attempt, said=said, beats=beats)
    server.fails = {}
    assert await _recovered(server, tmp_path, attempt=61, said=beats[-1])
    assert server.sent == ["old", "later"]


async def test_one_taken_out_while_it_was_recovered_is_not_brought_back_by_the_next_recovery(tmp_path: Path) -> None:
    server = _Server("first", "second", "third")
    brought = _signalled(2, names.SUBMIT, {"event_id": "e", "content": "hi"})
    again = _signalled(2, names.SUBMIT, {"event_id": "e", "content": "hi", "again": 5.0})
    out = _signalled(3, names.CONTROL, {"control_id": "c", "op": "cancel", "event_id": "e"})
    server.histories |= {"first": [brought], "second": [again, out], "third": [again]}
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e", "cancel e"]


@pytest.mark.promise("SUR-15")
async def test_what_filled_one_run_does_not_fill_the_next(tmp_path: Path) -> None:
    content = [{"type": "text", "text": "x" * 250_000}]
    server = _Server("old")
    server.histories["old"] = [
        _signalled(n, names.SUBMIT, {"event_id": f"e{n}", "content": content, "source": "s", "sequence": n, "odd": n})
        for n in range(2, 12)
    ]
    assert await _recovered(server, tmp_path)
    assert [message["event_id"] for message in server.messages] == [f"e{n}" for n in range(2, 12)]
    assert max(sizes.written(message) for message in server.messages) <= sizes.INLINE
    assert all({"source", "sequence", "preview", "again"} <= message.keys() for message in server.messages)
    journal = open_journal(journal_url(tmp_path))
    kept = await journal.contents(SESSION)
    await journal.close()
    assert kept.keys() == {f"e{n}" for n in range(2, 12)}
    assert all(size > 250_000 for size in kept.values())


def _in_clear(*signals: HistoryEvent, markers: Sequence[str] = (), handled: bool = True) -> _Server:
    """A run whose signals came in clear, now read with keys. `markers`: of those that its workers turned away."""
    server, kind = _Server("old"), EventType.EVENT_TYPE_MARKER_RECORDED
    server.known = True
    server.data_converter = SimpleNamespace(payload_codec=EncryptionCodec(KeyRing((Key("a", b"a" * 32),))))
    history = server.histories["old"] = list(signals)
    if handled:
        done = HistoryEvent(event_id=51, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        done.workflow_task_completed_event_attributes.started_event_id = 50
        history.append(done)
    for number, marker in enumerate(markers):
        event = HistoryEvent(event_id=52 + number, event_type=kind)
        event.marker_recorded_event_attributes.marker_name = "core_patch"
        payload = event.marker_recorded_event_attributes.details["patch-data"].payloads.add()
        payload.data = json.dumps({"id": marker}).encode()
        history.append(event)
    return server


async def test_what_a_session_took_in_clear_before_it_had_keys_is_sent_again(tmp_path: Path) -> None:
    event = _signalled(2, names.SUBMIT, {"event_id": "e1", "content": "hi"})
    cancelled = _signalled(3, names.SUBMIT, {"event_id": "e2", "content": "hi"})
    cancel = _signalled(4, names.CONTROL, {"control_id": "c", "op": "cancel", "event_id": "e2"})
    server = _in_clear(event, cancelled, cancel)
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e1", "e2", "cancel e2"]


@pytest.mark.parametrize("handled", [True, False])
@pytest.mark.parametrize(
    "control", [{"op": "close", "pending": "cancel"}, {"op": "cancel", "event_id": "e1"}, {"op": "interrupt"}]
)
async def test_a_control_in_clear_is_carried_out_in_recovery_no_more_than_by_the_session(
    tmp_path: Path, control: dict[str, Any], handled: bool
) -> None:
    codec = EncryptionCodec(KeyRing((Key("a", b"a" * 32),)), namespace="default", workflow_id=str(SESSION))
    event = _signalled(2, names.SUBMIT, {"event_id": "e1", "content": "hi"})
    payloads = event.workflow_execution_signaled_event_attributes.input.payloads
    payloads[0].CopyFrom((await codec.encode(payloads))[0])
    said = {"control_id": "c", "clear_queue": True} | control
    marked = ["inturn-clear-2"] if handled else []
    server = _in_clear(event, _signalled(3, names.CONTROL, said), markers=marked, handled=handled)
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e1"]


@pytest.mark.promise("SEC-2")
async def test_in_a_run_of_who_has_no_key_nothing_in_clear_counts(tmp_path: Path) -> None:
    """They may have a worker of their own that takes all of it."""
    event = _signalled(2, names.SUBMIT, {"event_id": "forged", "content": "hi"})
    close = _signalled(3, names.CONTROL, {"control_id": "c", "op": "close"})
    update = HistoryEvent(event_id=4, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
    request = update.workflow_execution_update_accepted_event_attributes.accepted_request
    request.meta.update_id, request.input.name = "u", names.SUBMIT
    payload = request.input.args.payloads.add(data=b'{"event_id": "forged-too", "content": "hi"}')
    payload.metadata["encoding"] = b"json/plain"
    recorded = HistoryEvent(event_id=5, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    scheduled = recorded.activity_task_scheduled_event_attributes
    scheduled.activity_type.name = names.RECORD
    forged = {"type": "event.cancelled", "turn": "e", "key": "e/disposition", "disposition": "cancelled", "body": {}}
    payload = scheduled.input.payloads.add(data=json.dumps({"decisions": [forged]}).encode())
    payload.metadata["encoding"] = b"json/plain"
    server = _in_clear(event, close, update, recorded)
    server.known = False
    assert not await _recovered(server, tmp_path)
    assert server.sent == []
    journal = open_journal(journal_url(tmp_path))
    assert [entry.type async for entry in journal.entries(SESSION)] == ["session.recovered"]
    await journal.close()


async def test_events_without_an_id_are_numbered_beside_those_that_were_turned_away(tmp_path: Path) -> None:
    first, second = (_signalled(number, names.SUBMIT, {"content": "hi"}) for number in (2, 3))
    both, one = _in_clear(first, second), _in_clear(first, second, markers=["inturn-clear-1"])
    assert await _recovered(both, tmp_path)
    assert await _recovered(one, tmp_path)
    assert one.sent == both.sent[1:]


@pytest.mark.parametrize("again", [{"control_id": "c"}, {}, {"control_id": 7}])
async def test_a_control_that_the_session_had_not_carried_out_takes_no_event_out(
    tmp_path: Path, again: dict[str, Any]
) -> None:
    server, clear = _Server("old"), {"op": "interrupt", "clear_queue": True}
    server.histories["old"] = [
        _signalled(2, names.CONTROL, clear | {"control_id": "c"}),
        _signalled(3, names.SUBMIT, {"event_id": "e1", "content": "hi"}),
        _signalled(4, names.CONTROL, clear | again),
        _signalled(5, names.CONTROL, {"op": "close"} | again),
    ]
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e1"]


async def _strange(event: HistoryEvent) -> HistoryEvent:
    """Encrypt what a signal brings with a key that the session's workers do not have."""
    codec = EncryptionCodec(KeyRing((Key("strange", b"s" * 32),)), namespace="default", workflow_id=str(SESSION))
    payloads = event.workflow_execution_signaled_event_attributes.input.payloads
    payloads[0].CopyFrom((await codec.encode(payloads))[0])
    return event


async def _kept(path: Path) -> dict[str, Any]:
    journal = open_journal(journal_url(path))
    entries = [entry async for entry in journal.entries(SESSION, types=("event.parked",))]
    await journal.close()
    return {str(entry.event_id): entry.body for entry in entries}


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("name", [names.SUBMIT, names.CONTROL])
async def test_what_cannot_be_read_and_no_worker_had_handled_is_set_aside_and_the_rest_is_sent(
    tmp_path: Path, name: str
) -> None:
    said = {"event_id": "x", "content": "psst", "control_id": "c", "op": "close"}
    first, last = (_signalled(n, names.SUBMIT, {"event_id": f"e{n}", "content": "hi"}) for n in (2, 60))
    server = _in_clear(first, await _strange(_signalled(59, name, said)), last)
    payloads = last.workflow_execution_signaled_event_attributes.input.payloads
    own = EncryptionCodec(KeyRing((Key("a", b"a" * 32),)), namespace="default", workflow_id=str(SESSION))
    payloads[0].CopyFrom((await own.encode(payloads))[0])
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e2", "e60"]
    [(event_id, body)] = (await _kept(tmp_path)).items()
    assert event_id.startswith("sealed:")
    assert event_id.endswith("-1-2")
    assert "key 'strange', which no worker had" in body["error"]
    assert ("payload" in body["sealed"]) == (name == names.SUBMIT)


@pytest.mark.promise("SEC-2")
async def test_one_that_a_worker_had_read_is_waited_for_and_then_set_aside_alone(tmp_path: Path) -> None:
    first = _signalled(2, names.SUBMIT, {"event_id": "e2", "content": "hi"})
    server = _in_clear(first, await _strange(_signalled(3, names.SUBMIT, {"event_id": "x", "content": "psst"})))
    for attempt in (1, 29):
        with pytest.raises(ApplicationError, match="strange"):
            await _recovered(server, tmp_path, attempt=attempt)
        assert await _kept(tmp_path) == {}
    server.sent.clear()
    assert await _recovered(server, tmp_path, attempt=30)
    assert server.sent == ["e2"]
    assert len(await _kept(tmp_path)) == 1


@pytest.mark.promise("SEC-2")
async def test_one_that_was_set_aside_and_not_recorded_is_recorded(tmp_path: Path) -> None:
    first = _signalled(2, names.SUBMIT, {"event_id": "e2", "content": "hi"})
    strange = await _strange(_signalled(3, names.SUBMIT, {"event_id": "x", "content": "psst"}))
    server = _in_clear(first, strange, markers=["inturn-locked-2"])
    assert await _recovered(server, tmp_path)
    assert server.sent == ["e2"]
    assert len(await _kept(tmp_path)) == 1
