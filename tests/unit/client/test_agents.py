"""Agents are values: what a session freezes of one depends on nothing but what it says."""

from __future__ import annotations

from typing import Any

import pytest

from inturn.agents import Agent
from inturn.policy import InboxPolicy
from inturn.tools import tool
from inturn.turns.budget import Budget, total
from inturn.values import Usage


@tool
async def add(a: int) -> int:
    """Add."""
    return a


@tool
async def sub(a: int) -> int:
    """Subtract."""
    return a


def agent(**fields: Any) -> Agent:
    return Agent("support", **{"model": "m", "instructions": "Be brief.", **fields})


def test_the_manifest_is_what_the_model_sees_sorted_by_name() -> None:
    made = agent(tools=[sub, add]).manifest()
    assert made["system"] == "Be brief."
    assert [t["name"] for t in made["tools"]] == ["add", "read_result", "sub"]


def test_the_manifest_hash_changes_with_the_manifest_and_with_nothing_else() -> None:
    base = agent(tools=[add, sub])
    same = agent(tools=[sub, add], model="other", budget=Budget(steps=1), inbox=InboxPolicy(capacity=1))
    assert base.manifest_hash == same.manifest_hash
    assert len({a.manifest_hash for a in (base, agent(tools=[add]), agent(instructions="x", tools=[add, sub]))}) == 3


def test_the_policy_hash_changes_with_what_the_workflow_has_to_know() -> None:
    variants = [agent(), agent(inbox=InboxPolicy(capacity=5)), agent(deliver=print)]
    assert len({a.policy_hash for a in variants}) == 3
    assert agent().policy_hash == agent(instructions="x", tools=[add]).policy_hash


def test_what_a_manifest_gives_may_be_changed_by_its_caller() -> None:
    made = agent()
    made.manifest()["system"] = "changed"
    assert made.manifest()["system"] == "Be brief."


def test_plain_functions_become_tools() -> None:
    def plain(a: int) -> int:
        """Be plain."""
        return a

    made = agent(tools=[plain, add])
    assert made.tool("plain") is not None
    assert made.tool("add") is add
    assert made.tool("nope") is None


@pytest.mark.parametrize("name", ["", "with space", "a/b", "a~1", "x" * 129])
def test_a_name_that_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="agent name"):
        Agent(name, model="m", instructions="")


def test_two_tools_of_one_name_are_refused() -> None:
    @tool(name="add")
    async def other(a: int) -> int:
        """Add, too."""
        return a

    with pytest.raises(ValueError, match="more than one tool named add"):
        agent(tools=[add, other])


def test_an_agent_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        agent().model = "other"  # type: ignore[misc]


def test_usage_is_summed_with_the_numbers_of_a_newer_peer() -> None:
    answers = [Usage.model_validate({"input_tokens": 2, "usd": 0.5, "thoughts": 3, "kind": "x"})] * 2
    assert total(answers).model_dump(exclude_defaults=True) == {
        "input_tokens": 4,
        "usd_nanos": 10**9,
        "usd": 1.0,
        "steps": 2,
        "thoughts": 6,
    }


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": ({"max_tokens": 0}, "no number of tokens"),
    "less than none": ({"max_tokens": -1}, "no number of tokens"),
    "a truth": ({"max_tokens": True}, "no number of tokens"),
    "a float": ({"max_tokens": 1e3}, "no number of tokens"),
    "a text": ({"max_tokens": "8k"}, "no number of tokens"),
    "more than the model gives": ({"model": "claude-haiku-4-5", "max_tokens": 64_001}, "gives 64,000 at most"),
    "more than a dated model gives": ({"model": "claude-opus-4-5-20251101", "max_tokens": 10**7}, "64,000 at most"),
    "blank instructions": ({"instructions": " \n"}, "blank"),
    "half a character": ({"instructions": "Be \ud83d"}, "no text that can be sent"),
    "no instructions": ({"instructions": None}, "no text that can be sent"),
    "a blank model": ({"model": " "}, "blank"),
    "half a character of a model": ({"model": "claude-\ud83d"}, "no text that can be sent"),
    "no model": ({"model": None}, "no text that can be sent"),
}


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_no_request_could_be_made_of_is_refused_where_it_is_declared(wrong: str) -> None:
    fields, reason = WRONG[wrong]
    with pytest.raises(ValueError, match=reason):
        agent(**fields)


def test_what_the_model_gives_and_what_nobody_knows_of_a_model_is_taken() -> None:
    assert agent(model="claude-sonnet-5-5", max_tokens=128_000).max_tokens == 128_000
    assert agent(model="my-gateway/llm", max_tokens=500_000).max_tokens == 500_000
    assert agent(instructions="").max_tokens == 32_000, "models that think by default need room to answer, too"


WRONG_BUDGETS: list[dict[str, Any]] = [
    {"steps": -1},
    {"steps": 1.5},
    {"steps": "many"},
    {"steps": True},
    {"tokens": -5},
    {"tokens": float("nan")},
    {"usd": float("nan")},
    {"usd": float("inf")},
    {"usd": -0.5},
    {"usd": "1"},
    {"failures": 0},
    {"approval_timeout": float("nan")},
]


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("bounds", WRONG_BUDGETS, ids=str)
def test_a_budget_that_bounds_nothing_or_cannot_be_compared_is_refused_where_it_is_made(bounds: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Budget(**bounds)


@pytest.mark.promise("ORD-7")
@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-12, 0.0, float("nan")])
def test_a_rate_whose_next_turn_no_clock_can_name_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        InboxPolicy(rate=rate)
