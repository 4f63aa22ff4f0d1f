"""worker.py as a process: it starts or says why not, drains, restarts, and answers probes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.service import RPCError

from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.support.processes.server import ROOT, WorkerProcess, fixed_port
from tests.support.rig import Rig
from tests.support.waiting import until

MODULE = '''
import asyncio, logging, os
from contextlib import asynccontextmanager
from inturn import Agent, ToolContext, tool

@tool
async def look(ctx: ToolContext) -> str:
    """Look at the resources."""
    await asyncio.to_thread(logging.getLogger("mine").info, "looking")
    return f"pool {ctx.resources['pool']}"

@asynccontextmanager
async def lifespan():
    with open("lifespan", "a") as file:
        file.write(f"begin {os.getpid()}\\n")
    yield {"pool": "of ten"}
    with open("lifespan", "a") as file:
        file.write(f"end {os.getpid()}\\n")

agents = [Agent("one", model="claude-sonnet-5-5", instructions="i", tools=[look])]
unpriced = [Agent("one", model="claude-sonnet-9", instructions="i")]
number = 3
'''


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A user's working directory with a module `mine`."""
    directory = tmp_path / "cwd"
    directory.mkdir()
    (directory / "mine.py").write_text(MODULE)
    return directory


def _run(cwd: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("INTURN_", "TEMPORAL_", "ANTHROPIC_", "OTEL_"))}
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    return subprocess.run(
        [sys.executable, str(ROOT / "worker.py"), *arguments],
        cwd=cwd,
        env={**clean, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
    except (URLError, ConnectionError) as error:
        return 0, str(error)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


WRONG = [
    (("absent:agents",), {}, "no module named 'absent'"),
    (("mine:absent",), {}, "Agents in it: agents"),
    (("mine:number",), {}, "must be an Agent"),
    (("mine:agents", "--lifespan", "mine:number"), {}, "--lifespan mine:number"),
    (("mine:agents", "--address", "127.0.0.1:1"), {"INTURN_CONNECT_TIMEOUT": "1"}, "at 127.0.0.1:1 within 1 s"),
    (
        ("mine:agents", "--namespace", "nowhere"),
        {},
        "create it: temporal operator namespace create --address {address} --namespace nowhere",
    ),
    (("mine:agents", "--journal", "sqlite:////proc/none/journal.db"), {}, "journal cannot be opened"),
    (("mine:agents", "--journal", "mysql://here"), {}, "sqlite:///FILE"),
    (
        ("mine:unpriced",),
        {"INTURN_LIMITS_USD_PER_TENANT_DAY": "1", "ANTHROPIC_API_KEY": "k"},
        "agent one: nobody knows what model claude-sonnet-9 costs",
    ),
    (("mine:agents",), {"INTURN_PRICES": "none.json"}, "the prices in none.json cannot be read"),
    (("mine:agents", "--processes", "0"), {}, "--processes is 0"),
    (("mine:agents", "--version", "7"), {}, "--version is '7'"),
    (("mine:agents", "--pin"), {}, "name it with --version DEPLOYMENT:BUILD"),
    (("mine:agents",), {"INTURN_GRACE": "soon"}, "INTURN_GRACE is 'soon'"),
    (
        ("mine:agents",),
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        "http/protobuf only",
    ),
]


@pytest.mark.parametrize(("arguments", "env", "expected"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_set_up_ends_with_one_line_that_says_what_to_do(
    rig: Rig, cwd: Path, arguments: tuple[str, ...], env: dict[str, str], expected: str
) -> None:
    ended = _run(cwd, *arguments, TEMPORAL_ADDRESS=rig.address, **env)
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("worker: ")]
    assert expected.format(address=rig.address) in line
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout


def test_several_processes_say_what_is_wrong_once(rig: Rig, cwd: Path) -> None:
    ended = _run(cwd, "mine:agents", "--namespace", "nowhere", "--processes", "3", TEMPORAL_ADDRESS=rig.address)
    assert ended.returncode == 2
    assert ended.stderr.count("no namespace 'nowhere'") == 1


def test_a_port_in_use_is_named(rig: Rig, cwd: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = _run(cwd, "mine:agents", "--health-port", port, TEMPORAL_ADDRESS=rig.address)
    assert ended.returncode == 2
    assert f"cannot listen on port {port}" in ended.stderr


def test_help_names_every_flag(cwd: Path) -> None:
    ended = _run(cwd, "--help", NO_COLOR="1", COLUMNS="200")
    assert ended.returncode == 0
    for flag in (
        "address",
        "namespace",
        "task-queue",
        "journal",
        "lifespan",
        "processes",
        "health-port",
        "log-format",
        "version",
        "pin",
    ):
        assert f"--{flag}" in ended.stdout


async def test_a_namespace_without_the_search_attributes_gets_them(rig: Rig) -> None:
    client = await connect(Settings(address=rig.address))
    name = f"space-{rig.tenant}"
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(24 * 3600)
    await client.workflow_service.register_namespace(request)

    async def known() -> bool:
        try:
            await connect(Settings(address=rig.address, namespace=name))
        except Exception:
            return False
        return True

    await until(known, within=30)
    made = await connect(Settings(address=rig.address, namespace=name))

    async def found() -> bool:
        query = "InturnAgent = 'a' AND InturnTenant = 't' AND InturnState = 's' AND InturnParked > 0"
        with suppress(RPCError):  # of a cluster, each service learns of them in its own time
            await made.count_workflows(query)
            return True
        return False

    await until(found)


async def test_the_lifespan_serves_every_tool_and_the_logs_carry_the_ids(rig: Rig, cwd: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = WorkerProcess(
        rig.address,
        rig.task_queue,
        rig.journal,
        "mine:agents",
        options=("--lifespan", "mine:lifespan", "--log-format", "json"),
        cwd=cwd,
        log=log,
    )
    with worker:
        pid = worker.pid
        async with rig.client() as client:
            turn = await client.session("s1").ask("[[tool look {}]]", event_id="e1")
        assert "pool of ten" in turn.text
        assert worker.stop() == 0
    assert (cwd / "lifespan").read_text().splitlines() == [f"begin {pid}", f"end {pid}"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (logged,) = [line for line in lines if line["logger"] == "mine"]
    ids = {name: logged[name] for name in ("tenant", "session", "turn", "step")}
    assert ids == {"tenant": rig.tenant, "session": "s1", "turn": "e1", "step": "0/0"}
    assert logged["call"]
    assert any("no ANTHROPIC_API_KEY" in line["message"] for line in lines)


@pytest.mark.promise("SUR-2")
async def test_sigterm_lets_a_running_step_finish_and_the_turn_goes_on_elsewhere(rig: Rig) -> None:
    first = rig.process().start()
    async with rig.client() as client:
        await client.session("s1", agent="support").send('[[tool mail {"to": "a", "delay": 1.5}]]', event_id="e1")
        await until(lambda: _true(rig.attempts("mail")))
        assert await asyncio.to_thread(first.stop) == 0
        rig.process().start()
        turn = await client.session("s1").wait("e1", timeout=20)
    assert "sent to a" in turn.text
    assert len(rig.attempts("mail")) == 1


@pytest.mark.promise("SUR-2")
async def test_a_step_that_outlasts_the_grace_hands_back_and_resumes_from_its_checkpoint(rig: Rig) -> None:
    first = rig.process(INTURN_GRACE="0.5").start()
    async with rig.client() as client:
        session = client.session("s1", agent="support")
        await session.send('[[tool resumable {"steps": 24, "delay": 0.25}]]', event_id="e1")
        await until(lambda: _true(len(rig.attempts("resumable")) >= 3))
        stopped = time.monotonic()
        assert await asyncio.to_thread(first.stop) == 0
        assert time.monotonic() - stopped < 5
        rig.process().start()
        turn = await session.wait("e1", timeout=30)
    rows = rig.attempts("resumable")
    assert len({row[1] for row in rows}) == 2, "two workers did it"
    assert len(rows) <= 25, "at most the step in flight was done twice"
    assert " of 24" in turn.text


async def test_sigterm_while_it_starts_ends_it_in_good_order(rig: Rig, cwd: Path) -> None:
    (cwd / "slow.py").write_text(
        "import asyncio\nfrom contextlib import asynccontextmanager\n"
        "@asynccontextmanager\nasync def lifespan():\n"
        "    try:\n        open('began', 'w').close()\n        await asyncio.Event().wait()\n"
        "    finally:\n        open('undone', 'w').close()\n    yield\n"
    )
    options = ("--lifespan", "slow:lifespan")
    worker = WorkerProcess(rig.address, rig.task_queue, rig.journal, "mine:agents", options=options, cwd=cwd)
    worker.start(wait=False)
    await until(lambda: _true((cwd / "began").exists()))
    assert await asyncio.to_thread(worker.stop, 10) == 0
    assert (cwd / "undone").exists()


async def test_a_second_signal_ends_at_once(rig: Rig) -> None:
    worker = rig.process().start()
    async with rig.client() as client:
        await client.session("s1", agent="support").send('[[tool mail {"to": "a", "delay": 60}]]', event_id="e1")
        await until(lambda: _true(rig.attempts("mail")))
    worker.send(signal.SIGTERM)
    log = rig.directory / "worker-0.log"
    await until(lambda: _true("draining" in log.read_text()))
    await asyncio.sleep(0.6)  # nearer ones count as one: what sends to a process and to its group sends two
    worker.send(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 5) == 128 + signal.SIGTERM


async def test_processes_are_restarted_and_probed_on_one_port_and_end_together(rig: Rig) -> None:
    port = fixed_port()
    worker = rig.process("--processes", "2", "--health-port", str(port)).start()
    supervisor = worker.pid
    worker.until_ready()  # the second one

    def children() -> list[int]:
        listed = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return [int(pid) for pid in listed]

    first = children()
    assert len(first) == 2
    assert await asyncio.to_thread(_get, port, "/readyz") == (200, {"worker": "ok", "server": "ok", "journal": "ok"})
    os.kill(first[0], signal.SIGKILL)
    worker.until_ready()  # its successor
    second = children()
    assert len(second) == 2
    assert first[1] in second
    async with rig.client() as client:
        assert "hello" in (await client.session("s1", agent="support").ask("hello")).text
    assert await asyncio.to_thread(worker.stop) == 0
    assert not any(_alive(pid) for pid in {*first, *second})


async def test_probes_tell_a_draining_worker_from_a_ready_one(rig: Rig) -> None:
    port = fixed_port()
    worker = rig.process("--health-port", str(port)).start()
    assert _get(port, "/livez") == (200, {"status": "ok"})
    async with rig.client() as client:
        await client.session("s1", agent="support").send('[[tool mail {"to": "a", "delay": 3}]]', event_id="e1")
        await until(lambda: _true(rig.attempts("mail")))
    worker.send(signal.SIGTERM)

    async def draining() -> bool:
        return (await asyncio.to_thread(_get, port, "/readyz"))[0] == 503

    await until(draining, within=2)
    assert _get(port, "/livez") == (200, {"status": "ok"})
    assert await asyncio.to_thread(worker.wait) == 0


async def test_the_worker_is_named_in_the_history(rig: Rig) -> None:
    worker = rig.process().start()
    async with rig.client() as client:
        await client.session("s1", agent="support").ask("hi", event_id="e1")
        described = await rig.temporal.get_workflow_handle(str(rig.key("s1"))).fetch_history()
    names = {e.activity_task_started_event_attributes.identity for e in described.events} - {""}
    assert names == {f"inturn@{socket.gethostname()}:{worker.pid}"}


async def _true(value: object) -> bool:
    return bool(value)
