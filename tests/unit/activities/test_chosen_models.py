"""Which model answers: the agent's own, the one that an event names, or one that stands in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.errors import InvalidEvent, ModelError
from inturn.events import Event, make_event, split
from inturn.journal.views.turns import own_turn
from inturn.models import ModelMessage, ModelRequest, ModelSettings, OnDelta
from inturn.testing import Answer, ScriptedModel, StrictClaude, ToolCall
from inturn.testing import run as play
from inturn.tools import tool
from inturn.values import Usage
from inturn_activities.bounds import Bounds
from inturn_activities.messages import ModelInput
from inturn_activities.model.claude import Claude
from inturn_workflows.inbox.dedup import DedupWindow
from inturn_workflows.inbox.events import Queued
from inturn_workflows.inbox.inbox import Inbox
from inturn_workflows.state import SessionState
from inturn_workflows.turn_state import TurnState
from tests.support.steps import SESSION, StepRunner, rig

OWN, OTHER, THIRD = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"
AWAY = ModelError("overloaded", kind="outage", retry_after=0)
NOW = Bounds(fallback_after=0.0)
"""An outage counts as long from its second attempt on."""


@tool
async def look_up(id: str) -> str:
    """Look an order up."""
    return f"{id}: here"


def agent(**more: Any) -> Agent:
    given: dict[str, Any] = {"model": OWN, "tools": [look_up], **more}
    return Agent("support", instructions="", **given)


class Form(BaseModel):
    id: str


class Fleet:
    """Models by name, each with a script: a text, an error, or an answer."""

    def __init__(self, **scripts: Sequence[Any]) -> None:
        self.models = {name: ScriptedModel(script) for name, script in scripts.items()}
        self.asked: list[str] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.asked.append(request.model)
        made = await self.models[request.model.split("-")[1]].respond(request, on_delta)
        return ModelMessage(made.content, made.stop_reason, Usage(input_tokens=7, steps=1), request.model)


async def started(r: StepRunner) -> list[Any]:
    return [body.get("model") for body in await r.bodies("turn.started")]


async def answers(r: StepRunner) -> list[tuple[str, Any]]:
    return [(body["model"], body.get("fallback")) for body in await r.bodies("agent.message")]


async def test_an_event_is_answered_by_the_model_that_it_names_until_its_turn_ends(tmp_path: Path) -> None:
    fleet = Fleet(opus=[ToolCall("look_up", id="o1"), "done"], sonnet=["and now?"])
    async with rig(tmp_path, model=fleet, agents=[agent(models=[OTHER])]) as r:
        first = await r.ask(event={"event_id": "e1", "content": "hi", "model": OTHER})
        assert first.model == OTHER
        await r.tools(first)
        assert (await r.ask(step=1, model=first.model)).stop == "end_turn"
        assert (await r.ask("e2")).model is None
        assert fleet.asked == [OTHER, OTHER, OWN]
        assert await started(r) == [OTHER, None]
        assert [body.get("model") for body in await r.bodies("user.message")] == [OTHER, None]


@pytest.mark.parametrize("named", [OTHER, "gpt-9", "x" * 200])
async def test_a_model_that_is_none_of_the_agents_is_refused_and_costs_nothing(tmp_path: Path, named: str) -> None:
    fleet = Fleet(sonnet=["fine"])
    async with rig(tmp_path, model=fleet, agents=[agent(models=[THIRD], fallback=[OTHER])]) as r:
        with pytest.raises(ApplicationError, match="has no model") as refused:
            await r.ask(event={"event_id": "e1", "content": "hi", "model": named})
        assert (refused.value.type, refused.value.non_retryable) == (names.INVALID_EVENT, True)
        assert not fleet.asked
        assert (await r.ask("e2")).stop == "end_turn", "the session goes on"


async def test_a_redriven_event_is_answered_by_the_model_that_it_named(tmp_path: Path) -> None:
    fleet = Fleet(opus=[ModelError("no", kind="own"), ModelError("no", kind="own"), "fine"], sonnet=[])
    async with rig(tmp_path, model=fleet, agents=[agent(models=[OTHER])]) as r:
        with pytest.raises(ApplicationError):
            await r.ask(event={"event_id": "e1", "content": "hi", "model": OTHER})
        fleet.models["opus"] = ScriptedModel(["fine"])
        assert (await r.ask("e1~1", event=None)).stop == "end_turn"
    assert set(fleet.asked) == {OTHER}


@pytest.mark.parametrize("model", ["", "x" * 201, 7, "half \ud83d"])
def test_what_is_no_models_name_is_no_event(model: Any) -> None:
    with pytest.raises(InvalidEvent, match="model"):
        make_event(content="hi", model=model)


def test_a_large_event_names_its_model_where_it_travels() -> None:
    travels, kept = split(make_event(event_id="e1", content="x" * 10_000, model=OTHER))
    assert (travels["model"], "model" in kept) == (OTHER, False)
    assert "model" not in make_event(content="hi").wire()


def test_the_workflow_carries_a_model_only_where_it_is_not_the_agents_own() -> None:
    state = SessionState(inbox=Inbox(dedup=DedupWindow(salt="s")))
    plain = TurnState.of(Queued(turn="e1", event={"event_id": "e1", "content": "hi"}), 0.0)
    named = TurnState.of(Queued(turn="e1", event={"event_id": "e1", "content": "hi", "model": OTHER}), 0.0)
    assert "model" not in plain.model_dump()
    assert "model" not in ModelInput(model=None).model_dump()
    assert state.model_input(named).model is None, "the event says so itself"
    named.step = 1
    assert state.model_input(named).model == OTHER


async def fails(r: StepRunner, times: int, **fields: Any) -> None:
    for attempt in range(1, times + 1):
        with pytest.raises(ApplicationError, match="overloaded"):
            await r.ask(attempt=attempt, **fields)


async def test_others_answer_where_a_model_is_away_for_long_and_go_on_with_the_turn(tmp_path: Path) -> None:
    fleet = Fleet(sonnet=[AWAY] * 2, opus=[AWAY], haiku=[ToolCall("look_up", id="o1"), "done"])
    async with rig(tmp_path, model=fleet, agents=[agent(fallback=[OTHER, THIRD])], bounds=NOW) as r:
        await fails(r, 1)
        result = await r.ask(attempt=2)
        assert result.model == THIRD
        await r.tools(result)
        assert (await r.ask(step=1, model=result.model)).stop == "end_turn"
        assert fleet.asked == [OWN, OTHER, THIRD, THIRD]
        assert await answers(r) == [(THIRD, {"of": OWN, "why": "outage"}), (THIRD, None)]
        assert (await own_turn(r.journal, SESSION, "e1")) is not None


async def test_nobody_stands_in_before_a_minute_is_over(tmp_path: Path) -> None:
    fleet = Fleet(sonnet=[AWAY] * 3 + ["here"], opus=["early"])
    async with rig(tmp_path, model=fleet, agents=[agent(fallback=[OTHER])]) as r:
        await fails(r, 3)
        assert (await r.ask(attempt=4)).model is None
    assert fleet.asked == [OWN] * 4


async def test_what_is_wrong_with_one_that_stands_in_is_no_reason_to_give_up(tmp_path: Path) -> None:
    wrong = [ModelError("400", kind="own"), RuntimeError("a bug"), ModelError("no key", kind="account")]
    fleet = Fleet(sonnet=[AWAY] * 4 + ["back"], opus=[*wrong, Answer(stop="refusal")])
    async with rig(tmp_path, model=fleet, agents=[agent(fallback=[OTHER])], bounds=NOW) as r:
        await fails(r, 4)
        result = await r.ask(attempt=5)
        assert (result.stop, result.model) == ("end_turn", None)
        assert await r.bodies("transcript.doubted") == []


@pytest.mark.parametrize(
    ("opus", "haiku", "answered"),
    [
        (["willing"], [], [(OTHER, {"of": OWN, "why": "refusal"})]),
        ([Answer(stop="refusal")], ["willing"], [(THIRD, {"of": OWN, "why": "refusal"})]),
        ([AWAY], [Answer(stop="refusal")], [(OWN, None)]),
    ],
)
async def test_where_a_model_refuses_others_are_asked_at_once(
    tmp_path: Path, opus: list[Any], haiku: list[Any], answered: list[Any]
) -> None:
    fleet = Fleet(sonnet=[Answer("no", stop="refusal")], opus=opus, haiku=haiku)
    async with rig(tmp_path, model=fleet, agents=[agent(fallback=[OTHER, THIRD])]) as r:
        result = await r.ask()
        assert result.stop == ("refusal" if answered[0][0] == OWN else "end_turn")
        assert await answers(r) == answered


async def test_what_a_refusal_used_is_paid_too(tmp_path: Path) -> None:
    async with StrictClaude() as server:
        server.script(Answer(stop="refusal"), "fine")
        async with aclosing(Claude(api_key="k", base_url=server.url)) as model:
            async with rig(tmp_path, model=model, agents=[agent(fallback=[OTHER])]) as r:
                assert (await r.ask()).stop == "end_turn"
                [body] = await r.bodies("agent.message")
        asked = server.requests
    assert [each.body["model"] for each in asked] == [OWN, OTHER]
    assert body["failed"], "what the first one used"


async def test_a_claude_takes_over_from_another_in_the_middle_of_a_turn_and_gives_it_back(tmp_path: Path) -> None:
    """Thinking is signed for its model, and each is sent its own alone: the strict server would refuse it else."""
    async with StrictClaude() as server:
        server.script(ToolCall("look_up", id="o1"), Answer(stop="refusal"), "from the other", "and from me")
        async with aclosing(Claude(api_key="k", base_url=server.url)) as model:
            async with rig(tmp_path, model=model, agents=[agent(fallback=[OTHER])]) as r:
                first = await r.ask()
                await r.tools(first)
                assert (await r.ask(step=1)).stop == "end_turn"
                assert (await r.ask("e2")).stop == "end_turn"
        # What it refused is a part of the conversation now, and it refuses that again: the other one goes on.
        assert [each.body["model"] for each in server.requests] == [OWN, OWN, OTHER, OWN, OTHER]
        assert all(each.error is None for each in server.requests)


@pytest.mark.parametrize("asked", [{"settings": ModelSettings(effort="max")}, {"output": Form}], ids=["effort", "form"])
async def test_what_an_api_refuses_of_a_model_that_nobody_knew_waits_and_parks_nothing(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    async with StrictClaude() as server, aclosing(Claude(api_key="k", base_url=server.url)) as model:
        async with rig(tmp_path, model=model, agents=[agent(model="claude-opus-9", **asked)]) as r:
            with pytest.raises(ApplicationError, match="not supported") as refused:
                await r.ask()
            assert (refused.value.type, refused.value.non_retryable) == (names.ACCOUNT, False)
            assert await r.bodies("transcript.doubted") == []


SCRIPT: list[Any] = [Answer("no", stop="refusal"), "willing"]


async def test_a_test_of_an_agent_sees_the_same() -> None:
    assert (await play(agent(fallback=[OTHER]), "hi", script=SCRIPT)).text == "willing"
    assert (await play(agent(fallback=[OTHER]), "hi", script=[AWAY, "here"])).text == "here"
    with pytest.raises(ModelError, match="overloaded"):
        await play(agent(), "hi", script=[AWAY])
    model = ScriptedModel(["fine"])
    await play(agent(models=[OTHER]), "hi", model=model, event=Event(content="hi", model=OTHER))
    assert model.requests[0].model == OTHER
    with pytest.raises(InvalidEvent, match="has no model"):
        await play(agent(), "hi", script=["x"], event=Event(content="hi", model=OTHER))


async def test_choosing_a_model_costs_no_check_of_the_whole_agent() -> None:
    made = agent(fallback=[OTHER])
    began = time.perf_counter()
    for _ in range(1_000):
        made.answered_by(OTHER)
    assert time.perf_counter() - began < 1
    assert made.answered_by(OTHER).fallback == (OWN,)
    assert made.answered_by(OTHER).manifest() == made.manifest()
    assert (made.model, made.fallback) == (OWN, (OTHER,))
