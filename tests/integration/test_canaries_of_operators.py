"""What was said stands nowhere in clear with keys, whatever operators do, whatever fails, and however it is watched."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest, QueryWorkflowRequest

from inturn import Client, InvalidEvent, Session
from inturn.encryption.keys import VARIABLE
from tests.support.collector import Collector
from tests.support.histories import reset, settled
from tests.support.keys import connected, keys
from tests.support.processes.dev import DevProcess
from tests.support.processes.server import ROOT, DevServer, WorkerProcess, clean_environment
from tests.support.rig import Rig
from tests.support.waiting import until

CANARY: Final = "kanarienvogel"
"""Begins each of them; what comes behind tells where it was said."""
AGENTS: Final = "tests.support.agents.secretive:agents"
QUERIES: Final = ("status", "__stack_trace", "__enhanced_stack_trace", "__temporal_workflow_metadata")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    """A server of the test's own, whose database is under `tmp_path`."""
    directory = tmp_path / "server"
    directory.mkdir()
    with DevServer(db=directory / "temporal.db", log=directory / "log") as server:
        yield server.address


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on loopback."""
    made = Collector()
    yield made
    made.close()


def _watched(rig: Rig, collector: Collector) -> WorkerProcess:
    """A worker at its most talkative."""
    return rig.process(
        agents=AGENTS,
        INTURN_LOG_LEVEL="debug",
        PYTHONASYNCIODEBUG="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.address,
        OTEL_BSP_SCHEDULE_DELAY="100",
        **{VARIABLE: keys("a")},
    )


@pytest.mark.promise("SEC-2", "SEC-3")
async def test_whatever_operators_do_and_whatever_fails_it_is_in_no_file_span_metric_or_answer_in_clear(
    own_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setenv(VARIABLE, keys("a"))
    rig = await Rig(own_server, tmp_path).connect()
    worker = _watched(rig, collector)
    try:
        async with rig.client() as client:
            await client.session("failing", agent="secretive").send(f"{CANARY} first", event_id="first")
            await client.session("failing", agent="other").send(f"{CANARY} parks", event_id="lost")
            worker.start()
            await _fails_in_all_ways(rig, client)
            await _goes_on(rig, client)
            told = [await _told(rig, name) for name in ("failing", "s")]
            assert await asyncio.to_thread(worker.stop) == 0
            await _moved(rig, client)
    finally:
        rig.end()
    assert len(collector.spans) > 10
    assert collector.metrics >= {"inturn.steps", "inturn.turn.duration"}
    assert CANARY.encode() not in collector.received
    for shown in told:
        assert CANARY not in shown
        assert "binary/inturn" in shown
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len([file for file in files if file.suffix == ".jsonl"]) == 1, "the export"
    for file in files:
        assert CANARY.encode() not in file.read_bytes(), file


async def _fails_in_all_ways(rig: Rig, client: Client) -> None:
    """Have a tool fail as hard as it can, a delivery given up and repeated, an event parked and driven again."""
    session = client.session("failing", agent="secretive")
    ways = ["cause", "group", "exit", "details", "again", "task", "thread", "warning", "log"]
    calls = [f'[[tool leave {{"how": "{way}", "text": "{CANARY} {way}"}}]]' for way in ways]
    await session.ask(" ".join(calls), event_id="fails", timeout=60)
    await session.send(f"undeliverable {CANARY}", event_id="undelivered")
    for event_id in ("lost", "undelivered"):
        await until(partial(_parked, session, event_id))
        assert await session.redrive(event_id)
    await until(partial(_parked, session, "undelivered"))
    with pytest.raises(InvalidEvent, match="belongs to agent"):
        await client.session("failing", agent="other").submit(f"{CANARY} refused", event_id="refused")
    assert await session.discard("undelivered", reason=f"{CANARY} given up")
    await settled(rig.temporal.get_workflow_handle(str(rig.key("failing"))))


async def _parked(session: Session, event_id: str) -> bool:
    return event_id in [parked.event_id for parked in await session.parked()]


async def _goes_on(rig: Rig, client: Client) -> None:
    """Have a session continue as new, begin anew behind a termination with events waiting, and be reset."""
    begun = {"agent": "secretive", "limits": {"signals": 4}}
    handle = await rig.temporal.start_workflow("Session", begun, id=str(rig.key("s")), task_queue=rig.task_queue)
    session = client.session("s", agent="secretive")
    for n in range(6):
        await session.send(f"{CANARY} {n}", event_id=f"e{n}", metadata={"said": CANARY})
    await session.wait("e5", timeout=60)
    assert (await session.status()).runs > 1
    await session.send(f'[[tool hold {{"text": "{CANARY} held", "seconds": 60}}]]', event_id="held")
    await until(lambda: _running(session))
    await session.send(f"{CANARY} steers", event_id="steers", when_busy="steer")
    await session.send(f"{CANARY} waits", event_id="waits")
    await session.interrupt(reason=f"{CANARY} stop")
    await session.wait("waits", timeout=30)
    await session.pause()
    await session.send(f"{CANARY} recovered", event_id="recovered")
    await settled_paused(session)
    await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate()
    await session.ask(f"{CANARY} after", event_id="after", timeout=60)
    assert (await session.wait("recovered", timeout=30)).disposition == "applied"
    await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
    await reset(rig.temporal, str(rig.key("s")), 0)
    await session.ask(f"{CANARY} reset", event_id="reset", timeout=60)
    await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences
    said = json.dumps([entry.body async for entry in session.entries()])
    for what in ("0", "held", "steers", "waits", "stop", "recovered", "after", "reset"):
        assert f"{CANARY} {what}" in said, what
    assert handle.id == str(rig.key("s"))


async def _running(session: Session) -> bool:
    return (await session.status()).state == "running"


async def settled_paused(session: Session) -> None:
    """Wait until a paused session has something that waits."""

    async def waits() -> bool:
        return bool((await session.status()).queue)

    await until(waits)


async def _told(rig: Rig, name: str) -> str:
    """Return what the server tells of a session to one without keys: of all its runs, in lists, and to queries."""
    temporal, key = await connected(rig.address), str(rig.key(name))
    listed = await temporal.workflow_service.list_workflow_executions(
        ListWorkflowExecutionsRequest(namespace="default", query=f'WorkflowId="{key}"')
    )
    told = [str(listed)]
    for run in listed.executions:
        handle = temporal.get_workflow_handle(key, run_id=run.execution.run_id)
        told += [(await handle.fetch_history()).to_json(), str((await handle.describe()).raw_description)]
    for query in QUERIES:
        request = QueryWorkflowRequest(
            namespace="default", execution=WorkflowExecution(workflow_id=key), query=WorkflowQuery(query_type=query)
        )
        answer = await temporal.workflow_service.query_workflow(request)
        assert answer.query_result.payloads, query
        told.append(str(answer))
    return "\n".join(told)


async def _moved(rig: Rig, client: Client) -> None:
    """Copy the journal, export and delete a session, and encrypt the rest anew."""
    copied, anew = (f"sqlite:///{rig.directory / name}" for name in ("copied.sqlite", "anew.sqlite"))
    archive = str(rig.directory / "archive")
    worker = rig.process(agents=AGENTS, **{VARIABLE: keys("a")})
    worker.start()
    await client.session("s").close(timeout=30)
    assert await asyncio.to_thread(worker.stop) == 0
    await _inturn(rig, "journal", "copy", rig.journal, copied)
    await _inturn(rig, "journal", "prune", copied, "--closed-before", "0s", "--export", archive, "--yes")
    await _inturn(rig, "journal", "reencrypt", copied, anew, **{VARIABLE: keys("b", "a")})
    await _inturn(rig, "journal", "verify", anew, **{VARIABLE: keys("b", "a")})


async def _inturn(rig: Rig, *arguments: str, **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "inturn",
        *arguments,
        cwd=rig.directory,
        env={**clean_environment(), VARIABLE: keys("a"), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


LEAVING: Final = """
from tests.support.agents.secretive import agents
"""


@pytest.mark.promise("SEC-2", "SEC-3")
@pytest.mark.timeout(600)
async def test_inturn_dev_with_keys_keeps_nothing_in_clear_and_no_key(tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "app.py").write_text(LEAVING)
    env = {VARIABLE: keys("a"), "PYTHONPATH": str(ROOT), "INTURN_LOG_LEVEL": "debug"}
    with DevProcess(directory, "app:agents", env=env) as dev:
        dev.ready()
        call = f'[[tool leave {{"how": "task", "text": "{CANARY}"}}]] [[tool spread {{"text": "{CANARY}"}}]]'
        assert CANARY in dev.run("ask", "hello", call), "who has the keys reads it"
        assert CANARY in dev.run("tail", "hello")
        dev.end()
        printed = dev.told()
    kept = [file for file in (directory / ".inturn").rglob("*") if file.is_file()]
    assert {"journal.sqlite", "temporal.db", "dev.jsonl"} <= {file.name for file in kept}
    material = keys("a").partition(":")[2].encode()
    for what, said in [("printed", str(printed).encode()), *((file.name, file.read_bytes()) for file in kept)]:
        assert CANARY.encode() not in said, what
        assert material not in said, what
