"""Whatever a tool returns or raises costs its own call, never the worker, the session or the effect that it had."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, computed_field, field_validator
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


def _no_context(_: object) -> type:
    raise RuntimeError("working outside of its context")


Detached = type("Detached", (), {"__class__": property(_no_context)})
"""A proxy out of its context: it raises even where it is asked what it is."""


@dataclasses.dataclass(slots=True)
class Slotted:
    """Its field is read when it is shown; a broken copy has none."""

    field: int


class Texted(str):
    """A text with methods of its own."""

    __slots__ = ()

    def strip(self, *args: Any) -> str:
        """Fail."""
        raise RuntimeError("no")

    encode = __str__ = strip  # type: ignore[assignment]


class Mapped(dict[str, Any]):
    """A mapping whose rows are gone."""

    def items(self) -> Any:
        """Fail."""
        raise RuntimeError("the cursor is closed")

    __iter__ = values = items


class Exits:
    """Its text ends the process."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Computed(BaseModel):
    """Has a field that is worked out where it is shown."""

    @computed_field
    def total(self) -> int:
        """Fail."""
        raise SystemExit(4)


LAZY: dict[str, Any] = {
    "a proxy": Detached,
    "in a list": lambda: [Detached()],
    "half made": lambda: Slotted.__new__(Slotted),
    "a text": lambda: Texted("x"),
    "a mapping": lambda: Mapped(a=1),
    "exits": Exits,
    "many that exit": lambda: {"rows": [Exits()] * 3},
    "computed": Computed,
    "yielded": lambda: iter([Slotted.__new__(Slotted)]),
}


@pytest.mark.promise("EFF-4")
@pytest.mark.parametrize("kind", LAZY)
@pytest.mark.parametrize("threaded", [False, True])
async def test_a_call_that_worked_is_no_failure_for_what_its_result_raises_when_it_is_looked_at(
    tmp_path: Path, kind: str, threaded: bool
) -> None:
    @tool(name="give")
    async def in_the_loop() -> Any:
        """Give something that raises where it is looked at."""
        return LAZY[kind]() if kind != "yielded" else [*LAZY[kind]()]

    @tool(name="give")
    def in_a_thread() -> Any:
        """Give something that raises where it is looked at."""
        return LAZY[kind]()

    async with rig(tmp_path, [ToolCall("give"), "done"], tools=[in_a_thread if threaded else in_the_loop]) as r:
        [result] = await r.tools(await r.ask())
        [body] = await r.bodies("agent.tool_result")
        assert result.status == "ok", body
        assert body["text"]
        assert (await r.ask(step=1)).stop == "end_turn"


@pytest.mark.promise("EFF-4")
async def test_what_a_generator_raises_is_its_bodys_own_end(tmp_path: Path) -> None:
    @tool
    def rows() -> Any:
        """Yield, then fail."""
        yield 1
        raise KeyError("the third row")

    async with rig(tmp_path, [ToolCall("rows")], tools=[rows]) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"
        assert "the third row" in (await r.bodies("agent.tool_result"))[0]["text"]
