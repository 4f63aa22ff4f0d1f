"""Many calls at once: bounded, each settled by itself, and cut short where the agent says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inturn import Agent, Budget, SessionNotFound, ToolContext, ToolError, tool
from inturn.turns.call_results import MAX_PARALLEL_CALLS
from inturn_activities.bounds import Bounds
from inturn_worker.replaying import replayer
from tests.support.rig import Rig
from tests.support.waiting import until


class Gauge:
    """How many bodies run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0
        self.most = 0
        self.bodies = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.bodies += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1


def gauged(gauge: Gauge) -> Agent:
    @tool
    async def look(n: int) -> int:
        """Look."""
        with gauge.running():
            await asyncio.sleep(0.2)
        return n

    @tool
    def look_in_thread(n: int) -> int:
        """Look, in a thread."""
        with gauge.running():
            time.sleep(0.2)
        return n

    return Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", tools=[look, look_in_thread])


def use(name: str, **arguments: object) -> str:
    return f"[[tool {name} {json.dumps(arguments)}]]"


def many(name: str, count: int) -> str:
    return " ".join(use(name, n=n) for n in range(count))


@pytest.mark.promise("EFF-6", "EFF-4")
async def test_a_session_runs_at_most_eight_calls_at_once_and_all_have_their_results_in_order(rig: Rig) -> None:
    gauge = Gauge()
    async with rig.claude() as claude, rig.worker([gauged(gauge)], model=claude.model), rig.client() as client:
        turn = await client.session("s").ask(many("look", 20))
    assert [call.result for call in turn.tool_calls] == [str(n) for n in range(20)]
    assert gauge.most == MAX_PARALLEL_CALLS


@pytest.mark.promise("EFF-6")
async def test_a_worker_runs_at_most_as_many_calls_at_once_as_it_has_slots(rig: Rig) -> None:
    gauge = Gauge()
    async with rig.worker([gauged(gauge)], step_slots=5), rig.client() as client:
        turns = await asyncio.gather(*(client.session(f"s{n}").ask(many("look", 6)) for n in range(4)))
    assert [len(turn.tool_calls) for turn in turns] == [6] * 4
    assert {call.status for turn in turns for call in turn.tool_calls} == {"ok"}
    assert 2 <= gauge.most <= 5


@pytest.mark.promise("EFF-6")
async def test_tools_without_async_run_in_a_bounded_number_of_threads_over_all_sessions(rig: Rig) -> None:
    gauge = Gauge()
    async with rig.worker([gauged(gauge)]), rig.client() as client:
        turns = await asyncio.gather(*(client.session(f"s{n}").ask(many("look_in_thread", 8)) for n in range(5)))
    assert {call.status for turn in turns for call in turn.tool_calls} == {"ok"}
    assert gauge.bodies == 40
    assert MAX_PARALLEL_CALLS < gauge.most <= Bounds().threads


# What happens to the others when one fails.


