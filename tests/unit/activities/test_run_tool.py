"""A tool call: one result, whatever happens, and no effect twice."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.errors import InturnError, JournalUnavailable, Retry, ToolError
from inturn.journal import Position, Superseded
from inturn.testing import ScriptedModel, ToolCall
from inturn.tools import Tool, tool
from inturn.tools.context import ToolContext, current
from inturn.tools.results import render_result
from inturn_activities.bounds import Bounds
from inturn_activities.messages import ToolInput
from tests.support.frozen import freeze_next_claim
from tests.support.steps import SESSION, SHUTDOWN, WAIT, StepRunner, environment, rig

KEY = SESSION.turn("e1").step(0, 0)


@tool
async def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


async def called(r: StepRunner, *calls: ToolCall) -> list[str]:
    """Let the model make calls; gives their ids."""
    result = await r.ask()
    assert len(result.calls) == len(calls)
    return [call.id for call in result.calls]


async def one(tmp_path: Path, fn: Tool[..., Any], attempts: int = 1, **args: Any) -> tuple[list[Any], dict[str, Any]]:
    """Run one call with as many attempts; gives what each gave or raised, and the recorded result."""
    call = ToolCall(fn.name, **args)
    async with rig(tmp_path, [call], tools=[fn]) as r:
        [call_id] = await called(r, call)
        ends: list[Any] = []
        for attempt in range(1, attempts + 1):
            try:
                ends.append(await r.tool(call=call_id, attempt=attempt))
            except ApplicationError as error:
                ends.append(error)
        results = await r.bodies("agent.tool_result")
        assert len(results) <= 1
        return ends, results[0] if results else {}


@pytest.mark.promise("SEC-4")
async def test_only_the_agents_own_tools_run_and_only_with_arguments_that_fit(tmp_path: Path) -> None:
    ran: list[Any] = []

    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        ran.append(cents)
        return "paid"

    @tool
    async def not_given(x: int) -> str:
        """Belong to another agent."""
        ran.append(x)
        return "no"

    calls = [
        ToolCall("not_given", x=1),
        ToolCall("os.system", command="rm"),
        ToolCall("pay"),
        ToolCall("pay", cents="a lot"),
        ToolCall("pay", cents=1, to="me"),
        ToolCall("pay", cents={"$gt": 0}),
        ToolCall("pay", cents=1.5),
    ]
    async with rig(tmp_path, [calls], tools=[pay]) as r:
        results = await r.tools(await r.ask())
        assert {x.status for x in results} == {"error"}
        assert ran == []
        said = [b["text"] for b in await r.bodies("agent.tool_result")]
        assert "There is no tool named 'not_given'." in said
        assert any("cents: Field required" in text for text in said)
        assert not any("a lot" in text for text in said)


async def test_a_call_that_the_journal_does_not_hold_never_runs(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call_id] = await called(r, ToolCall("add", a=1))
        for step, index in ((0, 1), (1, 0)):
            with pytest.raises(ApplicationError, match="holds no call") as failed:
                await r.tool(call=call_id, step=step, index=index)
            assert failed.value.non_retryable


@pytest.mark.promise("EFF-4")
async def test_results_of_parallel_calls_are_kept_one_by_one_in_call_order(tmp_path: Path) -> None:
    @tool
    async def work(wait: float, fail: bool = False) -> str:
        """Work."""
        await asyncio.sleep(wait)
        if fail:
            raise RuntimeError("broke")
        return f"after {wait}"

    model = ScriptedModel(
        [
            [
                ToolCall("work", wait=0.03),
                ToolCall("work", wait=0.0, fail=True),
                ToolCall("nope"),
                ToolCall("work", wait=0.01),
            ],
            "done",
        ]
    )
    async with rig(tmp_path, model=model, tools=[work]) as r:
        results = await r.tools(await r.ask())
        assert [x.status for x in results] == ["ok", "error", "error", "ok"]
        await r.ask(step=1)
        sent = [b for b in model.requests[1].messages[-1]["content"] if b["type"] == "tool_result"]
        assert [b["content"].splitlines()[0] for b in sent] == [
            "after 0.03",
            "RuntimeError: broke",
            "There is no tool named 'nope'.",
            "after 0.01",
        ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", "(empty)"),
        (None, "(no result)"),
        ({"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
        ([1, 2], "[1,2]"),
        (object, "<class 'object'>"),
        ("lone \ud800", "lone \ud800"),
    ],
)
async def test_a_result_is_text_as_it_is_and_json_for_all_else(tmp_path: Path, value: Any, text: str) -> None:
    async with rig(tmp_path, []) as r:
        said = await render_result(value, partial(r.journal.put_blob, SESSION))
        assert said["text"].strip('"') == text.strip('"')


async def test_content_blocks_go_to_the_model_as_blocks(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}

    @tool
    async def draw() -> list[dict[str, Any]]:
        """Draw."""
        return [image]

    _, body = await one(tmp_path, draw)
    assert body["content"] == [image]


async def test_an_image_is_kept_whole_up_to_the_size_of_an_event(tmp_path: Path) -> None:
    def image(size: int) -> list[dict[str, Any]]:
        source = {"type": "base64", "media_type": "image/png", "data": "x" * size}
        return [{"type": "image", "source": source}]

    async with rig(tmp_path, []) as r:
        assert "content" in await render_result(image(200_000), partial(r.journal.put_blob, SESSION))
        assert "ref" in await render_result(image(300_000), partial(r.journal.put_blob, SESSION))


async def test_a_tool_that_cannot_be_stopped_does_not_keep_its_call_for_ever(tmp_path: Path) -> None:
    begun, stop = asyncio.Event(), asyncio.Event()

    @tool(timeout=0.05)
    async def stubborn() -> str:
        """Ignore every cancel."""
        begun.set()
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    bounds = Bounds(beat=0.01, lease=0.06, thread_wait=0.0, commit_patience=0.1, leased_wait=WAIT)
    async with rig(tmp_path, [ToolCall("stubborn")], tools=[stubborn], bounds=bounds) as r:
        [call] = (await r.ask()).calls
        task = asyncio.create_task(environment(KEY).run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await begun.wait()
            assert (await r.tool(call=call.id, attempt=2)).status == "unknown"
            stop.set()
            with pytest.raises(ApplicationError):
                await task


async def test_a_call_whose_tool_was_removed_after_it_began_has_an_unknown_outcome(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(KEY, lease=0.01)
        later = StepRunner(r.journal, r.model, [Agent("support", model="m", instructions="")])
        assert (await later.tool(call=call.id, attempt=2)).status == "unknown"


async def test_reports_wait_for_a_journal_that_is_away_and_news_do_not_end_a_call(tmp_path: Path) -> None:
    @tool
    async def work(ctx: ToolContext) -> str:
        """Report."""
        await ctx.progress("half")
        await ctx.checkpoint(1)
        return "done"

    async with rig(tmp_path, [ToolCall("work")], tools=[work]) as r:
        [call] = (await r.ask()).calls
        keep, tries = r.journal.keep, 0

        async def away(*args: Any, **options: Any) -> Any:
            raise JournalUnavailable("away")

        async def away_once(*args: Any, **options: Any) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise JournalUnavailable("away")
            await keep(*args, **options)

        r.journal.append, r.journal.keep = away, away_once  # type: ignore[method-assign]
        assert (await r.tool(call=call.id)).status == "ok"
        assert tries == 2


@pytest.mark.promise("EFF-5")
async def test_a_large_result_lies_beside_the_transcript_with_a_preview_in_it(tmp_path: Path) -> None:
    @tool
    async def dump() -> str:
        """Dump."""
        return "ü" * 100_000

    call = ToolCall("dump")
    async with rig(tmp_path, [call], tools=[dump]) as r:
        [call_id] = await called(r, call)
        assert (await r.tool(call=call_id)).status == "ok"
        [body] = await r.bodies("agent.tool_result")
        assert len(body["text"]) < 5_000
        assert body["bytes"] == 200_000
        assert body["ref"] in body["text"]
        assert await r.journal.blob(SESSION, body["ref"]) == ("ü" * 100_000).encode()


@pytest.mark.promise("EFF-5")
@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_tool_that_takes_too_long_is_stopped_and_its_outcome_is_not_guessed(
    tmp_path: Path, idempotent: bool
) -> None:
    stopped = asyncio.Event()

    @tool(timeout=0.05, idempotent=idempotent)
    async def hang() -> str:
        """Hang."""
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()
        return "never"

    ends, body = await one(tmp_path, hang)
    assert ends[0].status == "timeout"
    assert stopped.is_set()
    assert body["text"].startswith("The call took longer than its 0.05 s")
    assert ("outcome is unknown" in body["text"]) is not idempotent


async def test_a_tools_own_timeout_error_is_an_error_like_any_other(tmp_path: Path) -> None:
    @tool
    async def impatient() -> str:
        """Give up."""
        raise TimeoutError("the bank is slow")

    ends, body = await one(tmp_path, impatient)
    assert ends[0].status == "error"
    assert body["text"].startswith("TimeoutError: the bank is slow")


async def test_a_tool_error_is_shown_to_the_model_and_not_repeated(tmp_path: Path) -> None:
    @tool(idempotent=True, retries=5)
    async def refuse() -> str:
        """Refuse."""
        raise ToolError("the order is closed")

    ends, body = await one(tmp_path, refuse)
    assert ends[0].status == "error"
    assert body["text"] == "the order is closed"


@pytest.mark.promise("EFF-5")
@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_tool_that_asks_for_it_is_tried_again_as_often_as_it_allows(tmp_path: Path, idempotent: bool) -> None:
    @tool(retries=2, idempotent=idempotent)
    async def busy() -> str:
        """Be busy."""
        raise Retry("the bank is busy", after=7)

    ends, body = await one(tmp_path, busy, attempts=3)
    for again in ends[:2]:
        assert (again.type, again.non_retryable) == (names.NOT_YET, False)
        assert again.next_retry_delay.total_seconds() == 7
    assert ends[2].status == "error"
    assert body["text"] == "the bank is busy (3 attempts)"


async def test_a_retry_that_works_is_an_ordinary_result(tmp_path: Path) -> None:
    tries: list[str] = []

    @tool
    async def second_time(ctx: ToolContext) -> str:
        """Work the second time."""
        tries.append(ctx.key)
        if len(tries) == 1:
            raise Retry(after=0)
        return "worked"

    ends, body = await one(tmp_path, second_time, attempts=2)
    assert ends[1].status == "ok"
    assert body["text"] == "worked"
    assert tries == [str(KEY), str(KEY)]


@pytest.mark.promise("EFF-5")
async def test_an_idempotent_tool_that_breaks_is_repeated_and_another_never(tmp_path: Path) -> None:
    ran = {"safe": 0, "once": 0}

    @tool(idempotent=True, retries=2)
    async def safe() -> str:
        """Break."""
        ran["safe"] += 1
        raise RuntimeError("no route")

    @tool(retries=2)
    async def once() -> str:
        """Break."""
        ran["once"] += 1
        raise RuntimeError("no route")

    async with rig(tmp_path, [[ToolCall("safe"), ToolCall("once")]], tools=[safe, once]) as r:
        first, second = (await r.ask()).calls
        for attempt in (1, 2):
            with pytest.raises(ApplicationError, match="RuntimeError: no route"):
                await r.tool(call=first.id, attempt=attempt)
        assert (await r.tool(call=first.id, attempt=3)).status == "error"
        assert (await r.tool(call=second.id, index=1)).status == "error"
        assert ran == {"safe": 3, "once": 1}
        texts = [b["text"] for b in await r.bodies("agent.tool_result")]
        assert texts[0] == "RuntimeError: no route (3 attempts)"
        assert texts[1].startswith("RuntimeError: no route\n")
        assert "may have happened" in texts[1]


@pytest.mark.promise("EFF-1")
async def test_a_recorded_result_is_given_again_and_the_body_does_not_run(tmp_path: Path) -> None:
    ran: list[int] = []

    @tool
    async def pay() -> str:
        """Pay."""
        ran.append(1)
        return "paid"

    ends, _ = await one(tmp_path, pay, attempts=3)
    assert [end.status for end in ends] == ["ok", "ok", "ok"]
    assert ends[0].head == ends[2].head
    assert ran == [1]


@pytest.mark.promise("EFF-2")
async def test_what_a_killed_attempt_did_is_repeated_looked_up_or_unknown(tmp_path: Path) -> None:
    ran: list[str] = []

    @tool(idempotent=True)
    async def safe(ctx: ToolContext) -> str:
        """Do what may be repeated."""
        ran.append("safe")
        return "again"

    @tool
    async def once() -> str:
        """Do what may not."""
        ran.append("once")
        return "again"

    @tool(lookup=lambda key: f"found {key}")
    async def found() -> str:
        """Find that it happened."""
        ran.append("found")
        return "again"

    async def nothing(key: str) -> None:
        """Find that it did not happen."""

    @tool(lookup=nothing)
    async def lost() -> str:
        """Do it then."""
        ran.append("lost")
        return "again"

    fns: list[Tool[..., Any]] = [safe, once, found, lost]
    async with rig(tmp_path, [[ToolCall(f.name) for f in fns]], tools=fns) as r:
        result = await r.ask()
        for index in range(4):  # what a worker leaves that is killed in mid-body
            await r.journal.claim_call(SESSION.turn("e1").step(0, index), lease=0.05)
        ends = await r.tools(result)
        assert [end.status for end in ends] == ["ok", "unknown", "ok", "ok"]
        assert sorted(ran) == ["lost", "safe"]
        said = {b["tool"]: b["text"] for b in await r.bodies("agent.tool_result")}
        assert said["found"] == f"found {SESSION.turn('e1').step(0, 2)}"
        assert "outcome is unknown" in said["once"]


@pytest.mark.promise("EFF-2")
async def test_a_lookup_that_fails_is_tried_again_and_then_the_outcome_is_unknown(tmp_path: Path) -> None:
    ran: list[int] = []

    def broken(key: str) -> str:
        raise ConnectionError("no bank")

    @tool(lookup=broken, retries=1)
    async def pay() -> str:
        """Pay."""
        ran.append(1)
        return "paid"

    async with rig(tmp_path, [ToolCall("pay")], tools=[pay]) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(KEY, lease=0.01)
        with pytest.raises(ApplicationError, match="cannot find out what an earlier attempt did"):
            await r.tool(call=call.id)
        assert (await r.tool(call=call.id, attempt=2)).status == "unknown"
        assert ran == []


async def test_an_attempt_waits_for_the_lease_of_one_that_may_still_run(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def safe() -> str:
        """Do."""
        return "done"

    async with rig(tmp_path, [ToolCall("safe")], tools=[safe]) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(KEY, lease=0.3)
        start = time.monotonic()
        assert (await r.tool(call=call.id, attempt=2)).status == "ok"
        assert time.monotonic() - start > 0.25


async def test_an_attempt_that_waits_too_long_comes_back_later(tmp_path: Path) -> None:
    bounds = Bounds(beat=0.01, lease=0.05, leased_wait=0.1)
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add], bounds=bounds) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(KEY, lease=60)
        with pytest.raises(ApplicationError, match="still runs") as failed:
            await r.tool(call=call.id, attempt=2)
        assert (failed.value.type, failed.value.non_retryable) == (names.NOT_YET, False)


async def test_a_denied_call_is_recorded_and_does_not_run(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call] = (await r.ask()).calls
        assert (await r.tool(call=call.id, denied="denied by ann: too much")).status == "denied"
        [body] = await r.bodies("agent.tool_result")
        assert body["status"] == "denied"
        assert "denied by ann: too much" in body["text"]


@pytest.mark.promise("EFF-8")
async def test_an_interrupted_tool_stops_and_the_call_is_settled_by_the_session(tmp_path: Path) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> str:
        """Work."""
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()
        return "never"

    async with rig(tmp_path, [ToolCall("work")], tools=[work]) as r:
        [call] = (await r.ask()).calls
        made = environment(KEY)
        task = asyncio.create_task(made.run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await begun.wait()
            made.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert stopped.is_set()
        await r.record(settle=["e1"])
        [body] = await r.bodies("agent.tool_result")
        assert body["status"] == "interrupted"
        assert (await r.tool(call=call.id, attempt=2)).status == "settled"


async def test_a_result_whose_record_began_is_given_even_when_cancelled(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call] = (await r.ask()).calls
        made = environment(KEY)
        finish = r.journal.finish

        async def cancelled_meanwhile(*args: Any, **options: Any) -> Position:
            made.cancel()
            await asyncio.sleep(0)
            return await finish(*args, **options)

        r.journal.finish = cancelled_meanwhile  # type: ignore[method-assign]
        assert (await made.run(r.steps.run_tool, ToolInput(call=call.id))).status == "ok"


@pytest.mark.promise("SUR-2")
async def test_a_tool_with_a_checkpoint_goes_on_elsewhere_when_its_worker_stops(tmp_path: Path) -> None:
    begun = asyncio.Event()

    @tool
    async def walk(ctx: ToolContext) -> str:
        """Walk."""
        if ctx.last_checkpoint is None:
            await ctx.checkpoint({"step": 3})
            begun.set()
            await asyncio.sleep(3600)
        return f"from {ctx.last_checkpoint['step']}"

    async with rig(tmp_path, [ToolCall("walk")], tools=[walk], bounds=Bounds(lease=60)) as r:
        [call] = (await r.ask()).calls
        made = environment(KEY)
        task = asyncio.create_task(made.run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await begun.wait()
            made.cancel(SHUTDOWN)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await StepRunner(r.journal, r.model, r.agents).tool(call=call.id, attempt=2)).status == "ok"
        assert [b["text"] for b in await r.bodies("agent.tool_result")] == ["from 3"]


@pytest.mark.promise("SUR-2", "EFF-8")
async def test_a_cancel_that_comes_while_a_checkpoint_is_written_stops_the_tool_behind_it(tmp_path: Path) -> None:
    @tool
    async def walk(ctx: ToolContext) -> str:
        """Walk."""
        if ctx.last_checkpoint is None:
            await ctx.checkpoint({"step": 3})
            await asyncio.sleep(3600)
        return f"from {ctx.last_checkpoint['step']}"

    async with rig(tmp_path, [ToolCall("walk")], tools=[walk], bounds=Bounds(lease=60)) as r:
        [call] = (await r.ask()).calls
        made = environment(KEY)
        keep = r.journal.keep

        async def cancelled_meanwhile(*args: Any) -> None:
            made.cancel(SHUTDOWN)
            await asyncio.sleep(0)
            await keep(*args)

        r.journal.keep = cancelled_meanwhile  # type: ignore[assignment, method-assign]
        task = asyncio.create_task(made.run(r.steps.run_tool, ToolInput(call=call.id)))
        await asyncio.wait([task], timeout=WAIT)
        assert task.cancelled()
        async with asyncio.timeout(WAIT):
            assert (await StepRunner(r.journal, r.model, r.agents).tool(call=call.id, attempt=2)).status == "ok"
        assert [b["text"] for b in await r.bodies("agent.tool_result")] == ["from 3"]


@pytest.mark.promise("EFF-5")
async def test_a_timeout_that_comes_while_a_checkpoint_is_written_ends_the_tool_behind_it(tmp_path: Path) -> None:
    @tool(timeout=0.05)
    async def walk(ctx: ToolContext) -> str:
        """Walk."""
        await ctx.checkpoint({"step": 3})
        await asyncio.sleep(3600)
        return "never"

    async with rig(tmp_path, [ToolCall("walk")], tools=[walk]) as r:
        [call] = (await r.ask()).calls
        keep = r.journal.keep

        async def slow(*args: Any) -> None:
            await asyncio.sleep(0.1)
            await keep(*args)

        r.journal.keep = slow  # type: ignore[assignment, method-assign]
        async with asyncio.timeout(WAIT):
            assert (await r.tool(call=call.id)).status == "timeout"


@pytest.mark.promise("EFF-2")
async def test_a_tool_that_may_not_be_repeated_is_unknown_when_its_worker_stops(tmp_path: Path) -> None:
    begun = asyncio.Event()

    @tool
    async def once() -> str:
        """Do once."""
        begun.set()
        await asyncio.sleep(3600)
        return "never"

    async with rig(tmp_path, [ToolCall("once")], tools=[once]) as r:
        [call] = (await r.ask()).calls
        made = environment(KEY)
        task = asyncio.create_task(made.run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await begun.wait()
            made.cancel(SHUTDOWN)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await r.tool(call=call.id, attempt=2)).status == "unknown"


async def test_an_attempt_that_was_outlived_is_stopped_and_commits_nothing(tmp_path: Path) -> None:
    runs: list[int] = []
    begun, frozen = asyncio.Event(), asyncio.Event()

    @tool(idempotent=True)
    async def work() -> str:
        """Work."""
        runs.append(1)
        if len(runs) == 1:
            begun.set()
            await frozen.wait()
        return f"run {len(runs)}"

    async with rig(tmp_path, [ToolCall("work")], tools=[work], bounds=Bounds(beat=0.3, lease=0.6)) as r:
        [call] = (await r.ask()).calls
        task = asyncio.create_task(environment(KEY).run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await begun.wait()
            await r.journal.release(KEY, (await stolen(r)).token)
            frozen.set()
            with pytest.raises(ApplicationError) as failed:
                await task
            assert failed.value.type == names.NOT_YET
            assert (await r.tool(call=call.id, attempt=2)).status == "ok"
        assert [b["text"] for b in await r.bodies("agent.tool_result")] == ["run 2"]


@pytest.mark.promise("EFF-2", "EFF-3")
@pytest.mark.parametrize("meanwhile", ["ok", "unknown"])
async def test_an_attempt_that_froze_behind_its_claim_does_not_run_the_body(tmp_path: Path, meanwhile: str) -> None:
    runs: list[int] = []

    @tool(idempotent=meanwhile == "ok")
    async def work() -> str:
        """Work."""
        runs.append(1)
        return f"run {len(runs)}"

    bounds = Bounds(beat=0.01, lease=0.1, leased_wait=5)
    async with rig(tmp_path, [ToolCall("work")], tools=[work], bounds=bounds) as r:
        [call] = (await r.ask()).calls
        frozen = freeze_next_claim(r.journal, "claim_call")
        task = asyncio.create_task(environment(KEY).run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await frozen.reached.wait()
            assert (await r.tool(call=call.id, attempt=2)).status == meanwhile
            ran = len(runs)
            frozen.thawed.set()
            with pytest.raises(ApplicationError) as failed:
                await task
        assert failed.value.type == names.NOT_YET
        assert len(runs) == ran


async def stolen(r: StepRunner) -> Any:
    """Take the call over as soon as its lease allows it: the attempt that runs is a zombie then."""
    renew = r.journal.renew_all

    async def never(*args: Any, **options: Any) -> list[Any]:
        return []

    r.journal.renew_all = never  # type: ignore[method-assign]
    while (claim := await r.journal.claim_call(KEY, lease=60)).status == "leased":
        await asyncio.sleep(0.02)
    r.journal.renew_all = renew  # type: ignore[method-assign]
    return claim


@pytest.mark.promise("ISO-2")
async def test_a_tool_knows_its_own_call_in_tasks_and_threads_that_it_starts(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    def note(where: str, name: str) -> None:
        seen.setdefault(name, []).append(f"{where} {current().key} {current().event.content}")

    @tool
    async def spread(name: str) -> str:
        """Look from everywhere."""
        note("body", name)
        await asyncio.gather(asyncio.create_task(in_task(name)), asyncio.to_thread(note, "thread", name))
        return name

    async def in_task(name: str) -> None:
        await asyncio.sleep(0.01)
        note("task", name)

    @tool
    def in_a_thread(name: str) -> str:
        """Look from a thread, and from one that it starts."""
        time.sleep(0.01)
        note("pool", name)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(note, "own", name))
        thread.start()
        thread.join()
        return name

    calls = [ToolCall(f, name=f"{f}{i}") for i in range(10) for f in ("spread", "in_a_thread")]
    async with rig(tmp_path, [calls], tools=[spread, in_a_thread]) as r:
        await r.tools(await r.ask(content="canary"))
    for index, call in enumerate(calls):
        key = SESSION.turn("e1").step(0, index)
        assert len(seen[call.args["name"]]) in (2, 3)
        assert {line.partition(" ")[2] for line in seen[call.args["name"]]} == {f"{key} canary"}
    with pytest.raises(InturnError, match="no tool call runs here"):
        current()


@pytest.mark.promise("EFF-6")
async def test_tools_without_async_run_in_a_bounded_number_of_threads(tmp_path: Path) -> None:
    lock, running, most = threading.Lock(), 0, 0

    @tool
    def block() -> str:
        """Block."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return "ok"

    async with rig(tmp_path, [[ToolCall("block")] * 12], tools=[block], bounds=Bounds(threads=3)) as r:
        results = await r.tools(await r.ask())
        assert {x.status for x in results} == {"ok"}
    assert most == 3


