"""`inturn.testing.run` and a worker: the same script, the same turn."""

from __future__ import annotations

import asyncio
import base64
import functools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from inturn.agents import Agent
from inturn.errors import Retry, ToolError
from inturn.events import Event
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import Answer, ScriptedModel, ToolCall, run
from inturn.tools import Asked, Credentials, Granted, tool
from inturn.tools.context import ToolContext, current
from inturn.turns.budget import Budget
from inturn.values import Approval, Turn, Usage
from tests.support.steps import SESSION, rig
from tests.support.worker_turn import EVENT, WorkerSteps

IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"x").decode()},
}


@dataclass
class Case:
    """One turn; made anew for each side, since tools may remember."""

    tools: Sequence[Any] = ()
    script: Sequence[Any] = ()
    answer: bool | None = None
    event: dict[str, Any] = field(default_factory=lambda: {"content": "hi"})
    usage: Usage | None = None
    resources: Any = None
    agent: dict[str, Any] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)
    """What the tools, or `deliver`, saw."""


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__] = make
    return make


class Model(ScriptedModel):
    """A scripted model that says what it used."""

    def __init__(self, made: Case) -> None:
        super().__init__(made.script)
        self._usage = made.usage

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        message = await super().respond(request, on_delta)
        return ModelMessage(
            content=message.content,
            stop_reason=message.stop_reason,
            usage=self._usage or Usage(input_tokens=1, output_tokens=1),
            model=message.model,
        )


@tool
async def echo(text: str) -> str:
    """Say it."""
    return text


async def by_worker(tmp_path: Path, made: Case) -> tuple[Turn, list[Any], list[Any]]:
    """Run a case by the worker's steps: the turn, what the model was asked, what tools saw."""
    model = Model(made)
    agent = Agent("support", model="m", instructions="Be brief.", tools=made.tools, **made.agent)
    async with rig(tmp_path, model=model, agents=[agent], resources=made.resources) as r:
        turn = await asyncio.wait_for(WorkerSteps(r, agent, made.event, made.answer).run(), 20)
    return turn, [_request(request) for request in model.requests], made.seen


async def by_kit(made: Case) -> tuple[Turn, list[Any], list[Any]]:
    """The same by `inturn.testing.run`."""
    model = Model(made)
    agent = Agent("support", model="m", instructions="Be brief.", tools=made.tools, **made.agent)
    ids: dict[str, Any] = {"tenant": SESSION.tenant, "session_id": SESSION.session_id}

    async def approve(approval: Approval) -> bool:
        while made.answer is None:
            await asyncio.sleep(0.002)
        return made.answer

    event = Event(event_id=EVENT, **made.event)
    options: dict[str, Any] = {"approve": approve, "event": event, "resources": made.resources, **ids}
    turn = await run(agent, event.content, model=model, **options)
    return turn, [_request(request) for request in model.requests], made.seen


def _request(request: ModelRequest) -> dict[str, Any]:
    return {
        "system": request.system,
        "messages": [dict(message) for message in request.messages],
        "tools": request.tools,
        "max_tokens": request.max_tokens,
        "user_id": request.user_id is not None,
    }


# The cases.


@case
def a_plain_answer() -> Case:
    return Case(script=["hello"])


@case
def results_of_every_kind() -> Case:
    @tool
    async def give(kind: str) -> Any:
        """Give."""
        values = {
            "text": "a\nb",
            "empty": "",
            "nothing": None,
            "number": 3,
            "object": {"a": [1, "ä"]},
            "bytes": b"\xff",
        }
        odd = {"set": {1}, "half": "a\ud800b", "nan": [math.nan], "blocks": [{"type": "text", "text": "\ud800"}]}
        return {**values, **odd, "image": [IMAGE], "long": "x" * 40_000}[kind]

    kinds = ("text", "empty", "nothing", "number", "object", "bytes", "image", "long", "set", "half", "nan", "blocks")
    return Case([give], [[ToolCall("give", kind=kind) for kind in kinds], "done"])


@case
def calls_that_cannot_run() -> Case:
    @tool(approval=True)
    async def add(a: int) -> int:
        """Add."""
        return a

    calls = [ToolCall("nope"), ToolCall("add", a="one"), ToolCall("add"), ToolCall("add", a=1, b=2)]
    return Case([add], [calls, "done"], answer=True)


