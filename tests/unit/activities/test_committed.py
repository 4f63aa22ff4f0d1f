"""What is committed can always be sent: after any odd answer or event the session goes on, and nothing is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.journal import Resolution
from inturn.journal.views.turns import own_turn
from inturn.keys import StepKey
from inturn.testing import Answer, ToolCall
from inturn.testing.claude.script import Reply
from inturn.tools import tool
from inturn.turns.answers import MAX_CALLS, MAX_PAUSES
from inturn_activities.messages import Decision
from tests.support.steps import SESSION, StepRunner, rig
from tests.support.strict import Given, StrictRig, answer, strict

pytestmark = pytest.mark.promise("MOD-8")

THOUGHT = {"type": "thinking", "thinking": "let me see"}


@tool(idempotent=True)
async def look(what: str = "x") -> str:
    """Look."""
    return f"saw {what}"


def refused(r: StrictRig) -> list[str | None]:
    """What the server refused."""
    return [request.error for request in r.server.requests if request.outcome == "rejected"]


async def goes_on(r: StrictRig, *stops: str) -> None:
    """Check that the session answers two more events and nothing was refused."""
    assert [await r.turn(event_id, f"{event_id}?") for event_id in ("after1", "after2")] == ["end_turn", "end_turn"]
    assert refused(r) == []


OLDER = ["claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-7", "claude-sonnet-5"]


@pytest.mark.parametrize("model", OLDER)
async def test_a_changed_agent_is_told_to_a_model_that_takes_no_system_messages(tmp_path: Path, model: str) -> None:
    async with strict(tmp_path, model=model) as r:
        assert await r.turn("e1") == "end_turn"
        changed = r.deployed(model=model, instructions="Speak French.")
        await goes_on(changed)
        told = json.dumps(r.server.requests[1].body["messages"][-1])
        assert "Speak French." in told
        assert "From the application" in told
        assert all(request.ignored == 0 for request in r.server.requests)


async def test_a_session_goes_from_model_to_model_and_back_after_a_change(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        r.server.script(Reply(content=[THOUGHT, {"type": "text", "text": "ok"}]))
        assert await r.turn("e1") == "end_turn"
        for n, model in enumerate(["claude-sonnet-5-5", "claude-haiku-4-5", "claude-opus-5-5", "claude-sonnet-5-5"]):
            changed = r.deployed(model=model, instructions=f"Be long, {n}.")
            r.server.script(Reply(content=[THOUGHT, {"type": "text", "text": "ok"}]))
            assert await changed.turn(f"c{n}") == "end_turn"
            assert await changed.turn(f"d{n}") == "end_turn"
        assert refused(r) == []


async def test_a_call_that_was_looked_into_is_told_to_an_older_model(tmp_path: Path) -> None:
    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        return f"paid {cents}"

    async with strict(tmp_path, model="claude-sonnet-4-6", tools=[pay]) as r:
        r.server.script([ToolCall("pay", cents=1)])
        await r.step("e1", 0)
        claim = await r.steps.journal.claim_call(SESSION.turn("e1").step(0, 0), lease=1, begin=True)
        assert claim.status == "claimed"
        body = {"reason": "stopped", "turn": "e1"}
        end = Decision(type="turn.interrupted", turn="e1", key="e1/end", disposition="cancelled", body=body)
        await r.steps.record(end, settle=["e1"])
        [call] = await r.steps.journal.unknown_calls(SESSION)
        await r.steps.journal.resolve_call(StepKey.parse(call.key), Resolution(True, "paid"))
        await goes_on(r)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "tool_use", "name": "do.it", "input": {"a": 1}}],
        [
            THOUGHT,
            {"type": "tool_use", "name": "do it", "input": {}},
            {"type": "tool_use", "name": "look", "input": {}},
        ],
        [{"type": "tool_use", "name": "x" * 200, "input": {}}],
        [{"type": "tool_use", "id": "toolu same", "name": "look", "input": {}}],
        [{"type": "tool_use", "id": "same", "name": "look", "input": {}}] * 2,
        [{"type": "tool_use", "id": "same", "name": "nope", "input": {}}] * 3,
        [{"type": "tool_use", "name": "look", "input": ["a"]}],
        [{"type": "tool_use", "name": "look", "input": None}],
        [{"type": "tool_use", "name": "look", "input": "{'what': 1}"}],
        [{"type": "tool_use", "name": "look", "input": {"what": "y"}, "some_new_field": 1}, THOUGHT],
    ],
)
@pytest.mark.promise("MOD-9")
async def test_calls_that_no_request_can_hold_are_the_models_mistake_and_cost_no_session(
    tmp_path: Path, content: list[dict[str, Any]]
) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        for stop in ("tool_use", "max_tokens", "end_turn", "refusal", "pause_turn"):
            r.server.script(Reply(content=content, stop=stop))
            assert await r.turn(stop, f"what of {stop}?") in ("end_turn", "max_tokens", "refusal")
        await goes_on(r)


@pytest.mark.parametrize(
    "content",
    [
        [],
        [THOUGHT],
        [{"type": "text", "text": ""}],
        [{"type": "text", "text": " "}, THOUGHT],
        [THOUGHT, {"type": "text", "text": "said", "some_new_field": 1}, THOUGHT],
        [{"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}, THOUGHT],
        [{"type": "redacted_thinking", "data": ""}, {"type": "text", "text": "x"}],
        [{**THOUGHT, "signature": ""}, {"type": "text", "text": "x"}],
    ],
)
async def test_odd_blocks_of_an_answer_cost_no_session(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        for stop in ("end_turn", "max_tokens", "refusal", "pause_turn", "invented"):
            r.server.script(Reply(content=content, stop=stop))
            await r.turn(stop, f"what of {stop}?")
        await goes_on(r)


async def test_a_paused_answer_is_sent_back_unchanged(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        paused = [THOUGHT, {"type": "tool_use", "name": "nope", "input": {}}, THOUGHT]
        r.server.script(Reply(content=paused, stop="pause_turn"), "done")
        assert await r.turn("e1") == "end_turn"
        assert [block["type"] for block in r.sent[-1]["content"]] == ["thinking", "tool_use", "thinking"]
        await goes_on(r)


async def test_a_turn_pauses_at_most_so_often(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        r.server.script(*[Reply(content=[THOUGHT], stop="pause_turn")] * 50)
        assert await r.turn("e1") == "budget_reached"
        assert len(r.server.requests) == MAX_PAUSES + 1
        r.server.reset()
        await goes_on(r)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
        [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        [{"type": "text", "text": "hi", "some_new_field": 1}],
        [{"type": "text", "text": " \n"}],
        [{"type": "text", "text": 5}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "aGk="}}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "no base64!"}}],
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}],
        [{"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}],
        [{"type": "image"}],
        [{"type": "document", "id": 1}],
        [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": " "}}],
        [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                "citations": {"enabled": True},
                "title": "",
                "context": " ",
            }
        ],
    ],
)
async def test_whatever_an_event_holds_the_model_is_asked(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    async with strict(tmp_path) as r:
        for n in range(3):  # markers add up: more than four are refused
            assert await r.turn(f"e{n}", content) == "end_turn"
        await goes_on(r)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (" \n", "(empty)"),
        ("", "(empty)"),
        ([{"type": "document", "id": 1, "title": "Terms"}], '[{"type":"document","id":1,"title":"Terms"}]'),
        ([{"type": "text", "value": "42 rows"}], '[{"type":"text","value":"42 rows"}]'),
        ([{"type": "text", "text": "hello", "score": 0.9}], '[{"type":"text","text":"hello","score":0.9}]'),
        ([{"type": "text", "text": " "}], "(empty)"),
        (
            [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}],
            [{"type": "text", "text": "hello"}],
        ),
        (
            [{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "aGk="}}],
            '[{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"aGk="}}]',
        ),
        ([{"type": "image", "source": None}], '[{"type":"image","source":null}]'),
        ({"type": "text", "text": "x"}, '{"type":"text","text":"x"}'),
    ],
)
async def test_whatever_a_tool_returns_the_model_sees(tmp_path: Path, value: Any, seen: Any) -> None:
    @tool
    async def search() -> Any:
        """Search."""
        return value

    async with strict(tmp_path, tools=[search]) as r:
        r.server.script([ToolCall("search")])
        assert await r.turn("e1") == "end_turn"
        assert r.sent[-1]["content"][0]["content"] == seen
        await goes_on(r)


async def test_a_refused_turn_leaves_nothing_in_the_conversation_and_all_in_the_journal(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        assert await r.turn("e0") == "end_turn"
        details = {"type": "refusal", "category": "cyber", "explanation": "no"}
        r.server.script(Reply(text="Sure, first you", stop="refusal", stop_details=details))
        assert await r.turn("e1", "FORBIDDEN THING") == "refusal"
        await goes_on(r)
        assert "FORBIDDEN" not in json.dumps(r.sent)
        assert "Sure" not in json.dumps(r.sent)
        entry = (await r.steps.bodies("agent.message"))[1]
        assert (entry["stop"], entry["stop_details"]) == ("refusal", details)
        assert entry["content"][-1] == {"type": "text", "text": "Sure, first you"}
        turn = await own_turn(r.steps.journal, SESSION, "e1")
        assert turn is not None
        assert (turn.stop_reason, turn.text) == ("refusal", "Sure, first you")


async def test_a_refusal_behind_tools_takes_back_their_results_and_answers_the_calls(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        r.server.script([ToolCall("look", what="FORBIDDEN")], Answer("no", stop="refusal"))
        assert await r.turn("e1") == "refusal"
        assert await r.turn("e2") == "end_turn"
        [result, _] = r.sent[-1]["content"]
        assert result["is_error"]


async def test_an_empty_answer_behind_tools_is_asked_to_go_on_once(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        r.server.script([ToolCall("look")], Answer(""), "There it is.")
        assert await r.turn("e1") == "end_turn"
        turn = await own_turn(r.steps.journal, SESSION, "e1")
        assert turn is not None
        assert turn.text == "There it is."
        r.server.script([ToolCall("look")], Answer(""), Answer(""), "never")
        assert await r.turn("e2") == "end_turn"
        r.server.reset()
        await goes_on(r)


@pytest.mark.promise("EFF-3", "MOD-9")
async def test_calls_with_one_id_run_with_their_own_arguments_and_end_in_their_own_results(tmp_path: Path) -> None:
    ran: list[int] = []

    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        ran.append(cents)
        return f"paid {cents}"

    def call(cents: int) -> dict[str, Any]:
        return {"type": "tool_use", "id": "call_0", "name": "pay", "input": {"cents": cents}}

    model = Given(answer([call(1), call(2)]), answer([call(3)]), answer([{"type": "text", "text": "done"}], "end_turn"))
    async with rig(tmp_path, model=model, tools=[pay]) as r:
        for step in range(2):
            await r.tools(await r.ask("e1", step=step), "e1", step=step)
        await r.ask("e1", step=2)
        turn = await own_turn(r.journal, SESSION, "e1")
        assert sorted(ran) == [1, 2, 3]
        assert turn is not None
        assert [(c.args, c.result) for c in turn.tool_calls] == [({"cents": n}, f"paid {n}") for n in (1, 2, 3)]
        results = [b for m in model.requests[-1].messages for b in m["content"] if b["type"] == "tool_result"]
        assert [b["content"] for b in results] == ["paid 1", "paid 2", "paid 3"]
        assert len({b["tool_use_id"] for b in results}) == 3
        [first, second, third] = await r.bodies("agent.tool_use")
        assert "own_id" not in first
        assert second["own_id"] == third["own_id"] == "call_0"


async def test_of_thousands_of_calls_in_one_answer_as_many_run_as_fit_and_the_result_stays_small(
    tmp_path: Path,
) -> None:
    ran: list[int] = []

    @tool(locks=["order:{n}"])
    async def touch(n: int, note: str) -> str:
        """Touch."""
        ran.append(n)
        return "ok"

    many = [
        {"type": "tool_use", "id": f"t{n}", "name": "touch", "input": {"n": n, "note": "y" * 220}} for n in range(2_000)
    ]
    model = Given(answer(many))
    async with rig(tmp_path, model=model, tools=[touch], compaction=None) as r:
        result = await r.ask("e1")
        assert len(result.calls) == MAX_CALLS
        assert len(result.model_dump_json()) < 50_000
        for index, call in enumerate(result.calls):
            await r.tool("e1", call=call.id, index=index)
        await r.ask("e1", step=1)
        assert sorted(ran) == list(range(MAX_CALLS))
        results = model.requests[-1].messages[-1]["content"]
        assert len(results) == 2_000
        assert [b.get("is_error", False) for b in results] == [n >= MAX_CALLS for n in range(2_000)]
        assert "did not run" in results[-1]["content"]


async def test_thinking_that_another_model_signed_is_not_sent(tmp_path: Path) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    said = {"type": "text", "text": "ok"}
    model = Given(*[answer([thought, said], "end_turn", model=f"{name}-20261101") for name in ("a", "b", "a")])
    async with rig(tmp_path, model=model) as r:
        for n, name in enumerate(("a", "b", "a", "b")):
            made = StepRunner(r.journal, model, [Agent("support", model=name, instructions="")])
            await made.ask(f"e{n}")
        kept = [[b["type"] for b in m["content"]] for m in model.requests[-1].messages if m["role"] == "assistant"]
    assert kept == [["text"], ["thinking", "text"], ["text"]]
