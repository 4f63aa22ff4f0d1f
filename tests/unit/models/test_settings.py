"""Settings of a model: what is refused where it is declared is what the API would refuse, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import from_json

from inturn.agents import Agent
from inturn.models import ModelRequest, ModelSettings
from inturn.models.facts import MODELS, ModelFacts, facts
from inturn.testing.claude.answering import Api
from inturn.testing.claude.errors import Rejection
from inturn.tools import tool
from inturn_activities.model.claude_request import encoded


class Order(BaseModel):
    id: str
    cents: int | None = None


@tool
async def refund(cents: int) -> str:
    """Refund."""
    return str(cents)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no truth": ({"thinking": "yes"}, "thinking"),
    "no effort": ({"effort": "huge"}, "low, medium"),
    "an effort that is no text": ({"effort": ["low"]}, "effort"),
    "no time to live": ({"cache_ttl": "2h"}, "5m, 1h"),
    "a blank choice": ({"tool_choice": " "}, "tool_choice"),
    "a choice that is no text": ({"tool_choice": {"type": "any"}}, "tool_choice"),
    "parallel by number": ({"parallel": 1}, "parallel"),
    "the highest effort without a thought": ({"thinking": False, "effort": "max"}, "may think"),
    "extra that is ours": ({"extra": {"model": "x", "stream": False}}, "model, stream"),
    "extra that is no mapping": ({"extra": ["a"]}, "no mapping"),
    "extra without names": ({"extra": {1: 2}}, "no mapping"),
    "extra that is no JSON": ({"extra": {"a": object()}}, "no JSON"),
    "extra without end": ({"extra": {"a": "x" * 20_000}}, "larger"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_setting_of_any_model_is_refused_at_once(wrong: str) -> None:
    fields, why = WRONG[wrong]
    with pytest.raises(ValueError, match=why):
        ModelSettings(**fields)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "always thinks": ("claude-sonnet-5-5", {"thinking": False}, "always thinks"),
    "takes no effort": ("claude-haiku-4-5", {"effort": "low"}, "takes none"),
    "takes less effort": ("claude-opus-4-5", {"effort": "max"}, "low, medium, high"),
    "cannot be forced": ("claude-opus-5-5", {"tool_choice": "any"}, "no call can be forced"),
    "cannot be forced while it thinks": ("claude-haiku-4-5", {"tool_choice": "any", "thinking": True}, "forced"),
    "no such tool": ("claude-opus-4-8", {"tool_choice": "charge"}, "no tool of that name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_agent_whose_model_would_refuse_its_settings_is_refused_where_it_is_declared(name: str) -> None:
    model, fields, why = REFUSED[name]
    with pytest.raises(ValueError, match=f"model {model} refuses .*{why}"):
        Agent("a", model=model, instructions="", tools=[refund], settings=ModelSettings(**fields))
    for among in ({"models": [model]}, {"fallback": [model]}):
        with pytest.raises(ValueError, match=why):
            Agent("a", model="gpt-9", instructions="", tools=[refund], settings=ModelSettings(**fields), **among)  # type: ignore[arg-type]


def test_what_nobody_knows_of_a_model_is_not_held_against_it_until_its_provider_says_so() -> None:
    given = ModelSettings(effort="max", tool_choice="any")
    made = Agent("a", model="gpt-9", instructions="", tools=[refund], settings=given)
    with pytest.raises(ValueError, match="takes none"):
        made.check_settings(lambda model: ModelFacts(known=True, forced_tools=True))


def test_a_call_is_forced_at_the_first_step_of_a_turn_alone() -> None:
    made = Agent(
        "a", model="claude-opus-4-8", instructions="", tools=[refund], settings=ModelSettings(tool_choice="any")
    )
    assert [made.settings_at(step).tool_choice for step in ("0", "1", "2")] == ["any", None, None]
    never = Agent("a", model="m", instructions="", tools=[refund], settings=ModelSettings(tool_choice="none"))
    assert [never.settings_at(step).tool_choice for step in ("0", "1")] == ["none", "none"]


GRID = list(
    itertools.product(
        (None, True, False),
        (None, "low", "high", "xhigh", "max"),
        (None, "auto", "none", "any", "refund"),
        (True, False),
        (None, Order),
    )
)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_what_an_agent_may_ask_of_a_model_is_just_what_the_api_takes(model: str) -> None:
    """Of all settings together: what is declared is taken, and what is refused would have been a 400."""
    for thinking, effort, choice, parallel, output in GRID:
        if thinking is False and effort in ("xhigh", "max"):
            continue  # no model takes that
        given = ModelSettings(thinking=thinking, effort=effort, tool_choice=choice, parallel=parallel)  # type: ignore[arg-type]
        try:
            made = Agent("a", model=model, instructions="", tools=[refund], settings=given, output=output)
        except ValueError:
            if output is None:
                assert not _takes(model, given), given
            continue
        assert _takes(model, made.settings_at("0")), given
        assert _takes(model, made.settings_at("1")), given
        assert _takes(model, made.settings_at("0"), max_tokens=1), "a probe of one token is no other case"


def _takes(model: str, settings: ModelSettings, max_tokens: int = 4_000) -> bool:
    said = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    request = ModelRequest(model, "Be brief.", said, [refund.definition()], max_tokens, settings=settings)
    try:
        Api().judge(from_json(encoded(request)))
    except Rejection:
        return False
    return True


def test_thinking_that_has_a_budget_leaves_room_for_the_answer() -> None:
    with pytest.raises(ValueError, match="more than 1,024"):
        Agent("a", model="claude-haiku-4-5", instructions="", max_tokens=1_024, settings=ModelSettings(thinking=True))
    for most in (1_025, 2_048, 64_000):
        body = _body("claude-haiku-4-5", ModelSettings(thinking=True), max_tokens=most)
        assert 1_024 <= body["thinking"]["budget_tokens"] < most


def test_nothing_is_said_of_what_no_setting_asks_for() -> None:
    plain = _body("claude-sonnet-5-5", ModelSettings())
    assert {"thinking", "output_config", "tool_choice"} & plain.keys() == set()
    assert plain["cache_control"] == plain["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_a_long_cache_is_asked_for_at_every_marker() -> None:
    body = _body("claude-sonnet-5-5", ModelSettings(cache_ttl="1h"))
    assert body["cache_control"] == body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    either: list[dict[str, Any]] = [{"cache_ttl": "1h"}, {"settings": ModelSettings(cache_ttl="1h")}]
    for fields in either:
        assert Agent("a", model="m", instructions="", **fields).settings_at("0").cache_ttl == "1h"


def test_more_fields_of_a_request_go_out_as_they_are_and_cannot_say_what_settings_say() -> None:
    body = _body("claude-sonnet-5-5", ModelSettings(effort="low", extra={"service_tier": "auto"}))
    assert (body["service_tier"], body["output_config"]) == ("auto", {"effort": "low"})


def _body(model: str, settings: ModelSettings, max_tokens: int = 4_000) -> dict[str, Any]:
    said = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    request = ModelRequest(model, "Be brief.", said, [refund.definition()], max_tokens, settings=settings)
    body: dict[str, Any] = from_json(encoded(request))
    return body


def test_the_facts_say_which_models_can_be_held_to_a_form() -> None:
    assert [facts(model).formats for model in ("claude-sonnet-4", "claude-haiku-4-5", "claude-fable-5-2")] == [
        False,
        True,
        True,
    ]
