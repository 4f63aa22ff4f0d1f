"""A tool that an agent got later is offered in sessions that began before, and nothing is refused for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.testing import ToolCall
from inturn.testing.claude import Reply
from inturn.tools import tool
from tests.support.steps import SESSION
from tests.support.strict import StrictRig, strict

pytestmark = pytest.mark.promise("MOD-1", "MOD-8")
THOUGHT: dict[str, Any] = {"type": "thinking", "thinking": "hm"}


@tool(idempotent=True)
async def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


@tool(idempotent=True)
async def count(what: str) -> str:
    """Count."""
    return f"3 of {what}"


def _refused(r: StrictRig) -> list[str | None]:
    return [request.error for request in r.server.requests if request.outcome == "rejected"]


def _tools(r: StrictRig) -> list[str]:
    """The agent's own tools of the last request: each that has some has `read_result`, too."""
    names = [declared["name"] for declared in r.server.requests[-1].body.get("tools") or []]
    return [name for name in names if name != "read_result"]


def _thinking(r: StrictRig) -> int:
    return sum(block["type"] == "thinking" for message in r.sent for block in message["content"])


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-4-5", "claude-sonnet-4-6"])
async def test_an_added_tool_is_declared_with_the_change_and_runs(tmp_path: Path, model: str) -> None:
    async with strict(tmp_path, model=model, tools=[look]) as r:
        r.server.script(Reply(content=[THOUGHT, {"type": "text", "text": "ok"}]))
        assert await r.turn("e1") == "end_turn"
        changed = r.deployed(model=model, tools=[count, look], instructions="Be brief.")
        r.server.script([ToolCall("count", what="pens")])
        assert await changed.turn("e2") == "end_turn"
        assert _tools(r) == ["look", "count"], "behind those that were declared"
        [said] = await r.steps.bodies("system.message")
        assert [declared["name"] for declared in said["tools"]] == ["count"]
        assert "you may use: count, look" in said["text"]
        results = await r.steps.bodies("agent.tool_result")
        assert [(result["tool"], result["text"]) for result in results] == [("count", "3 of pens")]
        r.server.script(Reply(content=[THOUGHT, {"type": "text", "text": "ok"}]))
        assert [await changed.turn(event_id) for event_id in ("e3", "e4")] == ["end_turn"] * 2
        assert _tools(r) == ["look", "count"]
        assert _refused(r) == []


async def test_a_session_that_began_without_any_tool_gets_its_first_ones(tmp_path: Path) -> None:
    async with strict(tmp_path) as r:
        assert await r.turn("e1") == "end_turn"
        changed = r.deployed(tools=[look])
        r.server.script([ToolCall("look", what="here")])
        assert await changed.turn("e2") == "end_turn"
        again = changed.deployed(tools=[look, count])
        assert await again.turn("e3") == "end_turn"
        assert _tools(r) == ["look", "count"]
        assert await r.turn("e4") == "end_turn", "an old worker, while the new ones are deployed"
        assert _tools(r) == ["look", "count"], "what was declared stays declared"
        assert "you may use: none" in (await r.steps.bodies("system.message"))[-1]["text"]
        assert _refused(r) == []


async def test_a_tool_that_comes_in_the_middle_of_a_turn_is_declared_with_the_next_one(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        r.server.script(Reply(content=[THOUGHT, {"type": "tool_use", "name": "look", "input": {"what": "x"}}]))
        result = await r.steps.ask("e1", "go")
        await r.steps.tools(result, "e1")
        changed = r.deployed(tools=[look, count])
        assert (await changed.steps.ask("e1", step=1)).stop == "end_turn"
        assert (_tools(r), _thinking(r)) == (["look"], 1), "the thinking before the call stays"
        assert await changed.turn("e2") == "end_turn"
        assert (_tools(r), _thinking(r)) == (["look", "count"], 0)
        assert _refused(r) == []


async def test_a_cold_worker_asks_as_the_warm_one_would(tmp_path: Path) -> None:
    async with strict(tmp_path, tools=[look]) as r:
        r.server.script(Reply(content=[THOUGHT, {"type": "text", "text": "ok"}]))
        await r.turn("e1")
        warm = r.deployed(tools=[look, count])
        await warm.turn("e2")
        await warm.turn("e3")
        cold = r.deployed(tools=[look, count])
        await cold.turn("e4")
        assert _refused(r) == []
        bodies = [request.body for request in r.server.requests[-2:]]
        assert bodies[0]["tools"] == bodies[1]["tools"]
        assert r.sent[: len(bodies[0]["messages"]) - 1] == bodies[0]["messages"][:-1]
        assert len(await r.steps.journal.read(SESSION, types=("system.message",))) == 1, "said once"
