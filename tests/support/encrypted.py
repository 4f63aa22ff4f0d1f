"""Workers and clients with keys, for tests with a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import temporalio.client

from inturn import Client
from inturn.testing import ScriptedModel
from inturn_worker import app
from inturn_worker.settings import Settings
from tests.support.agents import agents as test_agents
from tests.support.keys import connected
from tests.support.rig import Rig


@asynccontextmanager
async def worker(rig: Rig, *names: str) -> AsyncIterator[temporalio.client.Client]:
    """A worker with these keys; yields its connection."""
    temporal = await connected(rig.address, *names)
    settings = Settings(address=rig.address, task_queue=rig.task_queue, grace=1)
    async with rig.opened_journal() as journal:
        agents = test_agents.agents
        async with app.build_worker(temporal, agents, journal=journal, model=ScriptedModel(), settings=settings):
            yield temporal


def client(rig: Rig, temporal: temporalio.client.Client) -> Client:
    """A client by this connection, which is closed after the test."""
    made = Client(tenant=rig.tenant, task_queue=rig.task_queue, journal=rig.journal, temporal=temporal)
    rig.closing.push_async_callback(made.aclose)
    return made
