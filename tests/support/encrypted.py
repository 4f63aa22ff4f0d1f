"""Workers and clients with keys, for tests with a server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from unittest import mock

import temporalio.client

from inturn import Client
from inturn.encryption.keys import VARIABLE
from inturn.testing import ScriptedModel
from inturn_worker import app
from inturn_worker.settings import Settings
from tests.support.agents import agents as test_agents
from tests.support.keys import connected, keys
from tests.support.rig import Rig


@asynccontextmanager
async def worker(rig: Rig, *names: str) -> AsyncIterator[temporalio.client.Client]:
    """A worker with these keys, for its journal, too, where there are some; yields its connection."""
    temporal = await connected(rig.address, *names)
    settings = Settings(address=rig.address, task_queue=rig.task_queue, grace=1)
    async with AsyncExitStack() as stack:
        with _keys(*names):
            journal = await stack.enter_async_context(rig.opened_journal())
        agents = test_agents.agents
        async with app.build_worker(temporal, agents, journal=journal, model=ScriptedModel(), settings=settings):
            yield temporal


def client(rig: Rig, temporal: temporalio.client.Client) -> Client:
    """A client by this connection, which is closed after the test."""
    made = Client(tenant=rig.tenant, task_queue=rig.task_queue, journal=rig.journal, temporal=temporal)
    rig.closing.push_async_callback(made.aclose)
    return made


@contextmanager
def _keys(*names: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, {VARIABLE: keys(*names)} if names else {}):
        yield