class World:
    """Tools whose effects are counted; `fail` fails once the others run."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.go_on = threading.Event()

    def agent(self, name: str, budget: Budget) -> Agent:
        @tool(timeout=60)
        async def slow(ctx: ToolContext, seconds: float = 30) -> str:
            """Take long."""
            self.begun.append("slow")
            await asyncio.sleep(seconds)
            self.done.append("slow")
            return "slow is done"

        @tool(timeout=60)
        def stuck() -> str:
            """Take long in a thread that cannot be stopped."""
            self.begun.append("stuck")
            self.go_on.wait(20)
            self.done.append("stuck")
            return "too late"

        @tool
        async def quick() -> str:
            """Take no time."""
            self.begun.append("quick")
            return "quick is done"

        @tool(approval=True)
        async def pay() -> str:
            """Ask a person."""
            self.begun.append("pay")
            return "paid"

        @tool
        async def fail(after: int) -> str:
            """Fail when so many others have begun."""

            async def begun() -> bool:
                return len(self.begun) >= after

            await until(begun, within=20)
            raise ToolError("broke")

        tools = [slow, stuck, quick, pay, fail]
        return Agent(name, model="claude-sonnet-5-5", instructions="Be brief.", tools=tools, budget=budget)


CALLS = [use("slow"), use("quick"), use("pay"), use("stuck"), use("fail", after=3), *[use("slow")] * 10]


@pytest.mark.promise("EFF-4", "MOD-2")
async def test_where_the_agent_bears_no_failure_the_other_calls_are_cancelled_and_what_was_done_is_kept(
    rig: Rig,
) -> None:
    world = World()
    agent = world.agent("hasty", Budget(failures=1))
    try:
        async with rig.claude() as claude, rig.client() as client:
            async with rig.worker([agent], model=claude.model):
                session = client.session("s")
                began = time.monotonic()
                turn = await session.ask(" ".join(CALLS), event_id="e1")
                assert time.monotonic() - began < 15, "it waited for calls that take 30 s"
                statuses = [call.status for call in turn.tool_calls]
                assert statuses == ["cancelled", "ok", "denied", "cancelled", "error", *["cancelled"] * 10]
                assert [call.result for call in turn.tool_calls][1] == "quick is done"
                assert "another call of the same step failed" in str(turn.tool_calls[0].result)
                assert "quick is done" in turn.text, "the model saw what was done"
                assert "pay" not in world.begun
                assert world.begun.count("slow") <= MAX_PARALLEL_CALLS
                assert (await session.status()).approvals == ()
                # What the thread says in the end changes nothing, and the session goes on.
                world.go_on.set()

                async def back() -> bool:
                    return "stuck" in world.done

                await until(back)
                assert (await session.ask("and now?")).text.endswith("and now?")
                results = [e async for e in session.entries(event_id="e1") if e.type == "agent.tool_result"]
                assert len(results) == len(CALLS)
                assert (await session.audit(deep=True)).ok
                handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
                history = await handle.fetch_history()
    finally:
        world.go_on.set()
    await replayer().replay_workflow(history)


@pytest.mark.promise("EFF-4", "EFF-7")
async def test_who_allowed_a_call_that_was_cancelled_before_it_ran_is_in_the_journal(rig: Rig) -> None:
    world = World()
    agent = world.agent("hasty", Budget(failures=1))
    calls = [*[use("slow")] * (MAX_PARALLEL_CALLS - 1), use("fail", after=MAX_PARALLEL_CALLS), use("pay")]
    async with rig.worker([agent]), rig.client() as client:
        session = client.session("s")
        asked = asyncio.create_task(session.ask(" ".join(calls), event_id="e1"))

        async def waiting() -> str | None:
            with contextlib.suppress(SessionNotFound):
                approvals = (await session.status()).approvals
                return approvals[0].approval_id if approvals and len(world.begun) == MAX_PARALLEL_CALLS - 1 else None
            return None

        approval_id = await until(waiting)
        assert approval_id
        await session.approve(approval_id, by="ann")
        world.begun.append("the failing call may go on")
        turn = await asked
        types = {entry.type: entry.body async for entry in session.entries(event_id="e1")}
    assert [call.status for call in turn.tool_calls][-2:] == ["error", "cancelled"]
    assert "pay" not in world.begun
    assert (types["approval.answered"]["answer"], types["approval.answered"]["by"]) == ("approved", "ann")


@pytest.mark.promise("EFF-4")
async def test_without_a_bound_every_call_is_settled_whatever_the_others_do(rig: Rig) -> None:
    world = World()
    calls = [use("slow", seconds=0.5), use("fail", after=1), use("fail", after=1), use("quick")]
    agent = world.agent("patient", Budget())
    async with rig.claude() as claude, rig.client() as client, rig.worker([agent], model=claude.model):
        turn = await client.session("s").ask(" ".join(calls))
    assert [call.status for call in turn.tool_calls] == ["ok", "error", "error", "ok"]
    assert world.done == ["slow"]
