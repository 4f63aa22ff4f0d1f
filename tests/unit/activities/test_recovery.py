"""Sending again what earlier runs left open outlasts what passes at the server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
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

from inturn import names
from inturn.journal import open_journal
from inturn_activities.recovery import recovered
from tests.support.steps import SESSION
from tests.support.transport import rpc_error

pytestmark = pytest.mark.promise("SUR-5", "SUR-11", "ACC-1")


class _Server:
    """Lists runs that were terminated; each had accepted one event. `fails` says which calls fail, and how."""

    def __init__(self, *runs: str, **fails: RPCStatusCode) -> None:
        self.runs, self.fails, self.sent = runs, fails, list[str]()
        self.data_converter = SimpleNamespace(payload_codec=None)
        self.also = list[HistoryEvent]()
        """What else their histories hold."""

    async def list_workflows(self, query: str) -> AsyncIterator[Any]:
        self._called("list")
        for run in self.runs:
            ended = WorkflowExecutionStatus.TERMINATED
            yield SimpleNamespace(id=str(SESSION), run_id=run, status=ended, start_time=datetime.now(UTC))

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Any:
        return SimpleNamespace(fetch_history_events=lambda: self._history(run_id), signal=self._signal)

    async def _history(self, run_id: str) -> AsyncIterator[HistoryEvent]:
        self._called(run_id)
        signal = HistoryEvent(event_id=2, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        attributes = signal.workflow_execution_signaled_event_attributes
        attributes.signal_name = names.SUBMIT
        payload = attributes.input.payloads.add(data=json.dumps({"event_id": run_id, "content": "hi"}).encode())
        payload.metadata["encoding"] = b"json/plain"
        yield HistoryEvent(event_id=1)
        yield signal
        for other in self.also:
            yield other

    async def _signal(self, name: str, message: dict[str, Any]) -> None:
        self._called("signal")
        self.sent.append(message.get("event_id") or f"{message['op']} {message['pending']}")

    def _called(self, what: str) -> None:
        if what in self.fails:
            raise rpc_error(self.fails[what])


async def _recovered(server: Any, path: Path, *, attempt: int = 1) -> bool:
    environment = ActivityEnvironment(client=server)
    step = SESSION.turn("new").step(0)
    environment.info = dataclasses.replace(environment.info, activity_id=str(step), attempt=attempt)
    journal = open_journal(f"sqlite:///{path / 'j.db'}")
    try:
        return await environment.run(recovered, journal, step, "chain")
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
        control = HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        control.workflow_execution_signaled_event_attributes.signal_name = names.CONTROL
        payload = control.workflow_execution_signaled_event_attributes.input.payloads.add(
            data=json.dumps({"control_id": "c"} | op).encode()
        )
        payload.metadata["encoding"] = b"json/plain"
        server.also = [control]
    assert await _recovered(server, tmp_path)
    assert server.sent == sent
