"""Tools that the provider runs: what they leave in answers goes back as it came, to that provider alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.journal.views.turns import own_turn
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.server_tools import CodeExecution, ServerTool, WebFetch, WebSearch
from inturn.testing import Answer, ScriptedModel, StrictClaude
from inturn.testing import run as play
from inturn.testing.claude.script import Reply
from inturn.tools import tool
from inturn.turns.answers import MAX_PAUSES
from inturn.turns.server_blocks import closed, in_words, still_open
from inturn.values import Usage
from inturn_activities.model.claude import Claude
from inturn_activities.model.guard import MAX_NATIVE
from tests.support.steps import SESSION, StepRunner, rig

Block = dict[str, Any]
SEARCH: Block = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}}
FOUND: Block = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://x.test", "title": "x", "encrypted_content": "E" * 40}],
    "caller": None,
}
CODE: Block = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {"code": "1+1"}}
RAN: Block = {
    "type": "code_execution_tool_result",
    "tool_use_id": "srvtoolu_2",
    "content": {"type": "code_execution_result", "stdout": "2", "stderr": "", "return_code": 0, "content": []},
}
CITED: Block = {
    "type": "text",
    "text": "It rains.",
    "citations": [{"type": "web_search_result_location", "url": "https://x.test", "title": "x", "cited_text": "rain"}],
}


def said(text: str) -> Block:
    return {"type": "text", "text": text}


def thought(text: str) -> Block:
    return {"type": "thinking", "thinking": text}


@tool
async def look_up(id: str) -> str:
    """Look up."""
    return id


def agent(**more: Any) -> Agent:
    given: dict[str, Any] = {"model": "claude-sonnet-5-5", "tools": [look_up], **more}
    given.setdefault("server_tools", [WebSearch(max_uses=5), CodeExecution()])
    return Agent("support", instructions="", **given)


@asynccontextmanager
async def claude(tmp_path: Path, **more: Any) -> AsyncIterator[tuple[StrictClaude, StepRunner]]:
    async with StrictClaude() as server, aclosing(Claude(api_key="k", base_url=server.url)) as model:
        async with rig(tmp_path, model=model, agents=[agent(**more)]) as r:
            yield server, r
        assert [each.error for each in server.requests if each.error] == []


async def test_a_session_declares_them_with_its_other_tools(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        await r.ask()
    tools = {each["name"]: each for each in server.requests[0].body["tools"]}
    assert list(tools) == sorted({"code_execution", "look_up", "web_search", *tools})
    assert tools["web_search"] == {"type": "web_search_20260318", "name": "web_search", "max_uses": 5}


async def test_what_they_leave_goes_back_as_it_came_and_in_order(tmp_path: Path) -> None:
    blocks = [thought("hm"), SEARCH, FOUND, thought("so"), CITED]
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=blocks))
        result = await r.ask()
        assert (result.stop, result.calls) == ("end_turn", [])
        assert (await r.ask("e2")).stop == "end_turn"
        turn = await own_turn(r.journal, SESSION, "e1")
    assert turn is not None
    assert turn.text == "It rains."
    back = server.requests[-1].body["messages"][1]["content"]
    assert [block["type"] for block in back] == [block["type"] for block in blocks]
    assert back[1:3] == [SEARCH, FOUND]
    assert back[-1] == CITED
    assert back[3]["signature"], "what was thought behind them is bound to them"


async def test_a_pause_goes_back_untouched_and_goes_on(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=[thought("hm"), SEARCH], stop="pause_turn"), Reply(content=[FOUND, CITED]))
        assert (await r.ask()).stop == "pause_turn"
        assert (await r.ask(step=1)).stop == "end_turn"
        assert (await r.ask("e2")).stop == "end_turn"
    asked = server.requests[1].body["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant"]
    assert asked[1]["content"][1] == SEARCH


async def test_a_turn_pauses_ten_times_and_no_more(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(*(Reply(content=[said(f"{n}")], stop="pause_turn") for n in range(MAX_PAUSES + 1)))
        stops = [(await r.ask(step=n)).stop for n in range(MAX_PAUSES + 1)]
        assert stops == ["pause_turn"] * MAX_PAUSES + ["budget_reached"]
        assert (await r.ask("e2")).stop == "end_turn", "the session goes on"


CUT: dict[str, list[Reply]] = {
    "a pause that nobody goes on from": [Reply(content=[SEARCH], stop="pause_turn")],
    "a pause that ends in a thought": [Reply(content=[SEARCH, thought("hm")], stop="pause_turn")],
    "an answer that is cut": [Reply(content=[SEARCH], stop="max_tokens")],
    "an answer that ends without a result": [Reply(content=[SEARCH, said("never mind")])],
    "two in one": [Reply(content=[SEARCH, CODE], stop="pause_turn")],
    "one with a call of ours": [
        Reply(content=[SEARCH, {"type": "tool_use", "name": "look_up", "input": {"id": "x"}}], stop="pause_turn")
    ],
}


@pytest.mark.parametrize("name", CUT)
async def test_a_call_that_never_gets_its_result_gets_one_where_the_conversation_goes_on(
    tmp_path: Path, name: str
) -> None:
    """A paused turn may be stopped, and what somebody says next stands behind a call without a result."""
    async with claude(tmp_path) as (server, r):
        server.script(*CUT[name])
        await r.ask()
        if server.requests[-1].stop_reason == "pause_turn":
            await r.record(settle=["e1"])
        for event in ("e2", "e3"):
            assert (await r.ask(event)).stop == "end_turn"


@pytest.mark.parametrize("stop", ["end_turn", "pause_turn", "max_tokens"])
@pytest.mark.parametrize("behind", [thought("hm"), SEARCH, said("x")], ids=["thought", "call", "text"])
async def test_a_result_of_no_call_takes_what_was_thought_behind_it_along(
    tmp_path: Path, stop: str, behind: Block
) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=[FOUND, behind, thought("so")], stop=stop))
        for step in range(3):
            if (await r.ask(step=step)).stop != "pause_turn":
                break
        for event in ("e2", "e3"):
            assert (await r.ask(event)).stop == "end_turn"


async def test_a_file_that_an_answer_names_is_left_out(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=[{"type": "container_upload", "file_id": "file_1"}, said("x")]))
        await r.ask()
        assert (await r.ask("e2")).stop == "end_turn"
    assert "file_1" not in str(server.requests[-1].body)


async def test_tools_that_are_declared_in_a_pause_leave_no_call_without_its_result(tmp_path: Path) -> None:
    """A changed agent takes what was thought away, and with it the pause: the conversation goes on otherwise."""

    @tool
    async def more(id: str) -> str:
        """Do more."""
        return id

    async with StrictClaude() as server, aclosing(Claude(api_key="k", base_url=server.url)) as model:
        server.script(Reply(content=[thought("hm"), SEARCH], stop="pause_turn"))
        async with rig(tmp_path, model=model, agents=[agent()]) as r:
            assert (await r.ask()).stop == "pause_turn"
            await r.record(settle=["e1"])
        async with rig(tmp_path, model=model, agents=[agent(tools=[look_up, more])]) as r:
            assert (await r.ask("e2")).stop == "end_turn"
        assert [each.error for each in server.requests if each.error] == []
    own = Own(["y"])
    async with rig(tmp_path, model=own, agents=[agent(tools=[look_up, more], model="own-1")]) as r:
        await r.ask("e3")
    kinds = [block["type"] for message in own.requests[0].messages for block in message["content"]]
    assert set(kinds) == {"text"}, "another provider is told in words all the same"


async def test_a_result_that_comes_without_its_call_is_left_out(tmp_path: Path) -> None:
    model = ScriptedModel([Answer(blocks=(FOUND, SEARCH, FOUND, FOUND, said("x"))), "y"])
    async with rig(tmp_path, model=model, agents=[agent()]) as r:
        await r.ask()
        await r.ask("e2")
    assert [block["type"] for block in model.requests[-1].messages[1]["content"]] == [
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]


async def test_code_runs_on_in_its_container_and_in_another_one_once_that_is_gone(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=[CODE, RAN, said("2")]), "fine", "gone")
        await r.ask()
        [body] = await r.bodies("agent.message")
        container = body["container"]["id"]
        assert body["container"]["provider"] == "anthropic"
        await r.ask("e2")
        assert server.requests[1].body["container"] == container
        server.gone(container)
        assert (await r.ask("e3")).stop == "end_turn"
        refused, again = server.requests[2:]
        assert (refused.body["container"], "container" in again.body) == (container, False)
        refused.error = None


async def test_a_pause_in_running_code_goes_on_in_the_same_container(tmp_path: Path) -> None:
    async with claude(tmp_path) as (server, r):
        server.script(Reply(content=[CODE], stop="pause_turn"), Reply(content=[RAN, said("2")]))
        assert (await r.ask()).stop == "pause_turn"
        assert (await r.ask(step=1)).stop == "end_turn"
        assert server.requests[1].body["container"]


class Own(ScriptedModel):
    """Another provider's model, with a state of its own."""

    provider = "own"

    def __init__(self, script: Sequence[Any], native: Any = None) -> None:
        super().__init__(script)
        self.native = native

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        made = await super().respond(request, on_delta)
        return ModelMessage(made.content, made.stop_reason, Usage(), "own-1", native=self.native)