@case
def arguments_that_somebody_changes() -> Case:
    seen: list[Any] = []

    def asks(arguments: Any) -> bool:
        arguments["order"]["seen"] = "by the predicate"
        return True

    @tool(approval=asks)
    async def change(order: dict[str, Any], ctx: ToolContext) -> str:
        """Change."""
        seen.append(dict(order))
        order["seen"] = "by the tool"
        return str(order)

    return Case([change], [ToolCall("change", order={"n": 1}), "done"], answer=True, seen=seen)


@case
def arguments_that_json_cannot_say() -> Case:
    @tool
    async def take(value: Any) -> str:
        """Take."""
        return repr(value)

    return Case([take], [[ToolCall("take", value=value) for value in (math.nan, -math.inf, (1,))], "done"])


@case
def arguments_that_name_no_lock() -> Case:
    @tool(locks=["{a.nothing}"])
    async def add(a: int) -> int:
        """Add."""
        return a

    return Case([add], [ToolCall("add", a=1), "done"])


def check(value: int) -> int:
    raise RuntimeError("the validator's own fault")


@case
def a_validator_that_breaks() -> Case:
    @tool
    async def add(a: Annotated[int, AfterValidator(check)]) -> int:
        """Add."""
        return a

    return Case([add], [ToolCall("add", a=1), "done"])


def _raising(error: Callable[[], BaseException], **options: Any) -> Case:
    attempts: list[int] = []

    @tool(**options)
    async def fail() -> str:
        """Fail."""
        attempts.append(1)
        raise error()

    return Case([fail], [ToolCall("fail"), "done"], seen=attempts)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "a_tool_error": lambda: ToolError("no such order"),
    "half_a_character": lambda: ToolError("a\ud800"),
    "an_empty_tool_error": lambda: ToolError(""),
    "a_retry": lambda: Retry("not yet", after=0.0),
    "a_bug": lambda: ValueError("oops\nand more"),
    "a_bug_without_words": ValueError,
    "a_mute_error": Mute,
    "a_long_error": lambda: ValueError("x" * 2_000),
    "its_own_timeout": lambda: TimeoutError("of the bank"),
    "its_own_timeout_without_words": TimeoutError,
    "its_own_cancel": asyncio.CancelledError,
    "an_exit": lambda: SystemExit(3),
    "an_interrupt": KeyboardInterrupt,
    "a_group": lambda: ExceptionGroup("two", [ValueError("x"), ValueError("y")]),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "_when_idempotent": {"idempotent": True},
    "_when_idempotent_once": {"idempotent": True, "retries": 0},
}
for _error, _raise in ERRORS.items():
    for _name, _options in OPTIONS.items():
        CASES[_error + _name] = functools.partial(_raising, _raise, **_options)


@case
def a_failure_that_passes() -> Case:
    attempts: list[int] = []

    @tool(idempotent=True)
    async def fail() -> str:
        """Fail twice."""
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("away")
        return "at last"

    return Case([fail], [ToolCall("fail"), "done"], seen=attempts)


def _hanging(**options: Any) -> Case:
    @tool(timeout=0.05, **options)
    async def hang() -> None:
        """Hang."""
        await asyncio.Event().wait()

    return Case([hang], [ToolCall("hang"), "done"])


CASES["a_timeout"] = _hanging
CASES["a_timeout_when_idempotent"] = functools.partial(_hanging, idempotent=True)


@case
def a_thread_that_hangs() -> Case:
    release = threading.Event()

    @tool(timeout=0.05)
    def hang() -> None:
        """Hang."""
        release.wait(5)

    return Case([hang], [ToolCall("hang"), "done"])


@case
def tools_in_threads() -> Case:
    seen: list[Any] = []

    @tool
    def where(kind: str, ctx: ToolContext) -> Any:
        """Tell."""
        seen.append((threading.current_thread() is threading.main_thread(), current().call_id == ctx.call_id))
        ctx.progress("half")
        ctx.checkpoint({"at": 1})
        if kind == "stop":
            raise StopIteration("early")
        if kind == "exit":
            sys.exit(2)
        return asyncio.run(ctx.shared.incr("calls"))

    return Case([where], [ToolCall("where", kind=kind) for kind in ("count", "stop", "exit")] + ["done"], seen=seen)


