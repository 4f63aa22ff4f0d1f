"""`inturn.testing.run` and `context`: a turn without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.errors import InturnError, Misconfigured, Retry, ToolError
from inturn.events import Event
from inturn.models.scripted import Entry, ScriptExhausted
from inturn.testing import Answer, ToolCall, context, run
from inturn.tools import tool
from inturn.tools.context import ToolContext, current
from inturn.turns.budget import Budget
from inturn.values import Approval, Delta, Turn


@tool
def add(a: int, b: int = 0) -> int:
    """Add."""
    return a + b


@tool(approval=lambda args: args["cents"] > 100)
async def refund(order_id: str, cents: int, ctx: ToolContext) -> str:
    """Refund."""
    return f"{order_id} {cents} {ctx.key}"


def agent(*tools: Any, **more: Any) -> Agent:
    return Agent("test", model="claude-sonnet-5-5", instructions="Be brief.", tools=tools, **more)


async def test_a_plain_turn_answers() -> None:
    turn = await run(agent(), "hi")
    assert (turn.text, turn.stop_reason, turn.usage.steps) == ("You said: hi", "end_turn", 1)


async def test_tools_really_run_and_their_results_go_to_the_model() -> None:
    messages: list[dict[str, Any]] = []
    turn = await run(
        agent(add), "hi", script=[[ToolCall("add", a=1, b=2), ToolCall("add", a=5)], "done"], messages=messages
    )
    assert turn.text == "done"
    assert [(c.status, c.result) for c in turn.tool_calls] == [("ok", "3"), ("ok", "5")]
    assert [b["content"] for b in messages[2]["content"]] == ["3", "5"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant"]


async def test_calls_run_in_parallel_and_results_stand_in_call_order() -> None:
    both = asyncio.Barrier(2)

    @tool
    async def meet(name: str) -> str:
        """Wait for the other call."""
        await both.wait()
        return name

    turn = await run(agent(meet), "hi", script=[[ToolCall("meet", name="x"), ToolCall("meet", name="y")], "done"])
    assert [c.result for c in turn.tool_calls] == ["x", "y"]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (ToolCall("nope"), "There is no tool named 'nope'."),
        (ToolCall("add", a="one"), "The arguments do not fit: a: Input should be a valid integer"),
        (ToolCall("add", a=1, c=2), "The arguments do not fit: c: Extra inputs are not permitted"),
    ],
)
async def test_what_cannot_be_called_is_an_error_result(call: ToolCall, expected: str) -> None:
    turn = await run(agent(add), "hi", script=[call, "done"])
    assert turn.tool_calls[0].status == "error"
    assert expected in str(turn.tool_calls[0].result)


async def test_failing_tools_are_results_that_the_model_sees() -> None:
    attempts: list[int] = []

    @tool(retries=2)
    async def fails(how: str) -> str:
        """Fail."""
        attempts.append(1)
        if how == "retry" and len(attempts) < 3:
            raise Retry
        if how == "tool":
            raise ToolError("no such order")
        if how == "bug":
            raise ValueError("oops")
        return "at last"

    async def outcome(how: str) -> tuple[str | None, str | None]:
        attempts.clear()
        call = (await run(agent(fails), "hi", script=[ToolCall("fails", how=how), "done"])).tool_calls[0]
        return call.status, call.result

    assert await outcome("tool") == ("error", "no such order")
    assert len(attempts) == 1
    unsure = "The call failed on the way: part of its effect may have happened."
    assert await outcome("bug") == ("error", f"ValueError: oops\n{unsure}")
    assert await outcome("retry") == ("ok", "at last")
    assert len(attempts) == 3


async def test_a_tool_that_hangs_ends_at_its_timeout() -> None:
    @tool(timeout=0.05)
    async def hang() -> None:
        """Hang."""
        await asyncio.Event().wait()

    turn = await run(agent(hang), "hi", script=[ToolCall("hang"), "done"])
    assert turn.tool_calls[0].status == "timeout"
    assert turn.text == "done"


async def test_sync_tools_run_in_a_thread_with_their_context() -> None:
    @tool
    def where() -> list[Any]:
        """Tell."""
        return [threading.current_thread() is threading.main_thread(), current().call_id]

    turn = await run(agent(where), "hi", script=[ToolCall("where"), "done"])
    assert turn.tool_calls[0].result == f'[false,"{turn.tool_calls[0].call_id}"]'
    with pytest.raises(InturnError):
        current()


async def test_each_call_has_its_own_stable_key() -> None:
    script: list[Entry] = [
        [ToolCall("refund", order_id="o", cents=1), ToolCall("refund", order_id="p", cents=1)],
        "done",
    ]
    results = [[c.result for c in (await run(agent(refund), "hi", script=list(script))).tool_calls] for _ in range(2)]
    assert results[0] == results[1]
    assert results[0] == ["o 1 test/session/event/0/0", "p 1 test/session/event/0/1"]


@pytest.mark.parametrize(("answer", "status"), [(True, "ok"), (False, "denied")])
async def test_approval_is_asked_for_and_obeyed(answer: bool, status: str) -> None:
    asked: list[Approval] = []

    async def approve(approval: Approval) -> bool:
        asked.append(approval)
        return answer

    script: list[Entry] = [ToolCall("refund", order_id="o", cents=500), "done"]
    turn = await run(agent(refund), "hi", script=list(script), approve=approve)
    assert turn.tool_calls[0].status == status
    assert asked[0].args == {"order_id": "o", "cents": 500}
    assert asked[0].approval_id.startswith(asked[0].call_id + ":")
    assert (await run(agent(refund), "hi", script=list(script), approve=answer)).tool_calls[0].status == status


async def test_a_call_that_needs_approval_without_anybody_to_ask_is_the_tests_mistake() -> None:
    with pytest.raises(InturnError, match="pass approve"):
        await run(agent(refund), "hi", script=[ToolCall("refund", order_id="o", cents=500), "done"])


async def test_calls_of_an_answer_that_was_cut_off_never_run() -> None:
    ran: list[int] = []

    @tool
    def effect() -> None:
        """Do it."""
        ran.append(1)

    for stop, expected in (("max_tokens", "max_tokens"), ("refusal", "refusal")):
        messages: list[dict[str, Any]] = []
        script = [Answer(calls=(ToolCall("effect"),), stop=stop)]
        turn = await run(agent(effect), "hi", script=script, messages=messages)
        assert turn.stop_reason == expected
        last = {"max_tokens": ["user", "assistant", "user"], "refusal": []}
        assert [message["role"] for message in messages] == last[stop]
        assert all(message["content"][0]["is_error"] for message in messages[2:])
    assert ran == []


async def test_a_paused_answer_is_continued() -> None:
    turn = await run(agent(), "hi", script=[Answer("wait, ", stop="pause_turn"), "there"])
    assert (turn.text, turn.usage.steps) == ("wait, there", 2)


async def test_the_budget_ends_a_turn_that_goes_in_circles() -> None:
    turn = await run(agent(add, budget=Budget(steps=3)), "hi", script=[ToolCall("add", a=1)] * 10)
    assert (turn.stop_reason, turn.usage.steps) == ("budget_reached", 3)


async def test_an_exhausted_script_fails_the_test() -> None:
    with pytest.raises(ScriptExhausted):
        await run(agent(add), "hi", script=[ToolCall("add", a=1)])


async def test_a_conversation_goes_on_over_several_turns() -> None:
    messages: list[dict[str, Any]] = []
    await run(agent(), "one", messages=messages)
    turn = await run(agent(), "two", messages=messages)
    assert turn.text == "You said: two"
    assert len(messages) == 4


async def test_the_answer_is_delivered() -> None:
    out: list[tuple[str, Any]] = []

    async def deliver(turn: Turn, ctx: ToolContext) -> None:
        out.append((turn.text, (ctx.event.metadata or {})["channel"]))

    event = Event(event_id="e1", content="hi", metadata={"channel": "C1"})
    turn = await run(agent(deliver=deliver), "hi", script=["done"], event=event)
    assert out == [("done", "C1")]
    assert turn.event_id == "e1"


async def test_a_delivery_that_fails_is_the_tests_failure() -> None:
    async def deliver(turn: Turn, ctx: ToolContext) -> None:
        raise ValueError("no channel")

    with pytest.raises(InturnError, match="no channel") as raised:
        await run(agent(deliver=deliver), "hi", script=["done"])
    assert isinstance(raised.value.__cause__, ValueError)


async def test_a_conversation_goes_on_after_calls_that_never_ran() -> None:
    messages: list[dict[str, Any]] = []
    await run(agent(add), "one", script=[Answer(calls=(ToolCall("add", a=1),), stop="max_tokens")], messages=messages)
    await run(agent(add), "two", script=["done"], messages=messages)
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert [block["type"] for block in messages[2]["content"]] == ["tool_result", "text"]


async def test_a_tool_can_be_called_directly_with_a_context() -> None:
    ctx = context("k1", tenant="acme", resources={"db": 1})
    assert await refund("o", 5, ctx=ctx) == "o 5 k1"
    assert (ctx.tenant, ctx.resources) == ("acme", {"db": 1})


def test_the_kit_imports_without_its_extra() -> None:
    code = (
        "import sys\n"
        "for name in ('anthropic', 'starlette', 'uvicorn'): sys.modules[name] = None\n"
        "import inturn.testing as kit\n"
        "kit.run, kit.context, kit.ScriptedModel, kit.ToolCall\n"
        "try: kit.StrictClaude\n"
        "except ModuleNotFoundError as error: assert 'inturn[testing]' in str(error)\n"
        "else: raise SystemExit('it came without the extra')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_the_kit_does_not_have_is_an_attribute_error() -> None:
    import inturn.testing

    with pytest.raises(AttributeError, match="nothing"):
        inturn.testing.nothing  # noqa: B018


@pytest.mark.promise("EFF-4")
@pytest.mark.parametrize(("failures", "slow"), [(None, "ok"), (2, "ok"), (1, "cancelled")])
async def test_calls_are_cancelled_once_as_many_failed_as_the_agent_bears(failures: int | None, slow: str) -> None:
    @tool
    async def work(seconds: float, fails: bool = False) -> str:
        """Work."""
        await asyncio.sleep(seconds)
        if fails:
            raise ToolError("broke")
        return "done"

    agent = Agent("a", model="m", instructions="", tools=[work], budget=Budget(failures=failures))
    calls = [ToolCall("work", seconds=0.2), ToolCall("work", seconds=0.0), ToolCall("work", seconds=0.05, fails=True)]
    turn = await run(agent, "go", script=[calls, "so it is"])
    assert [call.status for call in turn.tool_calls] == [slow, "ok", "error"]
    assert turn.text == "so it is"


@pytest.mark.promise("MOD-7")
async def test_words_are_heard_as_they_come_step_by_step() -> None:
    heard: list[Delta] = []
    script: list[Entry] = [["Let me add.", ToolCall("add", a=1, b=2)], "It is 3."]
    turn = await run(agent(add), "1 + 2?", script=script, on_delta=heard.append)
    said = [(d.step, d.attempt, d.kind, d.block, d.text) for d in heard if d.kind in ("start", "input")]
    assert said == [
        ("0", 1, "start", 0, ""),
        ("0", 1, "input", 1, "add"),
        ("0", 1, "input", 1, '{"a":1,"b":2}'),
        ("1", 2, "start", 0, ""),
    ]
    assert "".join(d.text for d in heard if d.attempt == 1 and d.kind == "text") == "Let me add."
    assert "".join(d.text for d in heard if d.attempt == 2) == turn.text == "It is 3."
    for attempt in (1, 2):
        assert [d.index for d in heard if d.attempt == attempt] == list(range(sum(d.attempt == attempt for d in heard)))


async def test_an_agent_that_is_never_seen_is_not_heard() -> None:
    heard: list[Delta] = []
    await run(agent(stream="never"), "hi", script=["hello"], on_delta=heard.append)
    assert heard == []


@pytest.mark.promise("MOD-4")
async def test_a_budget_in_money_ends_a_test_where_it_would_end_the_turn() -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "words " * 300

    def spender(**budget: Any) -> Agent:
        return Agent(
            "spender",
            model="claude-sonnet-5-5",
            instructions="",
            tools=[look],
            max_tokens=1_024,
            budget=Budget(**budget),
        )

    script = [ToolCall("look")] * 50
    turn = await run(spender(usd=0.03), "go", script=script)
    assert turn.stop_reason == "budget_reached"
    assert 0 < turn.usage.usd <= 0.03
    asked: list[Approval] = []

    def once(approval: Approval) -> bool:
        asked.append(approval)
        return len(asked) == 1

    longer = await run(spender(usd=0.03, on_limit="ask"), "go", script=script, approve=once)
    assert longer.stop_reason == "budget_reached"
    assert turn.usage.usd < longer.usage.usd <= 0.06
    assert [a.kind for a in asked] == ["budget", "budget"]
    assert len({a.approval_id for a in asked}) == 2


async def test_a_budget_in_money_needs_a_model_whose_price_is_known() -> None:
    with pytest.raises(Misconfigured, match="nobody knows what model m costs"):
        await run(Agent("a", model="m", instructions="", budget=Budget(usd=1)), "hi", script=["fine"])
