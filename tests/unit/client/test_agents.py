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
    assert [t["name"] for t in made["tools"]] == ["add", "sub"]


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
        "usd": 1.0,
        "steps": 2,
        "thoughts": 6,
    }