@case
def a_tool_that_gives_something_to_await() -> Case:
    async def later() -> str:
        return "later"

    @tool
    def plain() -> Any:
        """Give a coroutine."""
        return later()

    return Case([plain], [ToolCall("plain"), "done"])


@case
def the_context() -> Case:
    seen: list[Any] = []

    @tool(locks=["order:{order}"], approval=lambda a: a["order"] == 2)
    async def look(order: int, ctx: ToolContext) -> str:
        """Look."""
        event = ctx.event
        seen.append((ctx.tenant, ctx.session_id, ctx.turn, ctx.key, ctx.resources, ctx.last_checkpoint))
        seen.append((event.event_id, event.content, event.source, event.sender, event.metadata))
        seen.append(ctx.fence > 0)
        async with ctx.lock("mine") as lock:
            seen.append(lock.fence > 0)
        return ctx.key

    script = [ToolCall("look", order=1), [ToolCall("nope"), ToolCall("look", order=2)], "done"]
    return Case([look], script, answer=True, resources={"db": 1}, seen=seen)


@case
def the_event() -> Case:
    seen: list[Any] = []

    @tool
    async def look(ctx: ToolContext) -> None:
        """Look."""
        seen.append(ctx.event.model_dump())

    fields = {"source": "slack", "sender": "ann", "sent_at": 5.0, "metadata": {"channel": "C1"}}
    way_in = {"sequence": 3, "when_busy": "steer", "expires_after": 60.0, "agent": "support"}
    content = [{"type": "text", "text": "see"}, {"type": "text", "text": " "}, IMAGE]
    return Case([look], [ToolCall("look"), "done"], event={"content": content, **fields, **way_in}, seen=seen)


@case
def checkpoints() -> Case:
    seen: list[Any] = []

    @tool
    async def walk(ctx: ToolContext) -> Any:
        """Walk."""
        seen.append(ctx.last_checkpoint)
        at = (ctx.last_checkpoint or {"at": [0]})["at"][0]
        if at < 2:
            await ctx.checkpoint({"at": (at + 1,)})
            raise Retry("on the way", after=0.0)
        await ctx.checkpoint("x" * 300_000)

    return Case([walk], [ToolCall("walk"), "done"], seen=seen)


@case
def shared_state_of_attempts() -> Case:
    attempts: list[int] = []

    @tool(idempotent=True)
    async def count(ctx: ToolContext) -> Any:
        """Count."""
        attempts.append(await ctx.shared.incr("n"))
        attempts.append(await ctx.state.incr("n"))
        if len(attempts) < 4:
            raise ValueError("again")
        return attempts

    return Case([count], [ToolCall("count"), ToolCall("count"), "done"], seen=attempts)


def _secret(resources: Any) -> Case:
    @tool(retries=0)
    async def leak(how: str, ctx: ToolContext) -> Any:
        """Leak."""
        secret = (await ctx.credentials("github")).get_secret_value()
        if how == "error":
            raise ToolError(f"refused {secret}")
        if how == "bug":
            raise ValueError(f"refused {secret}")
        if how == "checkpoint":
            await ctx.checkpoint(secret)
        if how == "state":
            await ctx.state.put("token", secret)
        return {"token": secret}

    calls = [ToolCall("leak", how=how) for how in ("result", "error", "bug", "checkpoint", "state")]
    return Case([leak], [calls, "done"], resources=resources)


@case
def secrets() -> Case:
    async def refresh(asked: Asked) -> Granted:
        return Granted("tok-en-1234567")

    return _secret(Credentials({"github": refresh}))


def _approvals(answer: bool) -> Case:
    seen: list[Any] = []

    @tool(approval=lambda a: a["cents"] > 100)
    async def refund(cents: int) -> str:
        """Refund."""
        return f"refunded {cents}"

    async def deliver(out: Turn | Approval, ctx: ToolContext) -> None:
        if isinstance(out, Approval):
            seen.append((out.approval_id.split(":")[1], out.tool, out.args, out.asked_at is not None))
        else:
            seen.append((out.text, out.stop_reason, [call.status for call in out.tool_calls]))
        seen.append((ctx.key, ctx.call_id, ctx.turn, current().key))

    calls = [ToolCall("refund", cents=50), ToolCall("refund", cents=500)]
    return Case([refund], [calls, "done"], answer=answer, agent={"deliver": deliver}, seen=seen)


