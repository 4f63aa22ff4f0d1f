"""What hangs, blocks or never ends costs its own call: the event loop and the threads of others go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, field_validator
from temporalio.exceptions import ApplicationError

from inturn.errors import Retry, ToolError
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn.tools.threads import Caller, NoThread, Threads
from inturn_activities.bounds import Bounds
from tests.support.steps import SESSION, WAIT, rig

BOUNDS = Bounds(
    beat=0.01, lease=0.1, leased_wait=5, threads=8, all_threads=16, hung_threads=32, check=0.2, thread_wait=5
)
KEY = SESSION.turn("e1").step(0, 0)
GONE = threading.Event()
"""Set at the end: what hung in these tests ends with them."""


@pytest.fixture(autouse=True, scope="module")
def _released() -> Iterator[None]:
    yield
    GONE.set()


@tool(timeout=0.1)
def hang() -> str:
    """Hang."""
    GONE.wait(WAIT * 3)
    return "late"


@tool
def work() -> str:
    """Work."""
    return "worked"


async def _lag(of: Any) -> tuple[Any, float]:
    """Run something; returns its result, and for how long the event loop stood still meanwhile."""
    lag, last = 0.0, time.monotonic()

    async def look() -> None:
        nonlocal lag, last
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            lag, last = max(lag, now - last), now

    looking = asyncio.create_task(look())
    try:
        return await of, lag
    finally:
        looking.cancel()


# F1: threads.


@pytest.mark.promise("SUR-17")
async def test_more_hung_calls_than_there_are_threads_stop_nobody_and_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path, [[ToolCall("hang")] * 16, ToolCall("work")], tools=[hang, work], bounds=BOUNDS) as r:
        with caplog.at_level(logging.WARNING):
            hung = await r.tools(await r.ask())
        assert {result.status for result in hung} == {"timeout"}
        pools = r.steps.pools
        assert pools.tools.hung.total() >= 8
        assert "threads hang:" in pools.trouble()
        assert "goes on after its call has ended" in caplog.text
        [result] = await r.tools(await r.ask("e2"), "e2")
        assert result.status == "ok"
        assert not pools.full


@pytest.mark.promise("SUR-17")
async def test_calls_that_hang_until_their_timeout_leave_threads_for_other_sessions_and_tools() -> None:
    threads = Threads(64, share=16, spare=64)
    stuck = [asyncio.create_task(_hang(threads, Caller("acme", "t", "s1"))) for _ in range(40)]
    stuck += [asyncio.create_task(_hang(threads, Caller("acme", "u", f"v{m}"))) for m in range(9)]
    await asyncio.sleep(0.1)
    for caller in (Caller("acme", "t", "s2"), Caller("acme", "other", "s1"), Caller("globex", "t", "s1")):
        assert await threads.call(lambda: "ran", timeout=WAIT, caller=caller) == "ran"
    many = [Caller("acme", f"w{n}", f"v{m}") for n in range(20) for m in range(9)]
    stuck += [asyncio.create_task(_hang(threads, caller)) for caller in many]
    await asyncio.sleep(0.1)
    for caller in (Caller("globex", "t", "s1"), Caller("globex", "w1", "s1")):
        assert await threads.call(lambda: "ran", timeout=WAIT, caller=caller) == "ran"
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def _hang(threads: Threads, caller: Caller) -> None:
    async with threads.slot(wait=WAIT, caller=caller) as slot:
        await slot.run(lambda: GONE.wait(WAIT * 3))


@pytest.mark.promise("EFF-6")
async def test_threads_that_hang_are_bounded_and_the_worker_says_when_they_fill_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads, go = Threads(4, share=4, spare=2), threading.Event()
    for n in range(6):
        with pytest.raises(TimeoutError):
            await threads.call(lambda: go.wait(WAIT), timeout=0.05, caller=Caller(f"t{n}", "t", "s"))
    assert threads.hung.total() == 6
    assert threads.full
    assert "threads that hang fill this worker" in caplog.text
    with pytest.raises(NoThread, match="6 threads hang"):
        await threads.call(int, timeout=0.05)
    go.set()
    assert await threads.call(int, timeout=WAIT) == 0
    async with asyncio.timeout(WAIT):
        while threads.hung.total():
            await asyncio.sleep(0.01)
    assert not threads.full


@pytest.mark.promise("SUR-17")
async def test_a_delivery_has_threads_of_its_own_and_so_have_checks(tmp_path: Path) -> None:
    delivered: list[str] = []

    def deliver(out: Any, ctx: Any) -> None:
        delivered.append(type(out).__name__)

    bounds = Bounds(beat=0.01, lease=0.1, leased_wait=5, threads=2, all_threads=2, hung_threads=0, thread_wait=0.05)
    hang_too = tool(name="hang_too", timeout=hang.timeout)(hang.fn)
    script = [[ToolCall("hang"), ToolCall("hang_too")], "done", ToolCall("careful", n=1)]
    async with rig(tmp_path, script, tools=[hang, hang_too, careful], deliver=deliver, bounds=bounds) as r:
        await r.tools(await r.ask())
        await r.ask(step=1)
        await r.deliver()
        assert delivered == ["Turn"]
        assert (await r.ask("e2")).calls[0].approval is False


@tool
async def careful(n: Annotated[int, AfterValidator(lambda n: n)]) -> str:
    """Have a check of its own."""
    return "ok"


@pytest.mark.promise("SUR-16")
async def test_a_call_whose_tool_has_no_thread_left_ends_with_an_error_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inturn_activities.limits.limits import Limits

    bounds = Bounds(beat=0.01, lease=0.1, leased_wait=5, threads=1, all_threads=1, hung_threads=0, thread_wait=0.05)
    script = [[ToolCall("hang"), ToolCall("work")]]
    async with rig(tmp_path, script, tools=[hang, work], bounds=bounds, limits=Limits(lock_timeout=0.001)) as r:
        first, second = (await r.ask()).calls
        await r.tool(call=first.id)
        with pytest.raises(ApplicationError, match="1 threads hang"):
            await r.tool(call=second.id, index=1)
        ended = await r.tool(call=second.id, index=1, attempt=2)
        assert ended.status == "error"
        assert (
            "The call did not run: all threads that work may have are taken"
            in (await r.bodies("agent.tool_result"))[1]["text"]
        )


# F2: small functions.


def _sleepy(value: Any) -> Any:
    time.sleep(0.6)
    return value


class Sleepy(BaseModel):
    """Takes its time."""

    n: int

    @field_validator("n")
    @classmethod
    def _check(cls, n: int) -> int:
        _sleepy(n)
        return n


def _tool_with(kind: str) -> Any:
    if kind == "validator":

        @tool(name="ship")
        async def ship(order: Sleepy) -> str:
            """Ship."""
            return "shipped"

        return ship
    if kind == "annotated":

        @tool(name="ship")
        async def ship_annotated(order: Annotated[dict[str, Any], AfterValidator(_sleepy)]) -> str:
            """Ship."""
            return "shipped"

        return ship_annotated
    if kind == "predicate":

        @tool(name="ship", approval=lambda a: bool(_sleepy(False)))
        async def ship_asked(order: dict[str, Any]) -> str:
            """Ship."""
            return "shipped"

        return ship_asked

    @tool(name="ship", locks=["order:{order.slow}"])
    async def ship_locked(order: Templated) -> str:
        """Ship."""
        return "shipped"

    return ship_locked


class Templated(BaseModel):
    """Its property takes time."""

    n: int

    @property
    def slow(self) -> str:
        """Sleep."""
        return str(_sleepy(self.n))


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("kind", ["validator", "annotated", "predicate", "template"])
async def test_small_functions_of_a_tool_run_beside_the_event_loop_within_their_time(tmp_path: Path, kind: str) -> None:
    fn = _tool_with(kind)
    assert not fn.plain
    async with rig(tmp_path, [ToolCall("ship", order={"n": 1})], tools=[fn], bounds=BOUNDS) as r:
        result, lag = await _lag(r.ask())
        assert lag < 0.4
        [call] = result.calls
        assert call.approval is (kind == "predicate")  # what cannot be judged is asked for
        ended, lag = await _lag(r.tool(call=call.id))
        assert lag < 0.4
        assert ended.status == "error"
        assert "could not be checked in time" in (await r.bodies("agent.tool_result"))[0]["text"]


RAISED: list[type[BaseException]] = []


def _raise(value: int) -> int:
    raise RAISED[0]


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, KeyError])
async def test_whatever_a_check_raises_is_the_calls_own_end(tmp_path: Path, raised: type[BaseException]) -> None:
    @tool(name="ship")
    async def ship(n: Annotated[int, AfterValidator(_raise)]) -> str:
        """Ship."""
        return "shipped"

    RAISED[:] = [raised]
    async with rig(tmp_path, [ToolCall("ship", n=1)], tools=[ship], bounds=BOUNDS) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("kind", ["blocks", "hangs", "exits", "cancels itself", "is async and exits"])
async def test_a_lookup_runs_beside_the_event_loop_within_the_calls_time(tmp_path: Path, kind: str) -> None:
    def look(key: str) -> str | None:
        if kind == "exits":
            raise SystemExit
        if kind == "cancels itself":
            raise asyncio.CancelledError
        time.sleep(0.3 if kind == "blocks" else 2)
        return f"found {key}"

    async def look_async(key: str) -> str | None:
        raise SystemExit

    @tool(lookup=look_async if "async" in kind else look, timeout=0.6, retries=0)
    async def pay() -> str:
        """Pay."""
        return "paid"

    async with rig(tmp_path, [ToolCall("pay")], tools=[pay], bounds=BOUNDS) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(KEY, lease=0.001, begin=True)
        await asyncio.sleep(0.002)
        ended, lag = await _lag(r.tool(call=call.id))
        assert lag < 0.25
        assert ended.status == ("ok" if kind == "blocks" else "unknown")


@pytest.mark.promise("EFF-5")
async def test_checks_that_run_nobodys_code_need_no_thread(tmp_path: Path) -> None:
    @tool(locks=["order:{order}"])
    async def ship(order: str, lines: list[int], much: dict[str, Any] | None = None) -> str:
        """Ship."""
        return "shipped"

    assert ship.plain
    async with rig(tmp_path, [ToolCall("ship", order="1", lines=[1])], tools=[ship], bounds=BOUNDS) as r:

        async def never(*args: Any, **options: Any) -> Any:
            raise AssertionError("a thread was asked for")

        r.steps.pools.checks.call = never  # type: ignore[method-assign]
        [result] = await r.tools(await r.ask())
        assert result.status == "ok"


# F3: what yields.


def _counting() -> Iterator[int]:
    """Count."""
    yield from itertools.count()


def _naming() -> Iterator[dict[str, Any]]:
    """Name."""
    for n in range(3):
        yield {"n": n}


def _lazily() -> Any:
    """Give an iterator, and be none."""
    return (str(n) for n in range(3))


def _deep() -> Any:
    """Hide one."""
    return {"rows": [(n for n in range(2)), map(str, [1])]}


def _deep_endless() -> Any:
    """Hide one that does not end."""
    return {"rows": ("x" * 1_000 for _ in itertools.count())}


async def _async_naming() -> AsyncIterator[str]:
    """Name."""
    for n in range(3):
        await asyncio.sleep(0)
        yield f"line {n}"


async def _async_counting() -> AsyncIterator[int]:
    """Count."""
    for n in itertools.count():
        yield n


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize(
    ("fn", "status", "text"),
    [
        (_naming, "ok", '[{"n":0},{"n":1},{"n":2}]'),
        (_lazily, "ok", '["0","1","2"]'),
        (_deep, "ok", '{"rows":[[0,1],["1"]]}'),
        (_async_naming, "ok", '["line 0","line 1","line 2"]'),
        (_counting, "error", "The tool was stopped"),
        (_deep_endless, "error", "The tool was stopped"),
        (_async_counting, "error", "The tool was stopped"),
    ],
)
async def test_a_tool_that_yields_is_run_to_its_end_or_to_what_a_result_may_hold(
    tmp_path: Path, fn: Callable[..., Any], status: str, text: str
) -> None:
    give = tool(name="give")(fn)
    async with rig(tmp_path, [ToolCall("give")], tools=[give], bounds=BOUNDS) as r:
        results, lag = await _lag(r.tools(await r.ask()))
        assert lag < 0.4
        assert results[0].status == status
        assert (await r.bodies("agent.tool_result"))[0]["text"].startswith(text)


@pytest.mark.promise("EFF-5")
async def test_a_generator_is_stopped_with_its_call(tmp_path: Path) -> None:
    given = 0

    @tool(timeout=0.1)
    def slowly() -> Iterator[int]:
        """Go on for ever."""
        nonlocal given
        while True:
            time.sleep(0.01)
            given += 1
            yield given

    async with rig(tmp_path, [ToolCall("slowly")], tools=[slowly], bounds=BOUNDS) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "timeout"
        async with asyncio.timeout(WAIT):
            while r.steps.pools.tools.hung.total():
                await asyncio.sleep(0.01)


# F4: wrappers and odd callables.


def _blocking(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.5)
        return fn(*args, **kwargs)

    return wrapper


class Callable_:
    """An object; its call is async."""

    async def __call__(self) -> str:
        """Call."""
        return "called"

    @classmethod
    async def of_class(cls) -> str:
        """Belong to the class."""
        return "class"

    @staticmethod
    def of_nobody() -> str:
        """Belong to nobody."""
        return "static"

    @_blocking
    async def method(self) -> str:
        """Belong to the object."""
        return "method"


async def _plain() -> str:
    """Be plain."""
    return "plain"


def _returns_coroutine() -> Any:
    """Give a coroutine, and be none."""
    return _plain()


ODD: dict[str, tuple[Any, str]] = {
    "wrapped": (_blocking(_plain), "plain"),
    "coroutine of a sync function": (_returns_coroutine, "plain"),
    "partial": (functools.partial(_plain), "plain"),
    "partial of a wrapped one": (functools.partial(_blocking(_plain)), "plain"),
    "object": (Callable_(), "called"),
    "classmethod": (Callable_.of_class, "class"),
    "staticmethod": (Callable_.of_nobody, "static"),
    "wrapped method": (Callable_().method, "method"),
    "lambda": (lambda: _plain(), "plain"),
}


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("kind", ODD)
async def test_decorators_and_odd_callables_never_hold_up_the_loop(tmp_path: Path, kind: str) -> None:
    fn, text = ODD[kind]
    give = tool(name="give")(fn)
    async with rig(tmp_path, [ToolCall("give")], tools=[give], bounds=BOUNDS) as r:
        results, lag = await _lag(r.tools(await r.ask()))
        assert lag < 0.4
        assert results[0].status == "ok"
        assert (await r.bodies("agent.tool_result"))[0]["text"] == text


@pytest.mark.promise("SUR-17")
async def test_what_belongs_to_another_loop_costs_its_call(tmp_path: Path) -> None:
    other = asyncio.new_event_loop()
    try:

        @tool
        async def wait_there() -> Any:
            """Wait for what this loop never hears of."""
            return await other.create_future()

        @tool
        def give_it() -> Any:
            """Give it back."""
            return other.create_future()

        calls = [ToolCall("wait_there"), ToolCall("give_it")]
        async with rig(tmp_path, [calls], tools=[wait_there, give_it], bounds=BOUNDS) as r:
            results = await r.tools(await r.ask())
            assert [result.status for result in results] == ["error", "error"]
    finally:
        other.close()


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize(
    "raised", [GeneratorExit, asyncio.CancelledError, RecursionError, MemoryError, StopIteration, StopAsyncIteration]
)
@pytest.mark.parametrize("threaded", [False, True])
async def test_other_odd_ends_are_the_calls_own(tmp_path: Path, raised: type[BaseException], threaded: bool) -> None:
    @tool(name="odd")
    async def odd() -> str:
        """Be odd."""
        raise raised

    @tool(name="odd")
    def odd_thread() -> str:
        """Be odd."""
        raise raised

    async with rig(tmp_path, [ToolCall("odd")], tools=[odd_thread if threaded else odd], bounds=BOUNDS) as r:
        [result] = await r.tools(await r.ask())
        assert result.status == "error"


# F5: numbers from outside.


@pytest.mark.promise("SUR-17", "SUR-12")
@pytest.mark.parametrize(
    ("after", "seconds"),
    [(1.8e9, 3600), (float("inf"), 3600), (2**80, 3600), (float("nan"), 1), (-5, 0), ("soon", 1), (True, 1), (30, 30)],
)
async def test_a_wait_that_a_tool_asks_for_is_bounded_and_shown(tmp_path: Path, after: Any, seconds: float) -> None:
    @tool
    async def later() -> str:
        """Ask for another time."""
        raise Retry("not now", after=after)

    async with rig(tmp_path, [ToolCall("later")], tools=[later], bounds=BOUNDS) as r:
        [call] = (await r.ask()).calls
        with pytest.raises(ApplicationError, match=rf"not now \(again in {seconds} s, as it asked\)") as failed:
            await r.tool(call=call.id)
        assert failed.value.next_retry_delay is not None
        assert failed.value.next_retry_delay.total_seconds() == seconds


@pytest.mark.promise("EFF-5")
async def test_numbers_and_the_number_of_reports_of_progress_are_bounded(tmp_path: Path) -> None:
    @tool(idempotent=True)
    async def report(ctx: ToolContext) -> str:
        """Report."""
        odd: Any = "many"
        for done in (1, 0.5, float("nan"), float("inf"), 10**5000, odd):
            await ctx.progress("text", done, total=-(2**2000))
        for n in range(1_100):
            await ctx.progress(str(n))
        return "ok"

    async with rig(tmp_path, [ToolCall("report")], tools=[report], bounds=BOUNDS) as r:
        await r.tools(await r.ask())
        bodies = await r.bodies("tool.progress")
        assert [body.get("done") for body in bodies[:6]] == [1, 0.5, None, None, None, None]
        assert not any("total" in body for body in bodies)
        assert len([None async for _ in r.journal.entries(SESSION, types=("tool.progress",))]) == 1_000


# What a result costs.


class Slow:
    """Takes its time to say what it is."""

    def __str__(self) -> str:
        time.sleep(0.6)
        return "slow"


def _branching() -> list[Any]:
    made: list[Any] = []
    made += [made, made]
    return made


@pytest.mark.promise("SUR-17", "EFF-5")
@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("kind", ["slow", "endless", "large", "cyclic"])
async def test_writing_a_result_down_holds_up_nobody(tmp_path: Path, kind: str, threaded: bool) -> None:
    def made() -> Any:
        if kind == "slow":
            return {"value": Slow()}
        if kind == "endless":
            return {"value": (n for n in itertools.count())}
        return _branching() if kind == "cyclic" else [{"n": n, "text": "x" * 50} for n in range(200_000)]

    @tool(name="give")
    async def give() -> Any:
        """Give."""
        return made() if kind != "large" else await asyncio.to_thread(made)

    @tool(name="give")
    def give_in_thread() -> Any:
        """Give."""
        return made()

    used, lags = give_in_thread if threaded else give, [math.inf]
    while lags[-1] >= 0.5:
        assert len(lags) <= 3, lags  # a busy machine stands still now and then, a worker that is held up each time
        async with rig(tmp_path / str(len(lags)), [ToolCall("give")], tools=[used], bounds=BOUNDS) as r:
            results, lag = await _lag(r.tools(await r.ask()))
            assert results[0].status == ("error" if kind == "endless" else "ok")
        lags.append(lag)


@pytest.mark.promise("SUR-17")
async def test_a_tenant_of_which_nothing_runs_any_more_for_what_hangs_needs_a_restart() -> None:
    threads, gone = Threads(8, share=2, spare=64), threading.Event()

    async def hang(tool: str) -> None:
        with contextlib.suppress(TimeoutError, NoThread):
            await threads.call(lambda: gone.wait(WAIT), timeout=0.05, caller=Caller("t", tool, "s"))

    try:  # each tool beside the places as often as it may, which leaves room there for others', then in them
        for number in range(3):
            for _ in range(20):
                await asyncio.gather(hang(f"tool{number}"), hang(f"tool{number}"), return_exceptions=True)
        assert threads.full
        with pytest.raises(NoThread):
            await threads.call(int, timeout=0.05, caller=Caller("t", "another", "s"))
        assert await threads.call(int, timeout=1, caller=Caller("other", "another", "s")) == 0
    finally:
        gone.set()


class SlowlySaid(Exception):
    """Takes its time to say what it is."""

    def __str__(self) -> str:
        time.sleep(0.6)
        return "at last"


class EndlesslySaid(ToolError):
    """Never says what it is."""

    def __str__(self) -> str:
        GONE.wait(WAIT * 3)
        return "late"


class LongSaid(Exception):
    """Says more than anybody reads."""

    def __str__(self) -> str:
        return "x" * 50_000_000


MANY = [ValueError(str(n)) for n in range(20_000)]
"""Made before anything is measured: to make them has the garbage collector look through all that earlier tests left."""
RAISES: dict[str, Callable[[], BaseException]] = {
    "slow": SlowlySaid,
    "of a slow argument": lambda: ValueError(Lazy()),
    "a slow cause": lambda: _because(ValueError("why"), SlowlySaid()),
    "in a group": lambda: ExceptionGroup("both", [KeyError("a"), SlowlySaid()]),
    "long": LongSaid,
    "a wide group": lambda: ExceptionGroup("many", MANY),
    "endless": EndlesslySaid,
}


class Lazy:
    """Is worked out where somebody asks for its text."""

    def __str__(self) -> str:
        time.sleep(0.6)
        return "at last"

    __repr__ = __str__


def _because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("raises", RAISES)
@pytest.mark.parametrize("threaded", [False, True])
async def test_what_an_error_says_is_worked_out_beside_the_event_loop(
    tmp_path: Path, raises: str, threaded: bool
) -> None:
    @tool(name="fail", timeout=3)
    async def in_the_loop() -> str:
        """Fail."""
        raise RAISES[raises]()

    @tool(name="fail", timeout=3)
    def in_a_thread() -> str:
        """Fail."""
        raise RAISES[raises]()

    bounds = dataclasses.replace(BOUNDS, check=1.5)
    async with rig(tmp_path, [ToolCall("fail")], tools=[in_a_thread if threaded else in_the_loop], bounds=bounds) as r:
        asked = await r.ask()
        [ended], lag = await _lag(r.tools(asked))
        assert ended.status == ("timeout" if raises == "endless" and threaded else "error")
        assert lag < 0.5