@pytest.mark.promise("EFF-6")
async def test_where_no_more_threads_may_hang_the_next_call_comes_back_later(tmp_path: Path) -> None:
    go = threading.Event()

    @tool(timeout=0.05)
    def hang() -> str:
        """Hang."""
        go.wait(WAIT)
        return "late"

    bounds = Bounds(threads=1, all_threads=1, hung_threads=0, thread_wait=0.05, beat=0.01, lease=0.1)
    async with rig(tmp_path, [[ToolCall("hang"), ToolCall("hang")]], tools=[hang], bounds=bounds) as r:
        first, second = (await r.ask()).calls
        assert (await r.tool(call=first.id)).status == "timeout"
        with pytest.raises(ApplicationError, match="all 1 threads for tools are taken") as failed:
            await r.tool(call=second.id, index=1)
        assert (failed.value.type, failed.value.non_retryable) == (names.NOT_YET, False)
        go.set()
        async with asyncio.timeout(WAIT):
            while True:
                try:
                    ended = await r.tool(call=second.id, index=1, attempt=2)
                    break
                except ApplicationError:
                    pass
        assert ended.status == "ok"
        assert [b["status"] for b in await r.bodies("agent.tool_result")] == ["timeout", "ok"]


@pytest.mark.promise("EFF-4")
async def test_a_thread_that_ends_after_its_call_was_abandoned_changes_nothing_and_is_remembered(
    tmp_path: Path,
) -> None:
    begun, go, kept = threading.Event(), threading.Event(), asyncio.Event()

    @tool
    def pay() -> str:
        """Pay."""
        begun.set()
        go.wait(WAIT)
        return "paid after all"

    async with rig(tmp_path, [ToolCall("pay")], tools=[pay]) as r:
        [call] = (await r.ask()).calls
        finish = r.journal.finish
        late: list[Any] = []

        async def seen(*args: Any, **options: Any) -> Position:
            try:
                return await finish(*args, **options)
            except Superseded:
                late.append(args[2])
                raise
            finally:
                kept.set()

        r.journal.finish = seen  # type: ignore[method-assign]
        made = environment(KEY)
        task = asyncio.create_task(made.run(r.steps.run_tool, ToolInput(call=call.id)))
        async with asyncio.timeout(WAIT):
            await asyncio.to_thread(begun.wait, WAIT)
            made.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await r.record(settle=["e1"])
            go.set()
            await kept.wait()
        assert [b["status"] for b in await r.bodies("agent.tool_result")] == ["interrupted"]
        assert late == [{"status": "ok", "text": "paid after all"}]


