"""Builds of a deployment: sessions go on with the next one, and old workers may stop."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from inturn import Agent, tool
from inturn.cli.doctor.server import examine_server
from inturn.client.drain import Drain, Drained
from inturn.client.temporal.connection import Connection
from inturn.errors import InvalidEvent, Unavailable
from tests.support.builds import build_of, make_current, moves_pinned
from tests.support.histories import runs
from tests.support.rig import Rig
from tests.support.waiting import until


@tool
async def old(n: int) -> str:
    """Be there from the first build on."""
    return f"old {n}"


@tool
async def new(n: int) -> str:
    """Be there from the second build on."""
    return f"new {n}"


def agents(*tools: Any) -> list[Agent]:
    return [Agent("support", model="m", instructions=f"{len(tools)} tools", tools=tools)]


async def _doctor(rig: Rig) -> dict[str, str]:
    connection = Connection(rig.address)
    try:
        return {finding.name: finding.state for finding in await examine_server(connection, rig.task_queue)}
    finally:
        await connection.close()


async def _drained(rig: Rig, version: str) -> list[Drained]:
    connection = Connection(rig.address)
    try:
        async with asyncio.timeout(60):
            return [drained async for drained in Drain(connection, version).run()]
    finally:
        await connection.close()


@pytest.mark.promise("SUR-2", "SUR-7")
async def test_an_idle_sessions_next_event_goes_to_the_current_build_and_no_old_worker_need_stay(rig: Rig) -> None:
    first, second = f"{rig.tenant}:1", f"{rig.tenant}:2"
    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker(agents(old), version=first):

            async def nobody() -> bool:
                return (await _doctor(rig)).get("version") == "fail"

            await until(nobody)  # has made a build the current one
            await make_current(rig.temporal, first)
            await session.ask('[[tool old {"n": 1}]]')
            assert (await _doctor(rig))["version"] == "ok"
            async with rig.worker(agents(old, new), version=second, beside=True):
                turn = await session.ask('[[tool old {"n": 2}]]')
                assert await build_of(rig.temporal, str(rig.key("s"))) == "1"  # it has not been told to go on yet
                await make_current(rig.temporal, second)
                turn = await session.ask('[[tool new {"n": 3}]]')
                assert [call.status for call in turn.tool_calls] == ["ok"]
                assert await build_of(rig.temporal, str(rig.key("s"))) == "2"
                assert [drained.left for drained in await _drained(rig, first)] == [0, 0, 0]
        async with rig.worker(agents(old, new), version=second):
            turn = await session.ask('[[tool new {"n": 4}]]', timeout=20)
            assert [call.status for call in turn.tool_calls] == ["ok"]
            assert len(await runs(rig.temporal, str(rig.key("s")))) == 1
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences


@pytest.mark.promise("SUR-16")
async def test_apps_of_one_build_share_its_task_queue(rig: Rig) -> None:
    first = f"{rig.tenant}:1"
    sales = Agent("sales", model="m", instructions="", tools=[new])
    async with rig.client() as client, rig.worker(agents(old), version=first):
        async with rig.worker([sales], version=first, beside=True):
            await make_current(rig.temporal, first)
            async with asyncio.timeout(60):
                for name, call in (("sales", "new"), ("support", "old")) * 2:
                    turn = await client.session(f"of-{name}", agent=name).ask(f'[[tool {call} {{"n": 1}}]]')
                    assert [call.status for call in turn.tool_calls] == ["ok"]


@pytest.mark.promise("SUR-2", "SUR-7", "SUR-6")
async def test_sessions_pinned_to_a_build_are_moved_by_a_drain_where_the_server_can(rig: Rig) -> None:
    first, second = f"{rig.tenant}:1", f"{rig.tenant}:2"
    movable = await moves_pinned(rig.temporal)
    async with rig.client() as client:
        sessions = [client.session(f"s{n}", agent="support") for n in range(4)]
        async with rig.worker(agents(old), version=first, pin=True):
            await make_current(rig.temporal, first)
            with pytest.raises(InvalidEvent, match="is the current version"):
                await _drained(rig, first)
            await asyncio.gather(*(session.ask('[[tool old {"n": 1}]]') for session in sessions))
            async with rig.worker(agents(old, new), version=second, pin=True, beside=True):
                await make_current(rig.temporal, second)
                await sessions[0].ask('[[tool old {"n": 2}]]')
                assert await build_of(rig.temporal, str(rig.key("s0"))) == "1"
                if not movable:
                    with pytest.raises(Unavailable, match=r"1\.31 and later can move them"):
                        await _drained(rig, first)
                    return
                *_, last = await _drained(rig, first)
                assert (last.done, last.left) == (True, 0)
        async with rig.worker(agents(old, new), version=second, pin=True):
            for n, session in enumerate(sessions):
                turn = await session.ask('[[tool new {"n": 3}]]', timeout=20)
                assert [call.status for call in turn.tool_calls] == ["ok"]
                assert await build_of(rig.temporal, str(rig.key(f"s{n}"))) == "2"
                audit = await session.audit(deep=True)
                assert audit.ok, audit.differences


@pytest.mark.promise("SUR-2")
async def test_a_drain_is_a_command_that_says_when_workers_may_stop(rig: Rig, tmp_path: Path) -> None:
    first, second = f"{rig.tenant}:1", f"{rig.tenant}:2"
    async with rig.worker(agents(old), version=first), rig.worker(agents(old, new), version=second, beside=True):
        await make_current(rig.temporal, first)
        await make_current(rig.temporal, second)
        code, said, _ = await _inturn(rig, tmp_path, "deploy", "drain", first, "--json")
        assert code == 0
        assert [json.loads(line) for line in said.splitlines()][-1] == {
            "version": first,
            "left": 0,
            "told": 0,
            "sessions": [],
            "done": True,
        }
        for wrong, why in (
            ("7", "write DEPLOYMENT:BUILD"),
            (f"{rig.tenant}:7", "has no build '7'"),
            ("no:1", "no deploy"),
        ):
            code, _, error = await _inturn(rig, tmp_path, "deploy", "drain", wrong)
            assert code == 2
            assert why in error


async def _inturn(rig: Rig, cwd: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "inturn",
        *arguments,
        cwd=cwd,
        env={**os.environ, "TEMPORAL_ADDRESS": rig.address, "COLUMNS": "400"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.promise("SUR-6", "ACC-2")
async def test_a_session_that_is_told_to_continues_as_new_wherever_it_stands(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        idle, asks, paused = (client.session(name, agent="support") for name in ("idle", "asks", "paused"))
        await idle.ask("hi")
        await asks.send('[[tool refund {"cents": 9000}]]', event_id="refund")
        await paused.ask("hi")
        await paused.pause()
        await paused.send("later", event_id="later")

        async def asked() -> Any:
            return (await asks.status()).approvals

        [approval] = await until(asked)
        for session in (idle, asks, paused):
            key = str(rig.key(session.session_id))
            handle = rig.temporal.get_workflow_handle(key)
            for _ in range(2):  # the second one is known already
                await handle.signal("control", {"control_id": "continue:1", "op": "continue"})

            async def continued(key: str = key) -> bool:
                return len(await runs(rig.temporal, key)) == 2

            await until(continued)
        await asks.approve(approval.approval_id)
        assert [call.status for call in (await asks.wait("refund")).tool_calls] == ["ok"]
        await paused.resume()
        await paused.wait("later")
        for session in (idle, asks, paused):
            assert len(await runs(rig.temporal, str(rig.key(session.session_id)))) == 2
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences
