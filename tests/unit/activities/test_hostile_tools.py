"""Whatever a tool returns or raises costs its own call, never the worker, the session or the effect that it had."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from temporalio.exceptions import ApplicationError

from inturn import names, sizes
from inturn.errors import ToolError
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn_activities.bounds import Bounds
from tests.support.steps import SESSION, StepRunner, rig

BOUNDS = Bounds(beat=0.01, lease=0.05, leased_wait=5, losses=3)


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnspeakableError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def _endless() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


RESULTS: dict[str, Any] = {
    "endless": _endless(),
    "unspeakable": Unspeakable(),
    "bytes": b"\xff\x00",
    "half a character": {"text": "\ud800"},
    "an image of bytes": [{"type": "image", "source": {"data": b"\xff"}}],
    "a long number": {"n": 10**5000, "b": b"\xff"},
}


@pytest.mark.promise("EFF-4")
@pytest.mark.parametrize("kind", RESULTS)
async def test_a_result_that_cannot_be_written_is_still_the_result_of_a_call_that_worked(
    tmp_path: Path, kind: str
) -> None:
    @tool
    async def give() -> Any:
        """Give something odd."""
        return RESULTS[kind]

    async with rig(tmp_path, [ToolCall("give")], tools=[give]) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "ok"
        [body] = await r.bodies("agent.tool_result")
        assert body["text"]


@pytest.mark.promise("EFF-4")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BaseException, UnspeakableError])
@pytest.mark.parametrize("threaded", [False, True])
async def test_whatever_a_tool_raises_ends_its_call_and_not_the_worker(
    tmp_path: Path, error: type[BaseException], threaded: bool
) -> None:
    @tool(name="break_it")
    async def in_the_loop() -> str:
        """Break."""
        raise error

    @tool(name="break_it")
    def in_a_thread() -> str:
        """Break."""
        raise error

    async with rig(tmp_path, [ToolCall("break_it")], tools=[in_a_thread if threaded else in_the_loop]) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"


class Order(BaseModel):
    """An argument with a check of its own that breaks."""

    n: int

    @field_validator("n")
    @classmethod
    def _check(cls, n: int) -> int:
        raise KeyError(n)


@pytest.mark.promise("SEC-4")
async def test_a_validator_that_breaks_costs_its_call_and_not_the_answer_that_was_paid_for(tmp_path: Path) -> None:
    @tool
    async def ship(order: Order) -> str:
        """Ship."""
        return "shipped"

    async with rig(tmp_path, [ToolCall("ship", order={"n": 1})], tools=[ship]) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"


@pytest.mark.promise("ACC-12")
async def test_a_delivery_that_fails_with_a_long_error_says_so_in_few_words(tmp_path: Path) -> None:
    async def deliver(out: object, ctx: object) -> None:
        raise ToolError("x" * 5_000_000)

    async with rig(tmp_path, ["hi"], deliver=deliver) as r:
        await r.ask()
        with pytest.raises(ApplicationError) as failed:
            await r.deliver()
        assert failed.value.non_retryable
        assert len(failed.value.message) <= sizes.STEP_FAILURE


async def _lose(r: StepRunner, times: int) -> None:
    for _ in range(times):
        await r.journal.claim_call(SESSION.turn("e1").step(0, 0), lease=0.001, begin=True)
        await asyncio.sleep(0.002)


@pytest.mark.promise("EFF-5")
async def test_a_call_that_kills_its_worker_each_time_is_given_up(tmp_path: Path) -> None:
    ran: list[int] = []

    @tool(idempotent=True)
    async def deadly() -> str:
        """Kill the worker, but for the times that a test pretends it did."""
        ran.append(1)
        return "alive"

    async with rig(tmp_path, [ToolCall("deadly")], tools=[deadly], bounds=BOUNDS) as r:
        result = await r.ask()
        await _lose(r, 3)
        [ended] = await r.tools(result)
        assert ended.status == "unknown"
        assert ran == []


@pytest.mark.promise("SUR-1")
async def test_a_call_whose_worker_died_a_few_times_still_runs(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def unlucky() -> str:
        """Run at last."""
        return "alive"

    async with rig(tmp_path, [ToolCall("unlucky")], tools=[unlucky], bounds=BOUNDS) as r:
        result = await r.ask()
        await _lose(r, 2)
        [ended] = await r.tools(result)
        assert ended.status == "ok"


@pytest.mark.promise("SUR-3")
async def test_a_model_step_that_kills_its_worker_each_time_fails_for_good(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hi", "hi"], bounds=BOUNDS) as r:
        for _ in range(3):
            await r.journal.claim_model(SESSION.turn("e1").step(0), [])
        with pytest.raises(ApplicationError, match="crashed its worker") as failed:
            await r.ask(attempt=4)
        assert failed.value.non_retryable
        assert failed.value.type == names.OWN_FAILURE
        assert (await r.ask("e2")).stop == "end_turn"
