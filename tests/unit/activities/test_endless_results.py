"""What users' code gives back runs on after its call nowhere: not on the event loop, and not in an encoder."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from inturn.agents import Agent
from inturn.errors import ToolError
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel, ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext
from inturn.tools.returned import MAX_LOOKED_AT, finite
from inturn.tools.secrets import Secret
from inturn_activities.failures import drop_unsendable_causes, final
from tests.support.steps import SESSION, WAIT, StepRunner, rig

pytestmark = pytest.mark.promise("SUR-17")


def endless() -> Iterator[str]:
    while True:
        yield "x" * 1_000


@dataclass
class Rows:
    rows: Any


@dataclass(slots=True)
class SlottedRows:
    rows: Any


class ModelledRows(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    rows: Any


class Listed(list[Any]):
    """A list of somebody's own."""


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "a dict": lambda rows: {"rows": rows},
    "an ordered dict": lambda rows: OrderedDict(rows=rows),
    "a list of its own kind": lambda rows: Listed([rows]),
    "a deque": lambda rows: deque([rows]),
    "a dataclass": Rows,
    "a dataclass with slots": SlottedRows,
    "a model": lambda rows: ModelledRows(rows=rows),
    "what looks like a block": lambda rows: [{"type": "row", "rows": rows}],
    "an iterator": lambda rows: iter([[rows]]),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_iterator_that_never_ends_is_stopped_whatever_holds_it(holder: str) -> None:
    with pytest.raises(ToolError, match="was stopped"):
        finite(HOLDERS[holder](endless()), bool)


def test_what_is_too_large_to_be_looked_through_is_not_run_either() -> None:
    assert "too large to run the iterators" in finite([*range(MAX_LOOKED_AT), endless()], bool)
    assert finite([*range(MAX_LOOKED_AT)], bool).startswith("[0,1,2")


def test_an_object_without_iterators_is_written_as_it_says() -> None:
    assert finite(ModelledRows(rows={"a": {1}}), bool) == '{"rows":{"a":[1]}}'
    assert finite(Rows(iter((1, 2))), bool) == '{"rows":[1,2]}'


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("holder", ["a dict", "a dataclass", "what looks like a block"])
async def test_a_call_whose_result_never_ends_ends(tmp_path: Path, holder: str, secret: bool, threaded: bool) -> None:
    def body(ctx: ToolContext) -> Any:
        if secret:
            ctx._secrets.add(Secret("sk-very-secret"))
        return HOLDERS[holder](endless())

    async def async_body(ctx: ToolContext) -> Any:
        return body(ctx)

    rows = tool(name="rows")(body if threaded else async_body)
    async with rig(tmp_path, [ToolCall("rows")], tools=[rows]) as r:
        [call] = (await r.ask()).calls
        async with asyncio.timeout(WAIT):
            assert (await r.tool(call=call.id)).status == "error"
        [result] = await r.bodies("agent.tool_result")
        assert "yields more than" in result["text"]


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_lookup_that_tells_without_an_end_tells_nothing(tmp_path: Path, threaded: bool) -> None:
    async def looked_up(key: str) -> Any:
        return {"rows": endless()}

    lookup = (lambda key: {"rows": endless()}) if threaded else looked_up
    bodies: list[int] = []

    @tool(lookup=lookup, retries=0)
    async def pay() -> str:
        bodies.append(1)
        return "paid"

    async with rig(tmp_path, [ToolCall("pay")], tools=[pay]) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(SESSION.turn("e1").step(0, 0), lease=0.0, begin=True, wants=(), lasts=0.0)
        async with asyncio.timeout(WAIT):
            assert (await r.tool(call=call.id, attempt=2)).status == "unknown"
        assert bodies == []


async def test_a_lookup_may_yield_what_it_knows(tmp_path: Path) -> None:
    async def looked_up(key: str) -> Any:
        yield "paid"
        yield 500

    @tool(lookup=looked_up)
    async def pay() -> str:
        raise AssertionError("it was done before")

    async with rig(tmp_path, [ToolCall("pay")], tools=[pay]) as r:
        [call] = (await r.ask()).calls
        await r.journal.claim_call(SESSION.turn("e1").step(0, 0), lease=0.0, begin=True, wants=(), lasts=0.0)
        assert (await r.tool(call=call.id, attempt=2)).status == "ok"
        assert (await r.bodies("agent.tool_result"))[0]["text"] == '["paid",500]'


class Stop(BaseException):
    """What the worker knows nothing of."""


class Mute(ToolError):
    """It raises while it is asked what it says."""

    def __str__(self) -> str:
        raise Stop


@pytest.mark.parametrize("threaded", [False, True])
async def test_an_error_that_raises_when_it_is_read_ends_its_call(tmp_path: Path, threaded: bool) -> None:
    def body() -> str:
        raise Mute("x")

    async def async_body() -> str:
        raise Mute("x")

    mute = tool(name="mute")(body if threaded else async_body)
    async with rig(tmp_path, [ToolCall("mute")], tools=[mute]) as r:
        [call] = (await r.ask()).calls
        assert (await r.tool(call=call.id)).status == "error"


def test_a_cause_that_cannot_say_what_it_is_does_not_travel() -> None:
    failure = final("Own", "why")
    failure.__cause__ = Mute("x")
    assert drop_unsendable_causes(failure)
    assert failure.__cause__ is None


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt("x"), SystemExit(1), Stop("x"), BaseExceptionGroup("several", [Stop("x")])], ids=repr
)
async def test_whatever_a_model_raises_is_an_error_of_its_step(tmp_path: Path, raised: BaseException) -> None:
    class Raising:
        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            raise raised

    async with rig(tmp_path, model=Raising()) as r:
        with pytest.raises(Exception, match=f"the model Raising raised {type(raised).__name__}"):
            await r.ask()
        after = StepRunner(r.journal, ScriptedModel(["fine"]), r.agents)
        assert (await after.ask("e2")).stop == "end_turn"


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize("threaded", [False, True])
async def test_an_error_shows_no_secret_that_its_body_was_never_given(tmp_path: Path, threaded: bool) -> None:
    key = Secret("sk-of-the-process-4711")

    def failing(ctx: ToolContext) -> str:
        ctx.progress(f"with {key.get_secret_value()}") if threaded else None
        raise ToolError(f"refused: Basic {base64.b64encode(f'user:{key.get_secret_value()}'.encode()).decode()}")

    async def async_failing(ctx: ToolContext) -> str:
        await ctx.progress(f"with {key.get_secret_value()}")
        raise RuntimeError(f"no host {key.get_secret_value()}")

    async def deliver(out: Any, ctx: ToolContext) -> None:
        raise ToolError(f"refused: {key.get_secret_value()}")

    body = tool(name="fails")(failing if threaded else async_failing)
    agent = Agent("support", model="m", instructions="", tools=[body], deliver=deliver)
    async with rig(tmp_path, [ToolCall("fails"), "done"], agents=[agent]) as r:
        [call] = (await r.ask()).calls
        assert (await r.tool(call=call.id)).status == "error"
        await r.ask(step=1)
        with pytest.raises(Exception, match="delivery failed"):
            await r.deliver(kind="turn")
        written = str([entry.body for entry in await r.journal.read(SESSION)])
        row = await r.journal.claim_call(SESSION.turn("e1").step("deliver"), lease=1.0, begin=False, wants=(), lasts=0)
        assert "[secret]" in str(row.result)
        for text in (written, str(row.result)):
            assert "4711" not in text
            assert base64.b64encode(b"of-the-process").decode()[2:-4] not in text
