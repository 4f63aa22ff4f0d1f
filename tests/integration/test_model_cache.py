"""The prompt cache is found however much comes between two answers: the strict Claude looks back 20 blocks, as the API.

Each of the first two tests failed before the last request's tail was marked: the next request read the system prompt
alone and wrote the whole conversation anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inturn.agents import Agent
from inturn.testing import Answer, StrictClaude, ToolCall
from inturn.testing.claude import Exchange
from inturn.tools import tool
from inturn_activities.model.claude import Claude
from inturn_activities.model.claude_request import last_tail
from tests.support.steps import rig

MODEL = "claude-sonnet-5-5"


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def worker(tmp_path: Path, claude: Claude):  # type: ignore[no-untyped-def]
    """A worker's steps with one agent."""
    return rig(tmp_path, model=claude, agents=[Agent("support", model=MODEL, instructions="Be brief.", tools=[add])])


def reads_all_before(requests: list[Exchange]) -> bool:
    """Return whether each request read all of what the one before had sent."""
    usages = [request.usage or {} for request in requests]
    prompts = [
        usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        for usage in usages
    ]
    read = [usage["cache_read_input_tokens"] for usage in usages]
    return all(got >= sent for got, sent in zip(read[1:], prompts[:-1], strict=True))


@pytest.mark.parametrize("calls", [1, 9, 10, 12, 20, 40])
async def test_many_parallel_calls_leave_the_cache_in_reach(
    server: StrictClaude, claude: Claude, tmp_path: Path, calls: int
) -> None:
    async with worker(tmp_path, claude) as r:
        await r.ask("e0", "some words to begin with " * 20)
        server.script(Answer("adding", tuple(ToolCall("add", a=n, b=1) for n in range(calls)), thinking="hm"))
        await r.tools(await r.ask("e1", "add"), "e1")
        await r.ask("e1", step=1)
        await r.ask("e2", "and then")
    assert reads_all_before(server.requests)
    assert {request.outcome for request in server.requests} == {"completed"}


@pytest.mark.parametrize("events", [1, 18, 19, 60])
async def test_many_joined_events_leave_the_cache_in_reach(
    server: StrictClaude, claude: Claude, tmp_path: Path, events: int
) -> None:
    joined = [{"event_id": f"j{n}", "content": f"and also {n}"} for n in range(events)]
    async with worker(tmp_path, claude) as r:
        await r.ask("e0", "some words to begin with " * 20)
        await r.ask("e1", "first", joined=joined)
        await r.ask("e2", "next")
    assert reads_all_before(server.requests)


async def test_calls_events_and_a_changed_agent_together_keep_the_rate_of_hits(
    server: StrictClaude, claude: Claude, tmp_path: Path
) -> None:
    joined = [{"event_id": f"j{n}", "content": f"and also {n}"} for n in range(30)]
    async with worker(tmp_path, claude) as r:
        await r.ask("e0", "some words to begin with " * 200)
        for turn in range(5):
            server.script(Answer("adding", tuple(ToolCall("add", a=n, b=1) for n in range(20))))
            await r.tools(await r.ask(f"t{turn}", "add"), f"t{turn}")
            more = [{**event, "event_id": f"{turn}{event['event_id']}"} for event in joined]
            await r.ask(f"t{turn}", step=1, joined=more)
    assert reads_all_before(server.requests)
    markers = [str(request.body).count("'cache_control'") for request in server.requests]
    assert max(markers) <= 4, "the API takes no more"


def test_a_short_step_needs_no_marker_and_a_thinking_tail_takes_none() -> None:
    few: list[dict[str, Any]] = [_said("user", 1), _said("assistant", 2), _said("user", 2)]
    many = [_said("user", 1), _said("assistant", 12), _said("user", 12)]
    paused = [_said("user", 1), _said("assistant", 3), _said("assistant", 20)]
    assert (last_tail(few), last_tail(many), last_tail(paused), last_tail(few[:1])) == (None, 0, 1, None)
    assert last_tail([{"role": "user", "content": "text"}, *many[1:]]) is None


def _said(role: str, blocks: int) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": f"{n}"} for n in range(blocks)]}
