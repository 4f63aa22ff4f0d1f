"""Answers that have to have a form: given out where they fit, asked for once more where they do not."""

from __future__ import annotations

import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from inturn.agents import Agent
from inturn.journal.views.turns import own_turn
from inturn.models.scripted import Entry
from inturn.testing import Answer, ScriptedModel, StrictClaude, ToolCall
from inturn.testing import run as play
from inturn.tools import tool
from inturn.turns.budget import Budget
from inturn_activities.bounds import Bounds
from inturn_activities.model.claude import Claude
from tests.support.steps import SESSION, StepRunner, rig

GOOD, BAD = '{"id": "o1", "cents": 500}', '{"id": "o1"}'


class Order(BaseModel):
    id: str
    cents: int


@tool
async def look_up(id: str) -> str:
    """Look an order up."""
    return f"{id}: 500 cents"


def agent(**more: Any) -> Agent:
    return Agent("support", model="claude-sonnet-5-5", instructions="", output=Order, tools=[look_up], **more)


async def steps(r: StepRunner) -> list[str]:
    """Run a turn to its end; return how its steps stopped."""
    stops: list[str] = []
    while not stops or stops[-1] in ("tool_use", "pause_turn"):
        result = await r.ask(step=len(stops))
        await r.tools(result, step=len(stops)) if result.calls else None
        stops.append(result.stop)
    return stops


SCRIPTS: dict[str, tuple[list[Entry], list[str], Any]] = {
    "fits": ([GOOD], ["end_turn"], {"id": "o1", "cents": 500}),
    "fits after tools": ([ToolCall("look_up", id="o1"), GOOD], ["tool_use", "end_turn"], {"id": "o1", "cents": 500}),
    "fits at the second try": ([BAD, GOOD], ["pause_turn", "end_turn"], {"id": "o1", "cents": 500}),
    "fits never": ([BAD, "no JSON"], ["pause_turn", "end_turn"], None),
    "says nothing": (["", GOOD], ["pause_turn", "end_turn"], {"id": "o1", "cents": 500}),
    "is told once, whatever comes between": (
        [BAD, ToolCall("look_up", id="o1"), BAD],
        ["pause_turn", "tool_use", "end_turn"],
        None,
    ),
    "is cut": ([Answer('{"id": "o', stop="max_tokens")], ["max_tokens"], None),
    "is refused": ([Answer(stop="refusal")], ["refusal"], None),
    "goes on from a pause": (
        [Answer(GOOD[:9], stop="pause_turn"), GOOD[9:]],
        ["pause_turn", "end_turn"],
        {"id": "o1", "cents": 500},
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_what_a_turn_gives_out_is_the_same_in_a_worker_and_in_a_test(tmp_path: Path, name: str) -> None:
    script, stops, output = SCRIPTS[name]
    async with rig(tmp_path, script, agents=[agent()]) as r:
        assert await steps(r) == stops
        turn = await own_turn(r.journal, SESSION, "e1")
    assert turn is not None
    assert turn.output == output
    played = await play(agent(), "hi", script=script)
    assert (played.output, played.text, played.stop_reason) == (output, turn.text, turn.stop_reason)


async def test_the_model_is_told_what_does_not_fit(tmp_path: Path) -> None:
    model = ScriptedModel([BAD, GOOD])
    async with rig(tmp_path, model=model, agents=[agent()]) as r:
        await steps(r)
    said = model.requests[-1].messages[-1]
    assert said["role"] == "user"
    assert "cents: Field required" in said["content"][0]["text"]


async def test_the_next_event_may_be_corrected_again(tmp_path: Path) -> None:
    async with rig(tmp_path, [BAD, BAD, BAD, GOOD], agents=[agent()]) as r:
        await steps(r)
        assert (await r.ask("e2")).stop == "pause_turn"
        assert (await r.ask("e2", step=1)).stop == "end_turn"
        turn = await own_turn(r.journal, SESSION, "e2")
    assert turn is not None
    assert turn.output == {"id": "o1", "cents": 500}


async def test_a_budget_that_is_used_up_corrects_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, [BAD], agents=[agent(budget=Budget(steps=1))]) as r:
        assert await steps(r) == ["pause_turn", "budget_reached"]


class Slow(BaseModel):
    id: str

    @field_validator("id")
    @classmethod
    def slow(cls, value: str) -> str:
        time.sleep(0.5 if value == "slow" else 0)
        return value


async def test_a_check_of_the_users_that_hangs_holds_up_no_worker(tmp_path: Path) -> None:
    slow = Agent("support", model="m", instructions="", output=Slow)
    bounds = Bounds(check=0.05)
    async with rig(tmp_path, ['{"id": "slow"}', '{"id": "x"}'], agents=[slow], bounds=bounds) as r:
        assert await steps(r) == ["pause_turn", "end_turn"]
        turn = await own_turn(r.journal, SESSION, "e1")
    assert turn is not None
    assert turn.output == {"id": "x"}


async def test_claude_is_asked_for_the_form_and_answers_in_it(tmp_path: Path) -> None:
    async with StrictClaude() as server:
        async with (
            aclosing(Claude(api_key="k", base_url=server.url)) as model,
            rig(tmp_path, model=model, agents=[agent()]) as r,
        ):
            assert await steps(r) == ["end_turn"]
            turn = await own_turn(r.journal, SESSION, "e1")
        assert turn is not None
        assert turn.output == {"id": "scripted", "cents": 0}
        [asked] = server.requests
        assert asked.body["output_config"]["format"]["schema"]["additionalProperties"] is False
