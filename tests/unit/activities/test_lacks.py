"""What this worker lacks is no event's fault: another one may have it, and a step waits for that one."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names
from inturn.agents import Agent
from inturn.journal import Serving
from inturn.journal.ledger import serving
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn_activities.bounds import Bounds
from inturn_activities.messages import DeliverInput, RecordInput
from tests.support.steps import SESSION, StepRunner, environment, rig

QUEUE = environment(SESSION.turn("e").step(0)).info.task_queue
SALES = Serving("w2", "sales", QUEUE, tools=("sell",))


@tool
async def old() -> str:
    """Be there in both."""
    return "old"


def agent(name: str, **options: Any) -> Agent:
    return Agent(name, model="m", instructions="", **options)


@asynccontextmanager
async def told(tmp_path: Path, script: Sequence[Any], *rows: Serving, **options: Any) -> AsyncIterator[StepRunner]:
    """A worker's steps, and what other workers say of themselves."""
    options.setdefault("agents", [agent("support", tools=[old]), agent("legal")])
    async with rig(tmp_path, script, bounds=Bounds(beat=0.01, lease=0.1), **options) as r:
        await r.journal.register(rows)
        yield r


def waits(error: ApplicationError) -> bool:
    """Whether another attempt follows soon, and nobody is alarmed."""
    delay = error.next_retry_delay
    assert delay is not None
    benign = error.category is ApplicationErrorCategory.BENIGN
    return error.type == names.NOT_YET and benign and 1 <= delay.total_seconds() <= 2


@pytest.mark.promise("SUR-16")
async def test_an_agent_that_another_worker_has_is_waited_for_with_its_name(tmp_path: Path) -> None:
    async with told(tmp_path, ["hi"], SALES) as r:
        with pytest.raises(ApplicationError, match="waits for a worker that has agent 'sales': w2") as failed:
            await r.ask(agent="sales")
        assert waits(failed.value)


@pytest.mark.promise("SUR-16")
async def test_an_agent_with_a_task_queue_of_its_own_is_said_to_be_there(tmp_path: Path) -> None:
    row = dataclasses.replace(SALES, queue="sales-steps")
    new = Serving("w3", "support", "new-steps", tools=("new",), deliver=True)
    async with told(tmp_path, [ToolCall("new")], row, new) as r:
        result = await r.ask(agent="sales")
        assert result.elsewhere == "sales-steps"
        message = RecordInput(policy=True, agent="sales")
        recorded = await environment(SESSION.turn("~record").step(1)).run(r.steps.record, message)
        assert (recorded.elsewhere, recorded.policy) == ("sales-steps", None)
        [call] = (await r.ask("e2", agent="support")).calls
        assert (await r.tool("e2", call=call.id, agent="support")).elsewhere == "new-steps"
        key = SESSION.turn("e2").step("deliver")
        assert (await environment(key).run(r.steps.deliver, DeliverInput(agent="support"))).elsewhere == "new-steps"


@pytest.mark.promise("SUR-16", "SUR-3")
async def test_an_agent_that_only_an_event_names_costs_its_event_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with told(tmp_path, ["hi"]) as r:
        for later, type_ in ((0, names.NOT_YET), (29, names.NOT_YET), (31, names.OWN_FAILURE)):
            await _pass(r, later)
            with pytest.raises(ApplicationError) as failed:
                await r.ask(agent="slip")
            assert failed.value.type == type_


@pytest.mark.promise("SUR-16")
async def test_the_agent_that_a_session_began_with_is_waited_for_as_long_as_a_deploy_takes(tmp_path: Path) -> None:
    async with told(tmp_path, ["hi", "hi"]) as r:
        await r.ask(agent="legal")
        other = StepRunner(r.journal, r.model, [agent("support"), agent("sales")])
        for later, type_ in ((0, names.NOT_YET), (60, names.NOT_YET), (899, names.NOT_YET), (901, names.OWN_FAILURE)):
            await _pass(r, later)
            with pytest.raises(ApplicationError) as failed:
                await other.ask("e2", agent="legal")
            assert failed.value.type == type_
        with pytest.raises(ApplicationError, match="the session's agent is 'legal', not 'nobody'") as failed:
            await other.ask("e3", agent="nobody")
        assert failed.value.non_retryable


