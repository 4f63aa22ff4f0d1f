"""scripts/dev-server: ready means ready, and nothing of it outlives it. Real servers, each on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from inturn import names
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/dev-server"
ATTRIBUTES = {
    names.AGENT_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    names.TENANT_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    names.STATE_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    names.PARKED_ATTRIBUTE: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


class Running:
    """A dev server that said it is ready."""

    def __init__(self, process: subprocess.Popen[str], ready: str) -> None:
        self.process = process
        self.ready = ready
        self.address = ready.split()[1]

    def answers(self) -> bool:
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    async def gone(self) -> None:
        async def refused() -> bool:
            return not self.answers()

        await until(refused, within=20)


@contextmanager
def running(*arguments: str, temporary: Path | None = None) -> Iterator[Running]:
    environment = {**os.environ, "TMPDIR": str(temporary or tempfile.gettempdir())}
    command = [str(SCRIPT), "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield Running(process, process.stdout.readline())
        finally:
            process.terminate()
            process.wait(30)


async def test_when_it_says_ready_a_client_can_use_it_with_every_search_attribute() -> None:
    with running() as server:
        client = await Client.connect(server.address)
        request = ListSearchAttributesRequest(namespace="default")
        listed = await client.operator_service.list_search_attributes(request)
        assert ATTRIBUTES.items() <= dict(listed.custom_attributes).items()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_server_and_script_and_removes_the_temporary_database(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(temporary=tmp_path) as server:
        (database,) = tmp_path.rglob("temporal.db")
        assert database.with_name("temporal.db-wal").exists()
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        assert not server.answers()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its killed parent")
async def test_the_server_does_not_outlive_a_script_that_was_killed_outright() -> None:
    with running() as server:
        server.process.kill()
        server.process.wait(20)
        await server.gone()


async def test_a_named_database_keeps_workflows_over_a_restart(tmp_path: Path) -> None:
    database = str(tmp_path / "kept.db")
    with running("--db", database) as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Anything", id="kept", task_queue="nobody-listens")
    with running("--db", database) as server:
        client = await Client.connect(server.address)
        described = await client.get_workflow_handle("kept").describe()
        assert described.workflow_type == "Anything"


async def test_the_ui_is_off_by_default_and_its_address_is_printed_where_it_is_on() -> None:
    with running("--ui") as server:
        host, port = server.ready.split()[3].removeprefix("http://").split(":")

        async def open_port() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        await until(open_port, within=20)
    with running() as server:
        assert "ui" not in server.ready


async def test_a_dynamic_setting_is_passed_on_to_the_server() -> None:
    with running("--dynamic-config-value", "limit.maxIDLength=100") as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Anything", id="short", task_queue="nobody-listens")
        with pytest.raises(RPCError, match="length exceeds limit"):
            await client.start_workflow("Anything", id="x" * 150, task_queue="nobody-listens")


def test_a_taken_port_is_an_error_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([str(SCRIPT), "--port", port], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"dev-server: port {port} is in use already. Name another with --port (0: any).\n"


def test_a_server_that_cannot_start_is_reported_at_once(tmp_path: Path) -> None:
    command = [str(SCRIPT), "--port", "0", "--db", str(tmp_path / "no/such/directory/t.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no/such/directory/t.db.lock cannot be opened: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
