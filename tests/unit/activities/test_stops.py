"""Notices of stops: the step that is named beats at once, and nothing else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails

from inturn import tool
from inturn.errors import JournalUnavailable
from inturn.keys import StepKey
from inturn.testing import ToolCall
from inturn_activities.bounds import Bounds
from inturn_activities.messages import DeliverInput, ModelInput, ToolInput
from inturn_activities.stops import Stops
from tests.support.steps import SESSION, WAIT, StepRunner, environment, rig

SILENT = Bounds(beat=WAIT * 10, poll=0.005)
"""Nothing beats by itself."""
KEY = SESSION.turn("e1").step(0, 0)


class Answered:
    """A step as the server sees it: its cancel is the answer to the beat `at`."""

    def __init__(self, step: StepKey, run: Callable[[Any], Awaitable[Any]], message: Any, at: int = 2) -> None:
        self.beats = 0
        self._at = at
        self._made = environment(step)
        self._made.on_heartbeat = self._beat
        self.task = asyncio.ensure_future(self._made.run(run, message))

    def _beat(self, *details: Any) -> None:
        if details[1:]:  # of a claim that the cancel overtook: word to the next attempt, which no notice asked for
            return
        self.beats += 1
        if self.beats == self._at:
            self._made.cancel(cancellation_details=ActivityCancellationDetails(cancel_requested=True))

    async def cancelled(self) -> bool:
        async with asyncio.timeout(WAIT):
            await asyncio.wait([self.task])
        return self.task.cancelled()


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.001)


class Endless:
    """A tool or a delivery that ends when it is cancelled."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self, *args: Any) -> str:
        self.runs += 1
        await asyncio.sleep(WAIT * 10)
        return "never"


@asynccontextmanager
async def two_calls(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[StepRunner, list[str], Endless]]:
    body = Endless()

    @tool(locks=["one:{n}"])
    async def work(n: int) -> str:
        """Work for long."""
        return await body()

    calls = [ToolCall("work", n=1), ToolCall("work", n=options.pop("second", 2))]
    async with rig(tmp_path, [calls], tools=[work], bounds=SILENT, **options) as r:
        yield r, [call.id for call in (await r.ask()).calls], body


@pytest.mark.promise("EFF-8")
async def test_a_notice_stops_the_step_that_it_names_and_no_other(tmp_path: Path) -> None:
    async with two_calls(tmp_path) as (r, calls, body):
        named = Answered(KEY, r.steps.run_tool, ToolInput(call=calls[0]))
        other = Answered(SESSION.turn("e1").step(0, 1), r.steps.run_tool, ToolInput(call=calls[1]))
        await soon(lambda: body.runs == 2)
        r.steps.stops.listener()(KEY)
        assert await named.cancelled()
        assert other.beats == 0
        other.task.cancel()
        await asyncio.wait([other.task])


@pytest.mark.promise("EFF-8")
async def test_a_notice_that_comes_before_its_step_is_kept_for_it(tmp_path: Path) -> None:
    async with two_calls(tmp_path) as (r, calls, _body):
        r.steps.stops.listener()(KEY)
        await asyncio.sleep(0)
        named = Answered(KEY, r.steps.run_tool, ToolInput(call=calls[0]))
        assert await named.cancelled()
        assert named.beats == 2


@pytest.mark.promise("EFF-8")
async def test_a_stop_ends_the_wait_for_a_lock(tmp_path: Path) -> None:
    async with two_calls(tmp_path, second=1) as (r, calls, body):
        holder = Answered(SESSION.turn("e1").step(0, 1), r.steps.run_tool, ToolInput(call=calls[1]), at=0)
        await soon(lambda: body.runs == 1)
        waiter = Answered(KEY, r.steps.run_tool, ToolInput(call=calls[0]))
        await soon(lambda: waiter.beats == 1)  # it says what it waits for
        r.steps.stops.listener()(KEY)
        assert await waiter.cancelled()
        assert (body.runs, holder.beats) == (1, 0)
        assert [place.state for place in await r.journal.places()].count("waiting") == 0
        holder.task.cancel()
        await asyncio.wait([holder.task])


@pytest.mark.promise("EFF-8")
async def test_a_stop_ends_a_delivery(tmp_path: Path) -> None:
    deliver = Endless()
    async with rig(tmp_path, ["hello"], deliver=deliver, bounds=SILENT) as r:
        await r.ask()
        key = SESSION.turn("e1").step("deliver")
        step = Answered(key, r.steps.deliver, DeliverInput())
        await soon(lambda: deliver.runs == 1)
        r.steps.stops.listener()(key)
        assert await step.cancelled()


@pytest.mark.promise("EFF-8")
async def test_a_stop_ends_a_wait_before_the_step_has_claimed_anything(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"], bounds=SILENT) as r:
        hung = asyncio.Event()

        async def hangs(*args: Any, **options: Any) -> Any:
            hung.set()
            await asyncio.sleep(WAIT * 10)

        r.journal.claim_model = hangs  # type: ignore[method-assign]
        key = SESSION.turn("e1").step(0)
        step = Answered(key, r.steps.call_model, ModelInput(event={"event_id": "e1", "content": "hi"}))
        await hung.wait()
        r.steps.stops.listener()(key)
        assert await step.cancelled()


@pytest.mark.promise("EFF-8")
async def test_a_step_in_another_process_finds_its_notice_in_the_journal(tmp_path: Path) -> None:
    async with two_calls(tmp_path) as (r, calls, body):
        named = Answered(KEY, r.steps.run_tool, ToolInput(call=calls[0]))
        other = Answered(SESSION.turn("e1").step(0, 1), r.steps.run_tool, ToolInput(call=calls[1]))
        await soon(lambda: body.runs == 2)
        elsewhere = StepRunner(r.journal, r.model, r.agents)
        elsewhere.steps.stops.listener()(KEY)
        assert await named.cancelled()
        assert other.beats == 0
        other.task.cancel()
        await asyncio.wait([other.task])


async def test_a_journal_that_is_away_costs_only_the_notice() -> None:
    asked = asyncio.Event()

    class Away:
        async def stop(self, step: StepKey) -> None:
            asked.set()
            raise JournalUnavailable("away")

    Stops(Away()).listener()(KEY)  # type: ignore[arg-type]
    async with asyncio.timeout(WAIT):
        await asked.wait()


async def test_a_notice_after_the_loop_has_ended_is_heard_by_nobody() -> None:
    def ended() -> Callable[[StepKey], None]:
        async def listener() -> Callable[[StepKey], None]:
            return Stops(None).listener()  # type: ignore[arg-type]

        return asyncio.run(listener())

    hear = await asyncio.to_thread(ended)
    hear(KEY)
