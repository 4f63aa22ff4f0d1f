"""A machine that is lost: frozen, or cut off from everything. Nothing is closed, so nobody is told."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from inturn import Client, Session
from tests.support.claude import ClaudeRig
from tests.support.measuring import usual
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]

WITHIN = 12.0
"""Seconds until others have taken over, with the step's own."""


class Machine:
    """A worker whose machine is going to be lost."""

    def __init__(self, worker: WorkerProcess, server: Proxy, model: Proxy) -> None:
        self.worker = worker
        self.server = server
        self.model = model

    @asynccontextmanager
    async def lost(self, how: str) -> AsyncIterator[None]:
        """Lose it while the block runs."""
        if how == "cut off":
            async with self.server.hole(), self.model.hole():
                yield
            return
        self.worker.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send(signal.SIGCONT)


@asynccontextmanager
async def machine(rig: Rig, claude: ClaudeRig) -> AsyncIterator[Machine]:
    """Start a worker on a machine of its own."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Proxy(int(rig.address.rpartition(":")[2])))
        model = await stack.enter_async_context(Proxy(int(claude.url.rpartition(":")[2])))
        env = {"INTURN_TEST_EFFECTS": str(rig.effects), **environment(f"http://{model.address}")}
        agents = "tests.support.agents.agents:agents"
        there = WorkerProcess(server.address, rig.task_queue, rig.journal, agents, env=env)
        stack.callback(there.kill)
        await asyncio.to_thread(there.start)
        yield Machine(there, server, model)


def environment(claude: str) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": claude}


async def runs_on(rig: Rig, session: Session, worker: WorkerProcess) -> bool:
    """Return whether the session's running step is that worker's."""
    seen = await rig.temporal.get_workflow_handle(f"{rig.tenant}/{session.session_id}").describe()
    return any(p.last_worker_identity.endswith(f":{worker.pid}") for p in seen.raw_description.pending_activities)


async def in_mid_turn(
    rig: Rig, claude: ClaudeRig, client: Client, worker: WorkerProcess, name: str
) -> tuple[Session, str]:
    """Return a session whose model streams on that worker, and the event; others may take the step first."""
    for number in range(20):
        session, event_id = client.session(f"busy{name}-{number}", agent="support"), f"story{name}-{number}"
        await session.send(f"[[delay 2]] tell me {event_id}- of some words", event_id=event_id)
        await claude.until_streaming(f"{event_id}-")
        if await runs_on(rig, session, worker):
            return session, event_id
    raise AssertionError("the worker takes no steps")


@pytest.mark.promise("SUR-13", "SUR-1", "EFF-3")
@pytest.mark.parametrize("how", ["frozen", "cut off"])
async def test_a_lost_machine_is_taken_over_and_its_late_word_counts_for_nothing(rig: Rig, how: str) -> None:
    async with rig.claude() as claude, rig.client() as client:

        async def taken_over(number: int) -> float:
            async with machine(rig, claude) as there:
                return await _taken_over(rig, claude, client, there, how, name=f"{number}")

        assert await usual(taken_over, most=WITHIN) <= WITHIN


async def _taken_over(rig: Rig, claude: ClaudeRig, client: Client, there: Machine, how: str, *, name: str) -> float:
    """Lose a machine in mid-turn; return how long its sessions waited at most, and see that it counts for nothing."""
    idle = [client.session(f"idle{name}-{n}", agent="support") for n in range(3)]
    for session in idle:
        await session.ask("hello")
    await asyncio.to_thread(rig.process(**environment(claude.url)).start)
    busy, event_id = await in_mid_turn(rig, claude, client, there.worker, name)

    async with there.lost(how):
        began = time.monotonic()

        async def taken_over(session: Session, event_id: str) -> float:
            assert (await session.wait(event_id, timeout=100)).disposition == "applied"
            return time.monotonic() - began

        for session in idle:
            await session.send("are you there?", event_id="next")
        waiting = [taken_over(busy, event_id), *(taken_over(session, "next") for session in idle)]
        took = await asyncio.gather(*waiting)

    async def heard() -> bool:
        return all(request.ended is not None for request in claude.requests)

    await until(heard)  # the zombie knows by now
    assert (await busy.ask("and now?", timeout=60)).disposition == "applied"
    for session, event in [(busy, event_id), *((session, "next") for session in idle)]:
        entries = [e async for e in session.entries(event_id=event)]
        assert [e.type for e in entries].count("agent.message") == 1
        audit = await session.audit()
        assert audit.ok, audit.differences
    return max(took)
