"""Workers that do not have the same: apps that share a task queue, rolling deploys, agents with queues of their own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from inturn import Agent, Client, tool
from inturn.journal import Serving
from inturn_activities.bounds import Bounds
from inturn_workflows import policies
from tests.support.rig import Rig
from tests.support.waiting import until

EVENTS = 40


def agent(name: str, *tools: Any, **options: Any) -> Agent:
    return Agent(name, model="m", instructions=f"You are {name}.", tools=tools, **options)


@tool
async def look(n: int) -> str:
    """Look."""
    return f"looked {n}"


@tool
async def find(n: int) -> str:
    """Find, which only the new version can."""
    return f"found {n}"


async def _parked(client: Client, sessions: list[str]) -> int:
    return sum([len(await client.session(s).parked()) for s in sessions])


@pytest.mark.promise("SUR-16")
async def test_two_apps_on_one_task_queue_cost_no_event_its_turn(rig: Rig) -> None:
    async with rig.worker([agent("sales")]), rig.worker([agent("support")], beside=True), rig.client() as client:
        names = [("sales", "support")[n % 2] for n in range(8)]
        sessions = [client.session(f"s{n}", agent=name) for n, name in enumerate(names)]
        asked = [session.ask(f"event {n}") for n in range(EVENTS // 8) for session in sessions]
        async with asyncio.timeout(100):
            turns = await asyncio.gather(*asked)
        assert {turn.disposition for turn in turns} == {"applied"}
        assert await _parked(client, [f"s{n}" for n in range(8)]) == 0


@pytest.mark.promise("SUR-16")
async def test_a_rolling_deploy_with_a_new_tool_ends_no_call_with_no_such_tool(rig: Rig) -> None:
    async with rig.worker([agent("support", look)]):
        await asyncio.sleep(0)
        async with rig.worker([agent("support", look, find)], beside=True), rig.client() as client:
            sessions = [client.session(f"s{n}", agent="support") for n in range(6)]
            async with asyncio.timeout(60):
                turns = await asyncio.gather(
                    *(s.ask('[[tool find {"n": 1}]] [[tool look {"n": 2}]]') for s in sessions)
                )
            for turn in turns:
                assert [(call.tool, call.status) for call in turn.tool_calls] == [("find", "ok"), ("look", "ok")]


@pytest.mark.promise("SUR-16")
async def test_a_removed_tool_is_an_error_at_once(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        async with rig.worker([agent("support", look, find)]):
            await session.ask("hi")
        async with rig.worker([agent("support", look)]):
            async with asyncio.timeout(20):
                turn = await session.ask('[[tool find {"n": 1}]]')
            assert [call.status for call in turn.tool_calls] == ["error"]


@pytest.mark.promise("SUR-16", "SUR-12")
async def test_a_session_says_which_worker_it_waits_for_and_goes_on_once_it_is_there(rig: Rig) -> None:
    async with rig.worker([agent("support")], bounds=Bounds()), rig.client() as client:
        session = client.session("s", agent="sales")
        await session.send("hi", event_id="e1")

        async def waits() -> bool:
            turn = (await session.status()).turn
            return turn is not None and "waits for a worker that has agent 'sales'" in (turn.waiting_for or "")

        await until(waits)
        async with rig.worker([agent("sales")], beside=True):
            turn = await session.wait("e1", timeout=30)
            assert turn.disposition == "applied"


@pytest.mark.promise("SUR-16")
async def test_an_agent_with_a_task_queue_of_its_own_is_called_there_and_wherever_it_moves(rig: Rig) -> None:
    ran: list[str] = []

    @tool
    async def where() -> str:
        """Tell where it runs."""
        from temporalio import activity

        ran.append(activity.info().task_queue)
        return ran[-1]

    async def deliver(out: object, ctx: object) -> None:
        from temporalio import activity

        ran.append(activity.info().task_queue)

    own = f"{rig.task_queue}-sales"
    sales = agent("sales", where, task_queue=own, deliver=deliver)
    other = f"{rig.task_queue}-other"
    async with rig.client() as client, rig.worker([agent("support")]):
        session = client.session("s", agent="sales")
        async with rig.worker([sales], queue=other):
            async with asyncio.timeout(30):
                for _ in range(2):
                    turn = await session.ask("[[tool where {}]]")
                    assert [call.status for call in turn.tool_calls] == ["ok"]

            async def delivered() -> bool:
                return len(ran) == 4

            await until(delivered)
            assert ran == [own] * 4


@pytest.mark.promise("SUR-16")
async def test_a_task_queue_that_is_given_up_holds_no_session_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "UNSERVED", timedelta(seconds=1))
    own = agent("sales", look, task_queue=f"{rig.task_queue}-sales")
    async with rig.client() as client, rig.worker([agent("support")]):
        session = client.session("s", agent="sales")
        async with rig.worker([own], queue=f"{rig.task_queue}-other"):
            await session.ask('[[tool look {"n": 1}]]', timeout=30)
        async with rig.worker([agent("sales", look)], beside=True):  # it has no queue of its own any more
            turn = await session.ask('[[tool look {"n": 2}]]', timeout=30)
            assert [call.status for call in turn.tool_calls] == ["ok"]


@pytest.mark.promise("SUR-16", "ORD-12")
async def test_a_policy_that_nobody_tells_from_where_it_was_is_asked_for_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "UNSERVED", timedelta(seconds=1))
    gone = Serving("gone", "sales", f"{rig.task_queue}-gone")
    async with rig.client() as client, rig.worker([agent("support")]) as journal:
        await journal.register([gone])  # and it ends before it takes the step
        session = client.session("s", agent="sales")
        await session.submit("second", event_id="e2", source="slack", sequence=2)

        async def sent_there() -> bool:
            history = await rig.temporal.get_workflow_handle(str(rig.key("s"))).fetch_history()
            queues = [e.activity_task_scheduled_event_attributes.task_queue.name for e in history.events]
            return gone.queue in queues

        await until(sent_there)
        await journal.retire("gone")
        async with rig.worker([agent("sales")], beside=True):
            await session.submit("first", event_id="e1", source="slack", sequence=1)
            assert (await session.wait("e2", timeout=30)).disposition == "applied"
            started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
            assert started == ["e1", "e2"]
