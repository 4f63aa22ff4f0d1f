"""Whatever a user's `deliver` does, its delivery ends once, and neither the worker nor another delivery with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.errors import Retry, ToolError
from inturn.tools import tool
from tests.support.steps import WAIT, rig

pytestmark = pytest.mark.promise("ACC-12", "SUR-17")


class Mute(Exception):
    """Raises where it is asked what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def raising(error: BaseException, *, threaded: bool) -> Callable[..., Any]:
    def deliver(out: Any, ctx: Any) -> None:
        raise error

    async def deliver_async(out: Any, ctx: Any) -> None:
        raise error

    return deliver if threaded else deliver_async


@pytest.mark.parametrize("threaded", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        StopIteration(5),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        BaseException("bare"),
        BaseExceptionGroup("many", [KeyboardInterrupt(), ToolError("no")]),
        Mute(),
        TimeoutError("its own"),
        MemoryError(),
        RecursionError(),
        ToolError("half \ud800 a pair " + "x" * 100_000),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_it_raises_ends_its_own_delivery_for_good(
    tmp_path: Path, error: BaseException, threaded: bool
) -> None:
    async with rig(tmp_path, ["hello"], deliver=raising(error, threaded=threaded)) as r:
        await r.ask()
        for _ in range(2):
            with pytest.raises(ApplicationError, match="delivery failed") as failed:
                await asyncio.wait_for(r.deliver(), WAIT)
            assert failed.value.type == names.OWN_FAILURE
            assert len(failed.value.message) < 3_000
        assert await r.entries("event.delivered") == []


def _sync_generator(out: Any, ctx: Any) -> Any:
    yield "part"


async def _async_generator(out: Any, ctx: Any) -> Any:
    yield "part"


ODD: dict[str, Callable[..., Any]] = {
    "an object": lambda out, ctx: object(),
    "a class": lambda out, ctx: int,
    "bytes": lambda out, ctx: {"a": b"\xff" * 1_000_000},
    "a coroutine": lambda out, ctx: asyncio.sleep(0, "late"),
    "a generator": _sync_generator,
    "an async generator": _async_generator,
}


@pytest.mark.parametrize("what", ODD)
async def test_what_it_returns_is_nobodys_affair(tmp_path: Path, what: str) -> None:
    async with rig(tmp_path, ["hello"], deliver=ODD[what]) as r:
        await r.ask()
        for _ in range(2):
            await asyncio.wait_for(r.deliver(), WAIT)
        assert len(await r.entries("event.delivered")) == 1


@pytest.mark.parametrize("threaded", [False, True], ids=["async", "thread"])
async def test_one_that_hangs_ends_with_its_time_and_the_next_one_goes_out(tmp_path: Path, threaded: bool) -> None:
    hang, gone, out_again = asyncio.Event(), threading.Event(), False

    @tool(timeout=0.2, retries=0)
    def blocking(out: Any, ctx: Any) -> None:
        """Post."""
        if not out_again:
            gone.wait(WAIT)

    @tool(timeout=0.2, retries=0)
    async def waiting(out: Any, ctx: Any) -> None:
        """Post."""
        if not out_again:
            await hang.wait()

    async with rig(tmp_path, ["hello"], deliver=blocking if threaded else waiting) as r:
        await r.ask()
        for _ in range(2):
            with pytest.raises(ApplicationError, match="delivery failed"):
                await asyncio.wait_for(r.deliver(), WAIT)
        out_again = True
        await r.deliver(step="deliver~1")
        assert len(await r.entries("event.delivered")) == 1
    gone.set()


@pytest.mark.parametrize("after", [float("nan"), -5, 1e300, "soon", None, True])
async def test_a_wait_that_it_asks_for_is_bounded(tmp_path: Path, after: Any) -> None:
    async with rig(tmp_path, ["hello"], deliver=raising(Retry("busy", after=after), threaded=False)) as r:
        await r.ask()
        ends = [await _failed(r) for _ in range(4)]
    assert [end.type for end in ends[:2]] == [names.NOT_YET] * 2
    assert all(end.next_retry_delay is not None and end.next_retry_delay.total_seconds() <= 3600 for end in ends[:2])
    assert ends[-1].type == names.OWN_FAILURE


async def _failed(r: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as failed:
        await r.deliver()
    return failed.value