async def test_progress_and_checkpoints_are_written_from_tasks_and_from_threads(tmp_path: Path) -> None:
    @tool
    async def in_task(ctx: ToolContext) -> str:
        """Report."""
        await ctx.progress("half", 1, 2)
        await ctx.checkpoint([1])
        return "ok"

    @tool
    def in_thread(ctx: ToolContext) -> str:
        """Report."""
        ctx.progress("x" * 5_000)
        ctx.checkpoint([2])
        asyncio.run(own_loop(ctx))
        return "ok"

    async def own_loop(ctx: ToolContext) -> None:
        await ctx.progress("from a loop of its own")

    async with rig(tmp_path, [[ToolCall("in_task"), ToolCall("in_thread")]], tools=[in_task, in_thread]) as r:
        assert [x.status for x in await r.tools(await r.ask())] == ["ok", "ok"]
        reported = {(b["text"][:10], b.get("done"), b.get("total")) for b in await r.bodies("tool.progress")}
        assert reported == {("half", 1, 2), ("xxxxxxxxxx", None, None), ("from a loo", None, None)}
        assert max(len(b["text"]) for b in await r.bodies("tool.progress")) == 1_000


async def test_a_checkpoint_that_is_too_large_is_an_error_of_the_tool(tmp_path: Path) -> None:
    @tool
    async def hoard(ctx: ToolContext) -> str:
        """Keep too much."""
        await ctx.checkpoint("x" * 300_000)
        return "kept"

    ends, body = await one(tmp_path, hoard)
    assert ends[0].status == "error"
    assert "too large" in body["text"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_tool_that_exits_ends_its_call_and_not_the_worker(tmp_path: Path, kind: str) -> None:
    @tool(name="leave")
    async def leave() -> str:
        """Exit."""
        raise SystemExit(3)

    @tool(name="leave")
    def leave_thread() -> str:
        """Exit."""
        raise SystemExit(3)

    ends, body = await one(tmp_path, leave if kind == "async" else leave_thread)
    assert ends[0].status == "error"
    assert "exit(3)" in body["text"]


async def test_a_tool_that_cancels_itself_gets_an_error_result(tmp_path: Path) -> None:
    @tool
    async def odd() -> str:
        """Raise what only others may."""
        raise asyncio.CancelledError

    ends, _ = await one(tmp_path, odd)
    assert ends[0].status == "error"


async def test_the_context_says_whose_call_it_is_and_what_the_event_was(tmp_path: Path) -> None:
    seen: list[ToolContext] = []

    @tool
    async def look(ctx: ToolContext) -> str:
        """Look."""
        seen.append(ctx)
        return "seen"

    event = {"event_id": "e1", "content": "hi", "source": "slack", "sender": "ann", "metadata": {"channel": "C1"}}
    async with rig(tmp_path, [ToolCall("look")], tools=[look]) as r:
        await r.tools(await r.ask(event=event))
    [ctx] = seen
    assert (ctx.tenant, ctx.session_id, ctx.turn, ctx.key) == ("acme", "s1", "e1", "acme/s1/e1/0/0")
    assert (ctx.event.event_id, ctx.event.source, ctx.event.sender) == ("e1", "slack", "ann")
    assert ctx.event.metadata == {"channel": "C1"}
    assert ctx.last_checkpoint is None


async def test_an_unreachable_journal_keeps_the_call_waiting_and_not_failing(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call] = (await r.ask()).calls
        claim = r.journal.claim_call

        async def away(*args: Any, **options: Any) -> Any:
            raise JournalUnavailable("disk full")

        r.journal.claim_call = away  # type: ignore[method-assign]
        with pytest.raises(ApplicationError) as failed:
            await r.tool(call=call.id, attempt=900)
        assert (failed.value.type, failed.value.non_retryable) == (names.OUTAGE, False)
        r.journal.claim_call = claim  # type: ignore[method-assign]
        assert (await r.tool(call=call.id, attempt=901)).status == "ok"


async def test_a_result_is_held_while_the_journal_is_away_for_a_moment(tmp_path: Path) -> None:
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add]) as r:
        [call] = (await r.ask()).calls
        finish, tries = r.journal.finish, 0

        async def away(*args: Any, **options: Any) -> Position:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise JournalUnavailable("database is locked")
            return await finish(*args, **options)

        r.journal.finish = away  # type: ignore[method-assign]
        assert (await r.tool(call=call.id)).status == "ok"
        assert tries == 3


async def test_a_result_that_cannot_be_recorded_is_given_up_after_a_while(tmp_path: Path) -> None:
    bounds = Bounds(commit_patience=0.1, lease=0.1)
    async with rig(tmp_path, [ToolCall("add", a=1)], tools=[add], bounds=bounds) as r:
        [call] = (await r.ask()).calls

        async def away(*args: Any, **options: Any) -> Position:
            raise JournalUnavailable("disk full")

        finish = r.journal.finish
        r.journal.finish = away  # type: ignore[method-assign]
        with pytest.raises(ApplicationError) as failed:
            await r.tool(call=call.id)
        assert (failed.value.type, failed.value.non_retryable) == (names.OUTAGE, False)
        r.journal.finish = finish  # type: ignore[method-assign]
        assert (await r.tool(call=call.id, attempt=2)).status == "unknown"
