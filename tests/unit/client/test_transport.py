"""How a session is started and reached: one workflow id, whoever comes first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError
from temporalio.service import RPCStatusCode as Status

from inturn.client.temporal.transport import SessionTransport, fairness_key
from inturn.errors import Unavailable
from inturn.keys import SessionKey
from tests.support.transport import rpc_error


class FakeTemporal:
    """Notes what a start was asked for, and may refuse it."""

    def __init__(self, refusal: RPCError | None = None, may_register: bool = True) -> None:
        self.namespace = "acme-production"
        self.starts: list[tuple[str, dict[str, Any]]] = []
        self.registered: list[str] = []
        self._refusal = refusal
        self._may_register = may_register
        self.operator_service = self
        self.service_client = SimpleNamespace(config=SimpleNamespace(target_host="temporal.example:7233"))

    async def start_workflow(self, name: str, **options: Any) -> None:
        self.starts.append((name, options))
        if self._refusal is not None:
            raise self._refusal

    async def add_search_attributes(self, request: Any, **_: Any) -> None:
        if not self._may_register:
            raise rpc_error(Status.PERMISSION_DENIED, "no")
        self.registered += sorted(request.search_attributes)


def _transport(temporal: FakeTemporal, *, agent: str | None = None, slots: int = 1) -> SessionTransport:
    async def connected() -> FakeTemporal:
        return temporal

    semaphore = asyncio.Semaphore(slots)
    connection: Any = SimpleNamespace(
        temporal=connected, settings=SimpleNamespace(task_queue="inturn"), update_slots=lambda _: semaphore
    )
    return SessionTransport(connection, SessionKey("acme", "order-17"), None, agent)


@pytest.mark.promise("ACC-4")
async def test_the_first_event_and_the_start_are_one_call() -> None:
    temporal = FakeTemporal()
    await _transport(temporal, agent="support").signal_with_start({"event_id": "e1", "content": "hi"})
    [(name, options)] = temporal.starts
    assert (name, options["id"], options["task_queue"]) == ("Session", "acme/order-17", "inturn")
    assert options["args"] == [{"agent": "support"}]
    assert (options["start_signal"], options["start_signal_args"]) == ("submit", [{"event_id": "e1", "content": "hi"}])
    assert options["id_conflict_policy"] is WorkflowIDConflictPolicy.USE_EXISTING
    assert options["id_reuse_policy"] is WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
    assert not {"retry_policy", "execution_timeout", "run_timeout"} & options.keys()
    attributes = {pair.key.name: pair.value for pair in options["search_attributes"]}
    assert attributes == {"InturnTenant": "acme", "InturnAgent": "support"}


async def test_without_an_agent_nothing_is_said_of_one() -> None:
    temporal = FakeTemporal()
    await _transport(temporal).signal_with_start({})
    [(_, options)] = temporal.starts
    assert "args" not in options
    assert [pair.key.name for pair in options["search_attributes"]] == ["InturnTenant"]


LACKING = rpc_error(Status.INVALID_ARGUMENT, "Namespace x has no mapping defined for search attribute InturnTenant")


async def test_missing_search_attributes_are_registered_for_the_next_try() -> None:
    temporal = FakeTemporal(LACKING)
    with pytest.raises(RPCError):
        await _transport(temporal).signal_with_start({})
    assert temporal.registered == ["InturnAgent", "InturnParked", "InturnState", "InturnTenant"]


async def test_where_they_may_not_be_registered_the_user_reads_the_command() -> None:
    temporal = FakeTemporal(LACKING, may_register=False)
    with pytest.raises(Unavailable) as caught:
        await _transport(temporal).signal_with_start({})
    command = "temporal operator search-attribute create --address temporal.example:7233 --namespace acme-production"
    assert f"{command} --name InturnAgent --type Keyword" in str(caught.value)
    assert caught.value.__cause__ is LACKING


async def test_a_caller_cancelled_while_it_waits_for_a_slot_is_let_go() -> None:
    transport = _transport(FakeTemporal(), slots=0)
    task = asyncio.create_task(transport.update_with_start({"event_id": "e1"}, "e1~1"))
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.promise("ISO-4")
async def test_a_session_starts_with_its_tenant_as_fairness_key_at_a_length_that_servers_take() -> None:
    temporal = FakeTemporal()
    await _transport(temporal).signal_with_start({"event_id": "e1", "content": "hi"})
    [(_, options)] = temporal.starts
    assert options["priority"].fairness_key == "acme"
    long = {fairness_key("t" * 127 + last) for last in "ab"}
    assert len(long) == 2
    assert {len(key) for key in long} == {64}