@pytest.mark.promise("SUR-16", "SEC-4")
async def test_a_tool_that_a_newer_worker_has_is_waited_for_and_a_removed_one_is_not(tmp_path: Path) -> None:
    calls = [ToolCall("new"), ToolCall("old"), ToolCall("invented")]
    older = Serving("w1", "support", QUEUE, tools=("old", "invented"))
    newer = Serving("w2", "support", QUEUE, tools=("old", "new"))
    async with told(tmp_path, [calls], older) as r:
        await asyncio.sleep(0.001)
        await r.journal.register([newer])
        new, kept, invented = (await r.ask(agent="support")).calls
        assert new.timeout > 3600  # whoever has it knows for how long it may run
        with pytest.raises(ApplicationError, match="tool 'new' of agent 'support': w2") as failed:
            await r.tool(call=new.id, agent="support")
        assert waits(failed.value)
        assert (await r.tool(call=kept.id, agent="support", index=1)).status == "ok"
        assert (await r.tool(call=invented.id, agent="support", index=2)).status == "error"
        await r.journal.retire("w2")
        assert (await r.tool(call=new.id, agent="support", attempt=2)).status == "error"


@pytest.mark.promise("SUR-16", "SUR-7")
async def test_what_only_another_build_has_is_waited_for_until_the_server_has_gone_on_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Serving("w2", "support", "elsewhere", tools=("old", "new"), deliver=True, version="shop:2")
    script = [[ToolCall("new"), ToolCall("new")]]
    async with told(tmp_path, script, other, agents=[agent("support", tools=[old])], version="shop:1") as r:
        first, second = (await r.ask(agent="support")).calls
        for later in (0, 29):
            await _pass(r, later)
            with pytest.raises(ApplicationError, match="tool 'new' of agent 'support': w2") as failed:
                await r.tool(call=first.id, agent="support")
            assert waits(failed.value)
        await _pass(r, 31)
        assert (await r.tool(call=first.id, agent="support")).status == "error"
        await r.journal.register([dataclasses.replace(other, version="shop:1")])
        assert (await r.tool(call=second.id, agent="support", index=1)).elsewhere == "elsewhere"


@pytest.mark.promise("SUR-16", "ACC-12")
async def test_a_delivery_waits_for_the_worker_whose_agent_delivers(tmp_path: Path) -> None:
    row = Serving("w2", "support", QUEUE, deliver=True)
    async with told(tmp_path, ["hi"], row) as r:
        await r.ask(agent="support")
        with pytest.raises(ApplicationError, match="the `deliver` of agent 'support': w2") as failed:
            await r.deliver(agent="support")
        assert waits(failed.value)
        await r.journal.register([dataclasses.replace(row, deliver=False)])
        await r.deliver(agent="support")


@pytest.mark.promise("SUR-16", "ORD-12")
async def test_a_policy_is_asked_of_a_worker_that_has_the_agent(tmp_path: Path) -> None:
    async with told(tmp_path, ["hi"], SALES) as r:
        message = RecordInput(policy=True, agent="sales")
        with pytest.raises(ApplicationError, match="waits for a worker that has agent 'sales'") as failed:
            await environment(SESSION.turn("~record").step(1)).run(r.steps.record, message)
        assert waits(failed.value)


@pytest.mark.promise("SUR-16")
async def test_who_says_nothing_any_more_is_taken_for_gone_and_a_healed_lack_is_forgotten(tmp_path: Path) -> None:
    async with told(tmp_path, ["hi"], SALES) as r:
        assert [row.worker for row in await r.journal.serving()] == ["w2"]
        await _age(r, "agents", serving.LIVE + 1)
        assert await r.journal.serving() == []
        await r.journal.register([SALES])
        [row] = await r.journal.serving("sales")
        assert row.seen - row.since > serving.LIVE
        step = SESSION.turn("e1").step(0)
        assert await r.journal.lacking(step) == 0
        await _pass(r, 10)
        assert await r.journal.lacking(step) >= 10
        await _age(r, "lacks", serving.SAME + 1)
        assert await r.journal.lacking(step) == 0


async def _pass(r: StepRunner, seconds: float) -> None:
    """Have the lacks that are noted begin so many seconds ago."""
    micros = round((time.time() - seconds) * 1e6)
    await r.journal._store.write(lambda tx: tx.execute("UPDATE lacks SET since = ?", (micros,)))


async def _age(r: StepRunner, table: str, seconds: float) -> None:
    """Have all rows of a table written so many seconds earlier."""
    sql = f"UPDATE {table} SET seen = seen - ?, since = since - ?"
    await r.journal._store.write(lambda tx: tx.execute(sql, (round(seconds * 1e6), round(seconds * 1e6))))
