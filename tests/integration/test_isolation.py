"""Nothing of one session or tenant shows up in another, also when they share workers, threads and tools."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Iterator

import pytest

import inturn
from inturn import Agent, tool
from tests.support.rig import Rig


@tool
async def whoami(canary: str) -> str:
    """Tell what the context says, from the tool, a task and a thread of it."""

    async def below() -> str:
        await asyncio.sleep(0.02)
        return inturn.current().session_id

    task = asyncio.create_task(below())
    context = inturn.current()
    thread = await asyncio.to_thread(lambda: inturn.current().session_id)
    return f"{canary}:{context.tenant}:{context.session_id}:{await task}:{thread}:{context.event.event_id}"


@tool
def whoami_sync(canary: str) -> str:
    """Tell what the context says, from a thread."""
    return f"{canary}:{inturn.current().session_id}"


released = threading.Event()


@tool(timeout=0.3)
def hang() -> str:
    """Never end by itself."""
    released.wait()
    return "released"


@tool
def endless() -> Iterator[int]:
    """Never stop giving."""
    return itertools.count()


@tool
async def leave() -> str:
    """Try to end the process."""
    raise SystemExit(3)


@tool
def stop() -> str:
    """Raise what no future can hold."""
    raise StopIteration


@pytest.mark.promise("ISO-1", "ISO-2")
async def test_canaries_stay_in_their_sessions_and_tenants(rig: Rig) -> None:
    agent = Agent("who", model="claude-sonnet-5-5", instructions="Be brief.", tools=[whoami, whoami_sync])
    async with rig.claude() as claude, rig.worker([agent], model=claude.model):
        async with rig.client() as first, rig.client(tenant=f"{rig.tenant}-2") as second:
            clients = {first: rig.tenant, second: f"{rig.tenant}-2"}

            async def talk(client: inturn.Client, tenant: str, n: int) -> None:
                canary = f"canary-{tenant}-{n}-end"
                text = f'[[tool whoami {{"canary": "{canary}"}}]] [[tool whoami_sync {{"canary": "{canary}"}}]]'
                for turn_number in range(3):
                    turn = await client.session(f"s{n}").ask(text, event_id=f"e{turn_number}")
                    found = [call.result for call in turn.tool_calls]
                    assert found == [f"{canary}:{tenant}:s{n}:s{n}:s{n}:e{turn_number}", f"{canary}:s{n}"]
                whole = str([e async for e in client.session(f"s{n}").entries()])
                assert whole.count("canary-") == whole.count(canary)

            await asyncio.gather(*(talk(c, tenant, n) for c, tenant in clients.items() for n in range(10)))
        said = [set(re.findall(r"canary-.*?-end", str(exchange.body))) for exchange in claude.requests]
        assert {len(canaries) for canaries in said} == {1}, "a request says what one session said"
        sessions = {(exchange.session, *canaries) for exchange, canaries in zip(claude.requests, said, strict=True)}
        assert len(sessions) == len({session for session, _ in sessions}) == 20, "and is known by a name of its own"


@pytest.mark.promise("EFF-6")
async def test_tools_that_block_threads_do_not_stop_other_sessions(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        blocked = " ".join('[[tool block {"seconds": 3}]]' for _ in range(12))
        busy = [asyncio.create_task(client.session(f"b{n}", agent="support").ask(blocked)) for n in range(4)]
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            turn = await client.session("free", agent="support").ask('[[tool add {"a": 1, "b": 1}]]')
        assert turn.tool_calls[0].status == "ok"
        for turn in await asyncio.gather(*busy):
            assert [call.status for call in turn.tool_calls] == ["ok"] * 12


@pytest.mark.promise("SUR-17")
async def test_tools_that_hang_never_end_or_try_to_end_the_worker_stop_no_other_session(rig: Rig) -> None:
    rude = Agent("rude", model="claude-sonnet-5-5", instructions="Be brief.", tools=[hang, endless, leave, stop])
    kind = Agent("kind", model="claude-sonnet-5-5", instructions="Be brief.", tools=[whoami_sync])
    async with rig.worker([rude, kind]), rig.client() as client:
        asked = "[[tool hang {}]] [[tool endless {}]] [[tool leave {}]] [[tool stop {}]]"
        busy = [asyncio.create_task(client.session(f"r{n}", agent="rude").ask(asked)) for n in range(4)]
        async with asyncio.timeout(10):
            for _ in range(3):
                turn = await client.session("k", agent="kind").ask('[[tool whoami_sync {"canary": "c"}]]')
                assert turn.tool_calls[0].status == "ok"
            turns = await asyncio.gather(*busy)
        for turn in turns:
            assert [call.status for call in turn.tool_calls] == ["timeout", "error", "error", "error"]
    released.set()
