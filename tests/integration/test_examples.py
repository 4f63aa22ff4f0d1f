"""Every example does what it says, on a real server with a real worker."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import httpx2
import pytest
import pytest_asyncio

from examples import approve, backpressure, chat, schedule, shared_state, webhook
from examples.shop import Shop
from inturn import Backpressure, Client, Receipt, Session, SessionNotFound, SessionStatus
from tests.support.processes.server import ROOT
from tests.support.rig import Rig
from tests.support.sizes import sized
from tests.support.waiting import until

ONE_IDEA = 60
"""Lines."""
SMALL = ("approve", "backpressure", "chat", "schedule", "shared_state", "test_support", "webhook", "workspace")


@pytest.fixture
def surroundings(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which the examples find this test's server, queue and journal."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", rig.address)
    monkeypatch.setenv("INTURN_TASK_QUEUE", rig.task_queue)
    monkeypatch.setenv("INTURN_JOURNAL", rig.journal)


@pytest_asyncio.fixture
async def client(rig: Rig, surroundings: None) -> AsyncIterator[Client]:
    """A client as the examples make theirs; a worker runs the support agent on a shop of its own."""
    lifespan = ("--lifespan", "examples.support:lifespan")
    worker = rig.process(*lifespan, agents="examples.support:agents", SHOP_DB=str(rig.directory / "shop.sqlite"))
    await asyncio.to_thread(worker.start)
    async with Client() as made:
        yield made


@pytest.fixture
def unique() -> str:
    """An id that no other test on this server has: the examples use the default tenant."""
    return uuid.uuid4().hex[:8]


async def turns(session: Session) -> list[str | None]:
    return [entry.event_id async for entry in session.entries() if entry.type == "turn.completed"]


async def asked(session: Session) -> SessionStatus:
    """Wait until a call waits for a person."""

    async def status() -> SessionStatus | None:
        try:
            status = await session.status()
        except SessionNotFound:
            return None
        return status if status.approvals else None

    found = await until(status)
    assert found
    return found


@pytest.mark.parametrize("name", SMALL)
def test_an_example_is_one_idea_in_few_lines(name: str) -> None:
    assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) <= ONE_IDEA


async def test_the_support_agent_reads_and_changes_its_shop(client: Client, rig: Rig, unique: str) -> None:
    session = client.session(unique, agent="support")
    calls = ["look_up_order", "refund", "add_note", "list_orders", "refund"]
    arguments = [
        '{"order_id": "1002"}',
        '{"order_id": "1002", "cents": 2450}',
        '{"order_id": "1002", "text": "refunded"}',
        '{"customer": "ada"}',
        '{"order_id": "nope", "cents": 1}',
    ]
    text = "".join(f"[[tool {name} {given}]]" for name, given in zip(calls, arguments, strict=True))
    turn = await session.ask(text, event_id="e1", timeout=30)
    assert [(call.tool, call.status) for call in turn.tool_calls] == [
        *((name, "ok") for name in calls[:4]),
        ("refund", "error"),
    ]
    shop = Shop(rig.directory / "shop.sqlite")
    assert shop.rows("SELECT * FROM refunds") == [
        {"key": f"default/{unique}/e1/0/1", "order_id": "1002", "cents": 2450}
    ]
    assert len(shop.rows("SELECT * FROM notes")) == 1


def test_the_workspace_example_writes_below_its_root_and_nowhere_else(tmp_path: Path) -> None:
    env = {**os.environ, "WORKSPACE": str(tmp_path / "notes")}
    command = [sys.executable, "-m", "examples.workspace"]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "append_file ok" in ran.stdout
    assert "read_file error" in ran.stdout
    assert (tmp_path / "notes" / "todo.txt").read_text() == "call Ann\n"


async def test_the_webhook_acknowledges_a_redelivery_and_the_session_answers_once(client: Client, unique: str) -> None:
    transport = httpx2.ASGITransport(app=webhook.app)
    first = ("d1", unique, "Where is it?")
    deliveries = [first, first, ("d2", unique, "Thanks"), ("d3", "not an id", "?")]
    async with webhook.lifespan(webhook.app), httpx2.AsyncClient(transport=transport, base_url="http://shop") as http:
        answers = [
            await http.post("/shop", json={"order": order, "text": text}, headers={"x-delivery": delivery})
            for delivery, order, text in deliveries
        ]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 400]
    session = client.session(f"order-{unique}")
    await session.wait("d2", timeout=30)
    assert await turns(session) == ["d1", "d2"]


async def test_a_scheduled_event_is_one_turn_a_day_however_often_it_is_started(client: Client, unique: str) -> None:
    day = datetime(2026, 1, 2, 7, 0, tzinfo=UTC)
    for hour in (7, 8):
        await schedule.main([unique], day.replace(hour=hour))
    await schedule.main([unique], day.replace(day=3))
    session = client.session(f"order-{unique}")
    await session.wait("daily-2026-01-03", timeout=30)
    assert await turns(session) == ["daily-2026-01-02", "daily-2026-01-03"]


async def test_a_scheduled_script_ends_well_every_time(client: Client, unique: str) -> None:
    command = [sys.executable, "-m", "examples.schedule"]
    for n in range(sized(sample=8, whole=20)):  # one in ten crashed in the interpreter's end, once
        script = await asyncio.create_subprocess_exec(*command, f"{unique}-{n}", cwd=ROOT, env=_environment())
        assert await script.wait() == 0


async def test_the_chat_shows_a_turns_steps(client: Client, unique: str) -> None:
    session = client.session(unique, agent="support")
    lines = [line async for line in chat.say(session, '[[tool look_up_order {"order_id": "1002"}]]')]
    assert lines[0] == "  … look_up_order {'order_id': '1002'}"
    assert "kettle" in lines[-1]


async def test_an_import_that_runs_twice_is_in_once(client: Client, unique: str) -> None:
    session = client.session(unique, agent="support")
    assert await backpressure.load(session, ["one", "two", "three"]) == {"accepted": 3}
    assert await backpressure.load(session, ["one", "two", "three"]) == {"duplicate": 3}
    await session.wait("line-2", timeout=30)
    assert await turns(session) == ["line-0", "line-1", "line-2"]


async def test_an_import_waits_as_long_as_a_full_inbox_says() -> None:
    class Full:
        tries = 0

        async def submit(self, text: str, *, event_id: str, source: str) -> Receipt:
            self.tries += 1
            if self.tries < 3:
                raise Backpressure("full", retry_after=0.01)
            return Receipt(event_id=event_id, status="accepted")

    full = Full()
    assert (await backpressure.submit(cast("Session", full), "text", "e1")).status == "accepted"
    assert full.tries == 3


async def test_a_large_refund_runs_after_one_yes_and_the_second_person_hears_who_was_first(
    client: Client, rig: Rig, unique: str
) -> None:
    session = client.session(unique, agent="support")
    await session.send('[[tool refund {"order_id": "1004", "cents": 12000}]]', event_id="e1")
    approval = (await asked(session)).approvals[0]
    shop = Shop(rig.directory / "shop.sqlite")
    assert shop.rows("SELECT * FROM refunds") == []
    assert await approve.decide(session, approval, yes=True, by="dora") == "approved"
    await session.wait("e1", timeout=30)
    assert await approve.decide(session, approval, yes=False, by="eve") == "approved already by dora"
    assert len(shop.rows("SELECT * FROM refunds")) == 1


@pytest.mark.usefixtures("surroundings")
async def test_each_voucher_is_given_to_one_customer(rig: Rig) -> None:
    async with rig.worker(shared_state.agents), Client() as client:
        for _ in range(2):
            await shared_state.main(["SPRING-1", "SPRING-2"])
        asking = (client.session(uuid.uuid4().hex, agent="shop").ask("[[tool give_voucher {}]]" * 2) for _ in range(3))
        calls = [call for turn in await asyncio.gather(*asking) for call in turn.tool_calls]
    given = sorted(str(call.result) for call in calls if call.status == "ok")
    assert given == ["SPRING-1", "SPRING-2"]
    refused = {str(call.result) for call in calls if call.status == "error"}
    assert refused == {"This customer has one already.", "No vouchers are left."}


def test_the_example_of_a_test_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_support.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


async def test_the_readmes_code_prints_what_the_readme_shows(rig: Rig, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = dict(re.findall(r"^```(python|text)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    home = tmp_path / "home"
    home.mkdir()
    (home / "app.py").write_text(blocks["python"].replace("order-17", f"order-{uuid.uuid4().hex[:8]}"))
    worker = rig.process(agents="app:agents", PYTHONPATH=_path(home))
    await asyncio.to_thread(worker.start)
    env = _environment() | {"TEMPORAL_ADDRESS": rig.address, "INTURN_TASK_QUEUE": rig.task_queue}
    env["INTURN_JOURNAL"] = rig.journal
    command = [sys.executable, "app.py"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=home, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == blocks["text"], done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": _path()}


def _path(*more: Path) -> str:
    return os.pathsep.join(str(path) for path in (ROOT, ROOT / "client", *more))
