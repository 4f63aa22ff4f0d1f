"""`ctx.state`, `ctx.shared` and `client.shared` as their users see them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import Agent, Client, JournalUnavailable, QueueClaim, Retry, ToolContext, ToolError, VersionConflict, tool
from inturn.events import Event
from inturn.journal import open_journal
from inturn.testing import ToolCall, context, run
from inturn.tools.call_operations import MAX_OPERATIONS
from inturn.tools.shared_state import MAX_NAME, MAX_VALUE
from inturn.values import Versioned
from tests.support.steps import rig
from tests.support.stores import journal_url

ONE_CALL = [[ToolCall("count")], "done"]


@tool(idempotent=True)
async def count(ctx: ToolContext) -> int:
    """Count."""
    return await ctx.shared.incr("n")


def again(ctx: ToolContext) -> ToolContext:
    """The next attempt of the same call."""
    return context(ctx.key, state=ctx.state, shared=ctx.shared)


async def test_values_come_back_with_their_versions() -> None:
    state = context().state
    assert await state.get("v") is None
    assert await state.put("v", {"a": [1, None, "ü"]}) == Versioned(value={"a": [1, None, "ü"]}, version=1)
    assert await state.get("v") == Versioned(value={"a": [1, None, "ü"]}, version=1)
    assert await state.incr("n") == 1
    assert await state.incr("n", by=-5) == -4
    assert await state.delete("v")
    assert not await state.delete("v")


@pytest.mark.promise("SHR-6")
async def test_a_version_that_is_not_there_is_a_conflict() -> None:
    state = context().state
    seen = await state.put("v", 1, version=0)
    await state.put("v", 2, version=seen.version)
    with pytest.raises(VersionConflict, match="'v' is at version 2, and was to be changed at version 1"):
        await state.put("v", 3, version=seen.version)
    with pytest.raises(VersionConflict):
        await state.delete("v", version=seen.version)
    assert await state.get("v") == Versioned(value=2, version=2)


@pytest.mark.promise("SHR-6")
async def test_update_tries_again_where_somebody_else_was_faster() -> None:
    ctx = context()
    shared = ctx.shared
    faster = iter([10, 20])

    async def add(value: int | None) -> int:
        for put in faster:
            await again(ctx).shared.put("v", put, key=f"other{put}")
            break
        return (value or 0) + 1

    assert await shared.update("v", add) == Versioned(value=21, version=3)
    assert await shared.update("v", lambda value: value + 1) == Versioned(value=22, version=4)


@pytest.mark.promise("SHR-6")
@pytest.mark.usefixtures("store")
async def test_many_updates_at_once_all_come_through(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    shared = Client(tenant="acme", journal=journal).shared
    await asyncio.gather(*(shared.update("v", lambda value: (value or 0) + 1) for _ in range(50)))
    assert await shared.get("v") == Versioned(value=50, version=50)
    await journal.close()


async def test_update_gives_up_after_its_attempts() -> None:
    ctx = context()
    tried: list[Any] = []

    async def add(value: Any) -> int:
        tried.append(value)
        await ctx.state.incr("v", key=f"other{len(tried)}")
        return 0

    with pytest.raises(VersionConflict, match="'v' is at version 3"):
        await ctx.state.update("v", add, attempts=3)
    assert tried == [None, 1, 2]
    with pytest.raises(ValueError, match="attempts is 0"):
        await ctx.state.update("v", add, attempts=0)


@pytest.mark.promise("SHR-6")
async def test_the_next_attempt_of_an_update_does_not_compute_again() -> None:
    def take(stock: int) -> int:
        if not stock:
            raise ToolError("sold out")
        return stock - 1

    ctx = context()
    await ctx.shared.put("stock", 1, key="setup")
    assert (await ctx.shared.update("stock", take)).value == 0
    assert (await again(ctx).shared.update("stock", take)).value == 0


@pytest.mark.promise("SHR-6")
async def test_put_if_absent_answers_the_next_attempt_as_the_first() -> None:
    ctx = context()
    assert await ctx.shared.put_if_absent("greeted", True, ttl=60)
    assert await again(ctx).shared.put_if_absent("greeted", True, ttl=60)
    other = context("other", state=ctx.state, shared=ctx.shared)
    assert not await other.shared.put_if_absent("greeted", True, ttl=60)


async def test_a_queue_hands_out_its_items_in_order() -> None:
    shared = context().shared
    for n in range(3):
        await shared.push("q", {"n": n})
    first, second = await shared.claim("q"), await shared.claim("q", lease=5)
    assert isinstance(first, QueueClaim)
    assert isinstance(second, QueueClaim)
    assert [first.item, second.item, first.claims] == [{"n": 0}, {"n": 1}, 1]
    assert first.until > second.until
    await shared.complete(second)
    await shared.release(first)
    third = await shared.claim("q")
    assert third is not None
    assert (third.item, third.claims) == ({"n": 0}, 2)
    with pytest.raises(VersionConflict, match="this claim on queue 'q' is over"):
        await shared.complete(first)


@pytest.mark.promise("SHR-10")
async def test_state_is_the_sessions_and_shared_the_tenants() -> None:
    one = context("a", session_id="one")
    two = context("b", session_id="two", shared=one.shared)
    await one.state.put("v", 1)
    await one.shared.put("v", 2)
    assert await two.state.get("v") is None
    assert await two.shared.get("v") == Versioned(value=2, version=1)
    assert [repr(s) for s in (one.state, one.shared)] == ["<state of test/one>", "<shared of test>"]


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "a\0b", "\ud800"])
async def test_names_and_keys_that_cannot_be_kept_are_refused(name: str) -> None:
    shared = context().shared
    for asked in (shared.get(name), shared.incr(name), shared.push(name, 1), shared.incr("n", key=name)):
        with pytest.raises(ValueError, match=r"must have 1 to 200 characters|surrogates not allowed"):
            await asked
    with pytest.raises(TypeError, match="a name is a text, not 7"):
        await shared.get(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"x", "\ud800", "x" * MAX_VALUE])
async def test_values_that_json_does_not_have_are_refused(value: Any) -> None:
    shared = context().shared
    for asked in (shared.put("v", value), shared.put_if_absent("v", value), shared.push("q", value)):
        with pytest.raises(ValueError, match=r"keeps what JSON has|too large|surrogates not allowed"):
            await asked


async def test_numbers_that_make_no_sense_are_refused() -> None:
    shared = context().shared
    with pytest.raises(TypeError, match="by is True"):
        await shared.incr("n", by=True)
    with pytest.raises(ValueError, match="ttl is 0 s"):
        await shared.put_if_absent("v", 1, ttl=0)
    with pytest.raises(ValueError, match="lease is nan s"):
        await shared.claim("q", lease=float("nan"))


async def test_a_call_may_change_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inturn.tools.call_operations.MAX_OPERATIONS", 3)
    shared = context().shared
    for _ in range(3):
        await shared.incr("n")
    with pytest.raises(ToolError, match="more than 3 changes"):
        await shared.incr("n")
    assert MAX_OPERATIONS == 10_000


async def test_a_context_made_by_hand_says_that_it_has_no_state() -> None:
    ctx = ToolContext("t", "s", "c", Event(event_id="e", content="hi"), "k")
    with pytest.raises(JournalUnavailable, match=r"inturn\.testing\.context\(\)"):
        await ctx.state.get("v")


# In `inturn.testing.run`


async def test_calls_of_a_turn_share_state_and_a_body_that_asks_to_be_tried_again_changes_once() -> None:
    tries: list[int] = []

    @tool
    async def twice(ctx: ToolContext) -> int:
        """Count, and ask to be tried again at first."""
        sum_ = await ctx.shared.incr("n")
        tries.append(sum_)
        if len(tries) % 2:
            raise Retry
        return await ctx.shared.incr("n")

    ctx = context()
    agent = Agent("a", model="m", instructions="i", tools=[twice])
    turn = await run(agent, "hi", script=[ToolCall("twice"), ToolCall("twice"), "done"], shared=ctx.shared)
    assert [call.result for call in turn.tool_calls] == ["2", "4"]
    assert tries == [1, 1, 3, 3]
    assert await ctx.shared.get("n") == Versioned(value=4, version=4)


async def test_a_tool_without_async_reaches_it_from_its_thread() -> None:
    @tool
    def count_here(ctx: ToolContext) -> int:
        """Count."""
        return asyncio.run(ctx.shared.incr("n"))

    agent = Agent("a", model="m", instructions="i", tools=[count_here])
    calls = [ToolCall("count_here") for _ in range(20)]
    turn = await run(agent, "hi", script=[calls, "done"])
    assert sorted(int(call.result or 0) for call in turn.tool_calls) == list(range(1, 21))


# In a worker's steps


@pytest.mark.promise("SHR-6")
async def test_a_calls_next_attempt_does_not_count_again(tmp_path: Path) -> None:
    attempts: list[int] = []

    @tool(idempotent=True)
    async def count_and_fail(ctx: ToolContext) -> int:
        """Count, and fail at first."""
        attempts.append(await ctx.shared.incr("n"))
        if len(attempts) == 1:
            raise RuntimeError("on the way")
        return await ctx.state.incr("n", by=10)

    script = [[ToolCall("count_and_fail")], "done"]
    async with rig(tmp_path, script, tools=[count_and_fail]) as worker:
        answered = await worker.ask()
        with pytest.raises(Exception, match="on the way"):
            await worker.tool(call=answered.calls[0].id)
        assert (await worker.tool(call=answered.calls[0].id, attempt=2)).status == "ok"
        client = Client(tenant="acme", journal=worker.journal)
        assert attempts == [1, 1]
        assert await client.shared.get("n") == Versioned(value=1, version=1)


async def test_a_tool_without_async_reaches_it_in_a_worker(tmp_path: Path) -> None:
    @tool(idempotent=True)
    def count_here(ctx: ToolContext) -> int:
        """Count."""
        return asyncio.run(ctx.shared.incr("n"))

    async with rig(tmp_path, [[ToolCall("count_here")] * 5, "done"], tools=[count_here]) as worker:
        answered = await worker.ask()
        assert {result.status for result in await worker.tools(answered)} == {"ok"}
        assert await Client(tenant="acme", journal=worker.journal).shared.incr("n") == 6


@pytest.mark.promise("SHR-6")
async def test_a_call_whose_turn_was_settled_changes_nothing_more(tmp_path: Path) -> None:
    settled, began = asyncio.Event(), asyncio.Event()

    @tool
    async def count_late(ctx: ToolContext) -> int:
        """Count, after the turn has ended."""
        await ctx.shared.incr("n")
        began.set()
        await settled.wait()
        return await ctx.shared.incr("n")

    async with rig(tmp_path, [[ToolCall("count_late")], "done"], tools=[count_late]) as worker:
        answered = await worker.ask()
        call = asyncio.create_task(worker.tool(call=answered.calls[0].id))
        await began.wait()
        await worker.record(settle=["e1"])
        settled.set()
        with pytest.raises(ApplicationError, match="another attempt holds the claim"):
            await call
        assert await Client(tenant="acme", journal=worker.journal).shared.incr("n") == 2


async def test_a_delivery_shares_state_and_is_counted_once(tmp_path: Path) -> None:
    async def deliver(out: object, ctx: ToolContext) -> None:
        await ctx.shared.incr("delivered")

    async with rig(tmp_path, ["done"], deliver=deliver) as worker:
        await worker.ask()
        for _ in range(2):
            await worker.deliver()
        assert await Client(tenant="acme", journal=worker.journal).shared.incr("delivered") == 2


# From a client


@pytest.mark.promise("SHR-10")
async def test_a_client_shares_its_tenants_state_and_no_others(tmp_path: Path) -> None:
    async with rig(tmp_path, ONE_CALL, tools=[count]) as worker:
        await worker.tools(await worker.ask())
        client = Client(tenant="acme", journal=worker.journal)
        assert await client.shared.incr("n", key="k") == 2
        assert await client.shared.incr("n", key="k") == 2
        assert await client.with_options(tenant="other").shared.get("n") is None


async def test_a_client_without_a_journal_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTURN_JOURNAL", raising=False)
    with pytest.raises(JournalUnavailable, match="INTURN_JOURNAL"):
        await Client().shared.incr("n")
