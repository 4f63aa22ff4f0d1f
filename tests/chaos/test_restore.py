"""Both stores are lost and brought back from base backups, Temporal's older than the journal's (docs/cluster.md)."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from inturn import Client
from tests.support.processes.cluster import DATABASE_SETTINGS, Cluster
from tests.support.processes.postgres import PostgresServer, programs
from tests.support.processes.server import WorkerProcess
from tests.support.stores import CLUSTER

QUEUE = "restored"


@pytest.mark.alone
@pytest.mark.timeout(240)
@pytest.mark.skipif(not CLUSTER, reason="has a cluster of its own to lose: make test-cluster")
@pytest.mark.promise("SUR-5", "SUR-14")
async def test_turns_newer_than_temporals_backup_are_not_done_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        below, journals = (stack.enter_context(PostgresServer(settings=DATABASE_SETTINGS)) for _ in range(2))
        cluster = await asyncio.to_thread(stack.enter_context, Cluster(tmp_path, below))
        url = journals.url(journals.create())
        worker = stack.enter_context(WorkerProcess(cluster.address, QUEUE, url, "tests.support.agents.agents:agents"))
        async with Client(cluster.address, tenant="acme", task_queue=QUEUE, journal=url) as client:
            session = client.session("s", agent="support")
            await session.ask("one", event_id="e1")
            _back_up(below)
            await session.ask("two", event_id="e2")
            _back_up(journals)
            await session.ask("three", event_id="e3")
        worker.kill()
        cluster.kill()
        for database in (below, journals):
            _restore(database)
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(worker.start)
        async with Client(cluster.address, tenant="acme", task_queue=QUEUE, journal=url) as client:
            session = client.session("s", agent="support")
            # Whoever was told that they are in sends again what is not.
            for number, text in enumerate(("one", "two", "three", "four"), 1):
                await session.send(text, event_id=f"e{number}")
                assert (await session.wait(f"e{number}", timeout=60)).disposition == "applied"
            started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
            assert started == ["e1", "e2", "e3", "e4"]
            assert (await session.audit()).ok


def _back_up(database: PostgresServer) -> None:
    where = ["-h", "127.0.0.1", "-p", str(database.port), "-U", "inturn", "-D", str(database.directory / "backup")]
    directory = programs()
    assert directory is not None
    owner = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid} if os.geteuid() == 0 else {}
    command = [str(directory / "pg_basebackup"), *where, "--wal-method=stream", "--checkpoint=fast"]
    subprocess.run(command, check=True, cwd="/", **owner)  # type: ignore[call-overload]


def _restore(database: PostgresServer) -> None:
    database.stop()
    shutil.rmtree(database.directory / "data")
    (database.directory / "backup").rename(database.directory / "data")
    database.start()