async def test_another_provider_is_told_in_words(tmp_path: Path) -> None:
    async with rig(tmp_path, [Answer(blocks=(SEARCH, FOUND, CITED))], agents=[agent()]) as r:
        await r.ask()
    own = Own(["y"])
    async with rig(tmp_path, model=own, agents=[agent()]) as r:
        await r.ask("e2")
    told = own.requests[0].messages[1]["content"]
    assert [block["type"] for block in told] == ["text"] * 3
    assert "weather" in told[0]["text"]
    assert "https://x.test" in told[1]["text"]
    assert "EEEE" not in told[1]["text"], "only its provider can read that"


STATES: list[Any] = [{"reasoning": ["opaque", 1, None]}, "text", [], 0, False]


@pytest.mark.parametrize("state", STATES, ids=repr)
async def test_a_providers_state_goes_back_to_it_alone_as_it_was(tmp_path: Path, state: Any) -> None:
    own = Own(["a", "b"], native=state)
    async with rig(tmp_path, model=own, agents=[agent()]) as r:
        await r.ask()
        await r.ask("e2")
    assert own.requests[0].native == []
    assert own.requests[1].native == [None, state, None]
    other = ScriptedModel(["c"])
    async with rig(tmp_path, model=other, agents=[agent()]) as r:
        await r.ask("e3")
    assert other.requests[0].native == []