CASES["approved"] = functools.partial(_approvals, True)
CASES["denied"] = functools.partial(_approvals, False)


@case
def an_approval_by_a_predicate_that_breaks() -> Case:
    @tool(approval=lambda a: a["nothing"] > 1)
    async def refund(cents: int) -> str:
        """Refund."""
        return "refunded"

    return Case([refund], [ToolCall("refund", cents=1), "done"], answer=False)


@case
def a_failure_ends_the_others() -> Case:
    began: asyncio.Event = asyncio.Event()

    @tool
    async def work(how: str) -> str:
        """Work."""
        if how == "fail":
            await began.wait()
            raise ToolError("broke")
        began.set()
        await asyncio.Event().wait()
        return "never"

    @tool(approval=True)
    async def ask() -> str:
        """Ask."""
        return "never"

    calls = [ToolCall("work", how="slow"), ToolCall("work", how="fail"), ToolCall("ask")]
    return Case([work, ask], [calls, "done"], agent={"budget": Budget(failures=1)})


@case
def as_many_calls_at_once_as_a_step_may() -> Case:
    running: list[int] = []
    seen: list[int] = []

    @tool
    async def work() -> None:
        """Work."""
        running.append(1)
        seen.append(len(running) > 8)
        await asyncio.sleep(0.01)
        running.pop()

    return Case([work], [[ToolCall("work")] * 12, "done"], seen=seen)


def _locked(inside: bool) -> Case:
    running: list[int] = []
    seen: list[int] = []

    async def work() -> None:
        running.append(1)
        seen.append(len(running))
        await asyncio.sleep(0.05)
        running.pop()

    if inside:

        @tool
        async def change(order: int, ctx: ToolContext) -> None:
            """Change."""
            async with ctx.lock(f"order:{order}"), ctx.lock(f"order:{order}"):
                await work()

        @tool
        async def look(order: int, ctx: ToolContext) -> None:
            """Look."""
            async with ctx.read_lock(f"order:{order}"):
                await work()
    else:

        @tool(locks=["order:{order}"])
        async def change(order: int, ctx: ToolContext) -> None:
            """Change."""
            async with ctx.lock(f"order:{order}"):
                await work()

        @tool(reads=["order:{order}"])
        async def look(order: int) -> None:
            """Look."""
            await work()

    changes = [ToolCall("change", order=1)] * 3
    looks = [ToolCall("look", order=1)] * 2
    return Case([change, look], [changes, looks, "done"], seen=seen)


CASES["locks"] = functools.partial(_locked, False)
CASES["locks_inside"] = functools.partial(_locked, True)


@case
def a_deliver_that_is_tried_again() -> Case:
    seen: list[Any] = []

    async def deliver(turn: Turn, ctx: ToolContext) -> None:
        seen.append(turn.text)
        if len(seen) < 2:
            raise Retry("busy", after=0.0)

    return Case(script=["hello"], agent={"deliver": deliver}, seen=seen)


@case
def a_deliver_in_a_thread() -> Case:
    seen: list[Any] = []

    def deliver(turn: Turn, ctx: ToolContext) -> None:
        seen.append((turn.text, threading.current_thread() is threading.main_thread()))

    return Case(script=["hello"], agent={"deliver": deliver}, seen=seen)


for _stop in ("end_turn", "stop_sequence", "max_tokens", "refusal", "model_context_window_exceeded", "odd"):
    CASES[f"stop_{_stop}"] = functools.partial(lambda stop: Case(script=[Answer("so far", stop=stop)]), _stop)
    CASES[f"stop_{_stop}_with_a_call"] = functools.partial(
        lambda stop: Case([echo], [Answer("so far", (ToolCall("echo", text="x"),), stop=stop)]), _stop
    )
for _stop in ("pause_turn", "compaction"):
    CASES[_stop] = functools.partial(lambda stop: Case(script=[Answer("one ", stop=stop), "two"]), _stop)
    CASES[f"{_stop}_with_a_call"] = functools.partial(
        lambda stop: Case([echo], [Answer("one ", (ToolCall("echo", text="x"),), stop=stop), "two"]), _stop
    )


def rows_of(rows: list[dict[str, Any]], name: str = "rows") -> Any:
    async def look() -> list[dict[str, Any]]:
        return rows

    return tool(name=name)(look)


