"""The gateway before a real Temporal server: a support case by Anthropic's SDK, and a delivery that no worker saw."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

from inturn import Client
from inturn.channels import Call, Channel, Inbound, Message
from inturn_gateway.app import gateway
from tests.support.gateway import Served
from tests.support.rig import Rig
from tests.support.waiting import until

LARGE = '[[tool refund {"cents": 9000}]]'


class Desk(Channel):
    """A channel that believes whoever knows its word."""

    name = "desk"
    agent = "support"

    def verify(self, call: Call) -> bool:
        return call.header("x-word") == "please"

    def read(self, call: Call) -> Iterable[Inbound]:
        note = call.json()
        yield Message(session=note["session"], event_id=note["id"], content=note["text"])


@asynccontextmanager
async def serving(client: Client) -> AsyncGenerator[Served]:
    closing = asyncio.Event()
    async with Served(gateway(client, channels=[Desk()], closing=closing), closing) as served:
        yield served


@pytest.mark.promise("EFF-7", "ORD-9")
async def test_a_support_case_goes_end_to_end_by_anthropics_own_sdk(rig: Rig) -> None:
    async with rig.client() as client, rig.worker(), serving(client) as served:
        async with AsyncAnthropic(base_url=served.url, api_key="none", max_retries=0) as sdk, asyncio.timeout(60):
            sessions, told = sdk.beta.sessions, list[str]()
            made = await sessions.create(agent="support", environment_id="env")
            assert made.status == "idle"
            events, session_id = sessions.events, made.id
            sent = await events.send(
                session_id, events=[{"type": "user.message", "content": [{"type": "text", "text": LARGE}]}]
            )
            assert sent.data is not None
            async with await events.stream(session_id, event_deltas=["agent.message"]) as stream:
                async for event in stream:
                    told.append(event.type)
                    if event.type != "session.status_idle":
                        continue
                    if event.stop_reason.type != "requires_action":
                        break
                    [use_id] = event.stop_reason.event_ids
                    said = {"type": "user.tool_confirmation", "tool_use_id": use_id, "result": "allow"}
                    await events.send(session_id, events=[said])  # type: ignore[list-item]
            listed = [event.type async for event in events.list(session_id)]
            assert (await sessions.retrieve(session_id)).status == "idle"
    assert told[0] == "user.message"
    assert {"agent.tool_use", "agent.tool_result", "agent.message"} <= set(told)
    assert [type_ for type_ in told if not type_.startswith("event_")] == listed


@pytest.mark.promise("ACC-1")
async def test_a_delivery_is_acknowledged_with_no_worker_and_answered_once_when_one_comes(rig: Rig) -> None:
    note = {"session": "desk-1", "id": "n1", "text": "hello"}
    async with rig.client() as client, serving(client) as served, served.http() as http:
        assert (await http.post("/hooks/desk", json=note)).status_code == 401
        for _ in range(5):
            answer = await http.post("/hooks/desk", json=note, headers={"x-word": "please"})
            assert (answer.status_code, answer.content) == (200, b"")
        async with rig.worker():

            async def answered() -> bool:
                return (await http.get("/v1/sessions/desk-1/turns/n1")).status_code == 200

            await until(answered)
        turns = [entry async for entry in client.session("desk-1").entries() if entry.type == "turn.started"]
    assert len(turns) == 1


APP = """
import pathlib, time
from inturn.channels import Channel, Message

def held(place):
    if pathlib.Path(place).exists():
        pathlib.Path("reached").touch()
        time.sleep(60)

class Desk(Channel):
    name, agent = "desk", "support"

    def verify(self, call):
        return call.header("x-word") == "please"

    def read(self, call):
        held("before")
        note = call.json()
        yield Message(session=note["session"], event_id=note["id"], content=note["text"])

    def answer(self, taken):
        held("after")
        return super().answer(taken)

channels = [Desk()]
"""


@pytest.mark.promise("ACC-1")
@pytest.mark.parametrize("killed", ["before", "after"])
async def test_a_gateway_that_is_killed_at_a_delivery_takes_it_once_when_it_comes_again(
    rig: Rig, tmp_path: Path, killed: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    note = {"session": f"desk-{killed}", "id": "n1", "text": "hello"}
    options: dict[str, Any] = {"json": note, "headers": {"x-word": "please"}, "timeout": 30}
    (tmp_path / killed).touch()
    async with process(rig, tmp_path) as (gateway, url), httpx2.AsyncClient() as http:
        delivery = asyncio.create_task(http.post(f"{url}/hooks/desk", **options))

        async def reached() -> bool:
            return (tmp_path / "reached").exists()

        await until(reached)
        gateway.kill()
        with pytest.raises(httpx2.TransportError):  # it was not acknowledged, so it comes again
            await delivery
    (tmp_path / killed).unlink()
    async with process(rig, tmp_path) as (_, url), httpx2.AsyncClient() as http:
        assert (await http.post(f"{url}/hooks/desk", **options)).status_code == 200
    async with rig.worker(), rig.client() as client:
        session = client.session(note["session"])
        assert (await session.wait("n1", timeout=30)).text
        assert len([entry async for entry in session.entries() if entry.type == "turn.started"]) == 1


@asynccontextmanager
async def process(rig: Rig, directory: Path) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Runs `inturn gateway`."""
    options = [
        "--address",
        rig.address,
        "--tenant",
        rig.tenant,
        "--task-queue",
        rig.task_queue,
        "--journal",
        rig.journal,
    ]
    command = [sys.executable, "-m", "inturn", *options, "gateway", "--port", "0", "--channels", "app:channels"]
    started = await asyncio.create_subprocess_exec(*command, cwd=directory, stdout=asyncio.subprocess.PIPE)
    try:
        assert started.stdout is not None
        said = (await asyncio.wait_for(started.stdout.readline(), 30)).decode()
        yield started, said.split()[1]
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def test_a_schedule_is_made_looked_at_paused_and_deleted_by_its_tenant_alone(rig: Rig) -> None:
    planned = {"session_id": "daily", "agent": "support", "content": "Anything open?", "cron": "0 9 * * 1-5"}
    async with rig.client() as client, serving(client) as served, served.http() as http:
        made = await http.put("/v1/schedules/morning", json=planned)
        assert (made.status_code, made.json()["session_id"]) == (200, "daily")
        assert (await http.post("/v1/schedules/morning/pause", json={"reason": "holidays"})).status_code == 200
        assert (await http.get("/v1/schedules/morning")).json()["paused"] is True
        assert (await http.post("/v1/schedules/morning/resume", json={})).status_code == 200
        async with rig.client(tenant="other") as others, serving(others) as elsewhere, elsewhere.http() as strange:
            assert (await strange.get("/v1/schedules/morning")).status_code == 404
            assert (await strange.delete("/v1/schedules/morning")).status_code == 404
        for wrong in ({}, planned | {"cron": "nonsense"}, planned | {"every": 0.001, "cron": None}):
            assert (await http.put("/v1/schedules/other", json=wrong)).status_code == 422
        assert (await http.delete("/v1/schedules/morning")).status_code == 204
        assert (await http.get("/v1/schedules/morning")).status_code == 404