@pytest.mark.parametrize("state", ["x" * (MAX_NATIVE + 1), {"deep": [[["x" * MAX_NATIVE]]]}], ids=["long", "deep"])
async def test_a_state_that_is_too_large_is_the_models_fault(tmp_path: Path, state: Any) -> None:
    async with rig(tmp_path, model=Own(["a"] * 3, native=state), agents=[agent()]) as r:
        with pytest.raises(Exception, match="262,144 are the most"):
            await r.ask()


async def test_a_plain_answer_says_nothing_of_its_provider(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"], agents=[agent()]) as r:
        await r.ask()
        [body] = await r.bodies("agent.message")
    assert {"provider", "native", "container", "fallback", "words"} & body.keys() == set()


async def test_a_test_of_an_agent_sees_the_same() -> None:
    messages: list[Block] = []
    script: list[Any] = [Answer(blocks=(SEARCH,), stop="pause_turn"), Answer(blocks=(FOUND, CITED)), "and?"]
    turn = await play(agent(), "hi", script=script[:2], messages=messages)
    assert turn.text == "It rains."
    model = ScriptedModel(script[2:])
    await play(agent(), "more", model=model, messages=messages)
    assert [b["type"] for m in model.requests[0].messages[1:3] for b in m["content"]] == [
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]


WRONG: dict[str, tuple[Any, str]] = {
    "a number of uses": (lambda: WebSearch(max_uses=0), "max_uses"),
    "a truth": (lambda: WebSearch(max_uses=True), "max_uses"),
    "one text of domains": (lambda: WebFetch(allowed_domains="x.test"), "domains"),
    "both": (lambda: WebSearch(allowed_domains=["a"], blocked_domains=["b"]), "not both"),
    "no tool": (lambda: agent(server_tools=["web_search"]), "no tool of the provider's"),
    "the base": (lambda: agent(server_tools=[ServerTool()]), "no tool of the provider's"),
    "one alone": (lambda: agent(server_tools=WebSearch()), "list"),
    "twice": (lambda: agent(server_tools=[WebSearch(), WebSearch(max_uses=1)]), "more than one tool named web_search"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_session_could_declare_is_refused(wrong: str) -> None:
    make, why = WRONG[wrong]
    with pytest.raises(ValueError, match=why):
        make()


@pytest.mark.parametrize(
    "kind", ["web_search", "web_fetch", "code_execution", "bash_code_execution", "tool_search_tool_bm25"]
)
def test_a_result_that_stands_in_is_of_the_calls_own_kind(kind: str) -> None:
    call = {**SEARCH, "name": kind}
    [made] = closed(still_open([call]))
    assert still_open([call, made]) == {}
    assert made["type"] == ("tool_search" if "search_tool" in kind else kind) + "_tool_result"


def test_words_for_others_are_bounded() -> None:
    assert len(in_words({**SEARCH, "input": {"query": "x" * 10**6}})["text"]) < 3_000
