"""Facts per model."""

from __future__ import annotations

from typing import get_args

import pytest
from anthropic.types import Model

from inturn.models.facts import MODELS, UNKNOWN, facts, family


def test_every_model_that_the_sdk_names_stands_in_the_table() -> None:
    literal, _ = get_args(Model)
    names = get_args(literal)
    assert len(names) > 20
    assert [name for name in names if family(name) is None] == []


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-5", "claude-opus-5"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("anthropic/claude-sonnet-5.5", "claude-sonnet-5-5"),
        ("Claude-Sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5"),
    ],
)
def test_a_name_is_looked_up_without_its_date_platform_and_version(name: str, known: str) -> None:
    assert family(name) == known


@pytest.mark.parametrize(
    "name", ["claude-opus-5-7", "claude-opus-4-80", "claude-opus-50", "claude-x", "gpt-7", "m", ""]
)
def test_a_model_that_nobody_knows_gets_the_form_that_every_model_takes(name: str) -> None:
    assert facts(name) is UNKNOWN
    assert UNKNOWN.says_system_as_text
    assert not UNKNOWN.thinking
    assert not UNKNOWN.effort
    assert all(UNKNOWN.max_output <= known.max_output for known in MODELS.values())
    assert all(UNKNOWN.window <= known.window for known in MODELS.values())


def test_instructions_within_the_conversation_go_as_text_where_they_would_not_be_read() -> None:
    as_text = {name for name, known in MODELS.items() if known.says_system_as_text}
    assert {"claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-7", "claude-sonnet-5"} <= as_text
    assert not {"claude-opus-4-8", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2"} & as_text


def test_a_model_that_thinks_unasked_cannot_think_by_a_budget() -> None:
    for known in MODELS.values():
        assert not (known.thinks and "enabled" in known.thinking)
