"""Shared state of real workers: exact while they work at once and while they are killed, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from inturn import Agent, Client, ToolContext, Versioned, tool
from inturn.journal.state.changes import Scope
from tests.support.processes.server import ROOT, WorkerProcess
from tests.support.processes.state_writer import AT_ONCE, TENANT
from tests.support.rig import Rig
from tests.support.stores import journal_url
from tests.support.waiting import until

SESSIONS = 10
CALLS = 10
PROCESSES = 8
SECONDS = 3.0


class Workers:
    """Worker processes, of which one dies at each armed point."""

    def __init__(self, rig: Rig, count: int) -> None:
        self._armed = rig.directory / "armed"
        env = {"INTURN_TEST_CRASH": str(self._armed)}
        self._alive = [rig.process(agents="tests.support.agents.sharing:agents", **env) for _ in range(count)]

    async def start(self) -> None:
        for worker in self._alive:
            worker.start(wait=False)
        for worker in self._alive:
            await asyncio.to_thread(worker.until_ready)

    def arm(self, point: str) -> None:
        """Arm a point: the first worker that comes by dies there."""
        self._armed.write_text(point)

    async def death(self) -> None:
        async def dead() -> list[WorkerProcess]:
            return [worker for worker in self._alive if worker.dead]

        [died] = await until(dead)
        self._alive.remove(died)


async def results(client: Client, *session_ids: str) -> list[str]:
    turns = await asyncio.gather(*(client.session(s).wait("e1", timeout=90) for s in session_ids))
    calls = [call for turn in turns for call in turn.tool_calls]
    assert {call.status for call in calls} == {"ok"}, calls
    return [str(call.result) for call in calls]


@pytest.mark.promise("SHR-6", "SHR-10")
async def test_a_hundred_tools_count_to_a_hundred_and_pack_each_order_once_while_workers_are_killed(rig: Rig) -> None:
    workers = Workers(rig, 3)
    counters, packers = [f"count{n}" for n in range(SESSIONS)], [f"pack{n}" for n in range(4)]
    orders = [f"order-{n}" for n in range(20)]
    async with rig.client() as client:
        for order in [*orders, *orders]:
            await client.shared.push("orders", order, key=order)
        await workers.start()

        async def send(session_ids: list[str], text: str) -> None:
            handles = (client.session(session_id, agent="support") for session_id in session_ids)
            await asyncio.gather(*(session.send(text, event_id="e1") for session in handles))

        workers.arm("counted")
        await send(counters, "[[tool count {}]]" * CALLS)
        await workers.death()
        workers.arm("claimed")
        await send(packers, "[[tool pack {}]]" * 5)
        await workers.death()

        counted = [tuple(map(int, text.split())) for text in await results(client, *counters)]
        assert sorted(of_all for of_all, _ in counted) == list(range(1, SESSIONS * CALLS + 1))
        assert sorted(of_one for _, of_one in counted) == sorted([*range(1, CALLS + 1)] * SESSIONS)
        assert await client.shared.get("n") == Versioned(value=100, version=100)

        assert sorted(await results(client, *packers)) == sorted(f"packed {order}" for order in orders)
        packed = await client.shared.get("packed")
        assert packed is not None
        assert sorted(packed.value) == sorted(orders)
        assert await client.shared.claim("orders") is None
    async with rig.opened_journal() as journal:
        for session_id in counters:
            assert await journal.value(Scope(rig.tenant, session_id), "n") == (CALLS, CALLS)


@tool
async def remember(canary: str, ctx: ToolContext) -> list[object]:
    """Keep a word in both places, and tell what was there."""
    before = [await state.get("canary") for state in (ctx.state, ctx.shared)]
    for state in (ctx.state, ctx.shared):
        await state.put("canary", canary)
        await state.push("canaries", canary)
    return [found.value if found else None for found in before]


@pytest.mark.promise("SHR-10")
async def test_tenants_and_sessions_see_their_own_state_only(rig: Rig) -> None:
    agent = Agent("one", model="claude-sonnet-5-5", instructions="i", tools=[remember])
    async with rig.worker([agent]), rig.client() as first, rig.client(tenant=f"{rig.tenant}-2") as second:
        for client in (first, second):
            shared: str | None = None
            for session_id in ("a", "b"):
                own: str | None = None
                for n in range(2):
                    canary = f"{client.tenant}/{session_id}/{n}"
                    text = f'[[tool remember {{"canary": "{canary}"}}]]'
                    turn = await client.session(session_id).ask(text, event_id=f"e{n}", timeout=30)
                    assert json.loads(turn.tool_calls[0].result or "") == [own, shared]
                    own = shared = canary
        for client in (first, second):
            items = [claim.item for _ in range(4) if (claim := await client.shared.claim("canaries"))]
            assert items == [f"{client.tenant}/{s}/{n}" for s in ("a", "b") for n in range(2)]
            assert await client.shared.claim("canaries") is None


@pytest.mark.usefixtures("store")
@pytest.mark.promise("SHR-6", "SHR-9")
async def test_eight_processes_change_one_state_and_one_is_killed(tmp_path: Path) -> None:
    url = journal_url(tmp_path)
    files = [tmp_path / f"acknowledged-{n}" for n in range(PROCESSES)]

    async def begun() -> bool:
        return _count(files[0]) > 20

    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_writer(url, f"p{n}", files[n])) for n in range(PROCESSES)]
        await until(begun, within=60)
        processes[0].kill()
        errors = [(await process.communicate())[1].decode() for process in processes]
    assert "".join(errors)[-2000:] == ""
    assert [process.returncode for process in processes] == [-signal.SIGKILL] + [0] * (PROCESSES - 1)

    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    sums = [int(key) for what, key, _ in lines if what == "incr"]
    pushed = {key for what, key, _ in lines if what == "push"}
    completed = [key for what, key, _ in lines if what == "complete"]
    left: set[str] = set()
    client = Client(tenant=TENANT, journal=url)

    async def drained() -> bool:
        while claim := await client.shared.claim("q"):
            left.add(claim.item)
            await client.shared.complete(claim)
        return len(pushed - set(completed) - left) <= AT_ONCE

    # The killed one may have done more than it lived to tell: one change in each of its loops.
    counted = await client.shared.get("n")
    assert counted is not None
    assert len(sums) == len(set(sums))
    assert len(sums) <= counted.value <= len(sums) + AT_ONCE
    rounds = await client.shared.get("rounds")
    assert rounds is not None
    updated = sum(what == "update" for what, *_ in lines)
    assert updated <= rounds.value <= updated + 1
    await until(drained)
    assert len(completed) == len(set(completed)), "an item was completed twice"
    assert not left & set(completed), "a completed item came back"
    slowest = max(float(seconds) for *_, seconds in lines)
    print(f"{len(sums)} rounds of {PROCESSES} processes in {SECONDS} s, the slowest {slowest:.2f} s")
    assert slowest < 20
    await client.aclose()


@asynccontextmanager
async def _writer(url: str, name: str, acknowledged: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "tests.support.processes.state_writer", url, name, str(SECONDS), str(acknowledged))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _count(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
