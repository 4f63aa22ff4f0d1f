"""The rig of integration tests: a real server, a queue and a journal of its own, real workers, the public SDK."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import temporalio.client

from inturn import Agent, Client
from inturn.journal import Journal, open_journal
from inturn.keys import SessionKey
from inturn.models import Model
from inturn.testing import ScriptedModel
from inturn_activities.bounds import Bounds
from inturn_activities.model.claude import Claude
from inturn_worker import app
from inturn_worker.server import connect
from inturn_worker.settings import Settings
from tests.support.agents import agents as test_agents
from tests.support.claude import ClaudeRig
from tests.support.processes.server import DevServer, WorkerProcess
from tests.support.stores import CLUSTER, journal_url, on_postgres

BOUNDS = Bounds(lacking_named=0.5)
"""An agent that nobody has is not waited for as long as in earnest."""


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """A real server, shared by the tests of a process; `INTURN_TEST_SERVER` names one that runs already."""
    given = os.environ.get("INTURN_TEST_SERVER")
    if given:
        yield given
        return
    with DevServer() as server:
        yield server.address


class Rig:
    """What a test starts things with."""

    def __init__(self, address: str, directory: Path) -> None:
        self.address = address
        self.directory = directory
        self.task_queue = f"test-{uuid.uuid4().hex[:8]}"
        self.tenant = f"t{uuid.uuid4().hex[:8]}"
        self.journal = journal_url(directory)
        self.effects = directory / "effects"
        self.effects.mkdir()
        self.closing = AsyncExitStack()
        """What is closed when the test is over, before its journal's database is dropped."""
        self._processes: list[WorkerProcess] = []
        self._temporal: temporalio.client.Client | None = None

    async def connect(self) -> Rig:
        """Connect to the server."""
        self._temporal = await connect(Settings(address=self.address))
        return self

    @property
    def temporal(self) -> temporalio.client.Client:
        """The SDK below inturn, to look at histories and to do what operators do."""
        assert self._temporal is not None, "connect() comes first"
        return self._temporal

    def client(self, *, journal: bool = True, tenant: str | None = None) -> Client:
        """A client of this test's tenant and task queue."""
        return Client(
            self.address,
            tenant=tenant or self.tenant,
            task_queue=self.task_queue,
            journal=self.journal if journal else None,
        )

    @asynccontextmanager
    async def worker(
        self,
        agents: Sequence[Agent] = tuple(test_agents.agents),
        *,
        model: Model | None = None,
        bounds: Bounds | None = BOUNDS,
        queue: str | None = None,
        beside: bool = False,
        **options: Any,
    ) -> AsyncIterator[Journal]:
        """A worker in this process, or one more on the same queue; yields its journal."""
        settings = Settings(address=self.address, task_queue=queue or self.task_queue, grace=1, **options)
        async with self.opened_journal() as journal:
            built = app.build_worker(
                await connect(settings) if beside else self.temporal,
                agents,
                journal=journal,
                model=model or ScriptedModel(),
                settings=settings,
                bounds=bounds,
            )
            try:
                async with built:
                    yield journal
            finally:
                if isinstance(model, Claude):
                    await model.aclose()

    @asynccontextmanager
    async def opened_journal(self) -> AsyncIterator[Journal]:
        """This test's journal."""
        journal = open_journal(self.journal)
        await journal.open()
        try:
            yield journal
        finally:
            await journal.close()

    @staticmethod
    def claude() -> ClaudeRig:
        """A strict Claude."""
        return ClaudeRig()

    def process(self, *options: str, agents: str = "tests.support.agents.agents:agents", **env: str) -> WorkerProcess:
        """A worker process, not started yet; it is killed after the test."""
        env = {"INTURN_TEST_EFFECTS": str(self.effects), **env}
        log = self.directory / f"worker-{len(self._processes)}.log"
        made = WorkerProcess(self.address, self.task_queue, self.journal, agents, env=env, options=options, log=log)
        self._processes.append(made)
        return made

    def attempts(self, name: str | None = None) -> list[list[str]]:
        """The bodies that ran, as `[time, pid, name, key]`."""
        path = self.effects / "attempts"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [line.split(" ", 3) for line in lines]
        return [row for row in rows if name is None or row[2] == name]

    def key(self, session_id: str) -> SessionKey:
        """A session of this test's tenant."""
        return SessionKey(self.tenant, session_id)

    def end(self) -> None:
        """Kill what is left."""
        for process in self._processes:
            process.__exit__(None, None, None)


@pytest.fixture
def cluster_journal(request: pytest.FixtureRequest) -> Iterator[None]:
    """The journals of a rig are on PostgreSQL where it is on a cluster."""
    with on_postgres(request.getfixturevalue("postgres_server")) if CLUSTER else nullcontext():
        yield


@pytest_asyncio.fixture
async def rig(
    server_address: str, cluster_journal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    """A rig for this test."""
    made = await Rig(server_address, tmp_path).connect()
    monkeypatch.setenv("INTURN_TEST_EFFECTS", str(made.effects))
    async with AsyncExitStack() as stack:
        stack.callback(made.end)
        await stack.enter_async_context(made.closing)
        yield made