CASES["tool_use_without_a_call"] = lambda: Case(script=[Answer("done", stop="tool_use"), "never"])
CASES["an_empty_answer"] = lambda: Case([echo], [Answer("look", (ToolCall("echo", text="x"),)), Answer(""), "done"])
CASES["nothing_but_empty_answers"] = lambda: Case(
    [echo], [Answer("look", (ToolCall("echo", text="x"),)), Answer(""), Answer(""), "never"]
)
CASES["an_empty_answer_at_once"] = lambda: Case([], [Answer(""), "never"])
CASES["an_unknown_stop"] = lambda: Case([echo], [Answer("hm", (ToolCall("echo", text="x"),), "invented"), "never"])
CASES["a_refusal_behind_calls"] = lambda: Case([echo], [ToolCall("echo", text="x"), Answer("no", stop="refusal")])
CASES["pauses_without_end"] = lambda: Case([], [Answer("wait", stop="pause_turn")] * 12)
CASES["a_pause_with_a_call"] = lambda: Case(
    [echo], [Answer("wait", (ToolCall("echo", text="x"),), "pause_turn"), ToolCall("echo", text="y"), "done"]
)
CASES["a_name_that_no_tool_has"] = lambda: Case([echo], [[ToolCall("do.it", a=1), ToolCall("echo", text="x")], "done"])
CASES["too_many_calls"] = lambda: Case([echo], [[ToolCall("echo", text=f"{n}") for n in range(70)], "done"])
CASES["rows_that_look_like_blocks"] = lambda: Case(
    [rows_of([{"type": "document", "id": 1}]), rows_of([{"type": "text", "text": " "}], "blank")],
    [[ToolCall("rows"), ToolCall("blank")], "done"],
)
CASES["an_answer_of_blanks"] = lambda: Case([echo], [Answer(" ", (ToolCall("echo", text=" "),)), "done"])


GONE = threading.Event()
"""Set at the end: what hangs in a check ends with these tests."""


@pytest.fixture(autouse=True, scope="module")
def _released() -> Iterator[None]:
    yield
    GONE.set()


def _in_loop(value: int) -> int:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return value
    raise ValueError("it runs on the event loop")


def _exits(value: int) -> int:
    raise SystemExit(value)


def _checked(check: Callable[[int], Any], **options: Any) -> Case:
    async def act(n: int) -> str:
        return f"acted {n}"

    act.__annotations__["n"] = Annotated[int, AfterValidator(check)]
    return Case([tool(timeout=0.2, **options)(act)], [ToolCall("act", n=3), "done"], answer=True)


def _hangs(_: Any) -> bool:
    return not GONE.wait(10)


CASES["a_check_beside_the_event_loop"] = lambda: _checked(_in_loop)
CASES["a_check_that_exits"] = lambda: _checked(_exits)
CASES["a_check_that_hangs"] = lambda: _checked(_hangs)
CASES["a_predicate_that_hangs"] = lambda: _checked(int, approval=_hangs)

_LOOP = [ToolCall("echo", text="x")] * 5
BUDGETS: dict[str, tuple[Budget, Usage]] = {
    "steps": (Budget(steps=2), Usage()),
    "no_steps": (Budget(steps=0), Usage()),
    "tokens": (Budget(tokens=100), Usage(input_tokens=30, output_tokens=30)),
    "cached_tokens": (Budget(tokens=100), Usage(input_tokens=1, output_tokens=1, cache_read_tokens=1_000)),
    "written_tokens": (Budget(tokens=100), Usage(input_tokens=1, cache_write_tokens=60)),
    "usd": (Budget(usd=0.5), Usage(usd_nanos=300_000_000)),
}
for _name, (_budget, _usage) in BUDGETS.items():
    CASES[f"budget_of_{_name}"] = functools.partial(
        lambda budget, usage: Case([echo], _LOOP, usage=usage, agent={"budget": budget}), _budget, _usage
    )


@pytest.mark.parametrize("name", CASES)
async def test_a_test_sees_what_a_worker_does(tmp_path: Path, name: str) -> None:
    turn, asked, seen = await by_kit(CASES[name]())
    truth, really_asked, really_seen = await by_worker(tmp_path, CASES[name]())
    assert _plain(turn) == _plain(truth)
    assert asked == really_asked
    assert seen == really_seen


def _plain(turn: Turn) -> dict[str, Any]:
    return turn.model_dump(exclude={"seqs"})
