"""The form of an answer: what is declared can be held to, and what fits is what a turn gives out."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, create_model, field_validator
from pydantic_core import from_json

from inturn.agents import Agent
from inturn.models import ModelRequest, ModelSettings
from inturn.testing.claude.answering import Api
from inturn.turns.output import MAX_ERROR, correction, fitting, schema_of
from inturn_activities.model.claude_request import encoded


class Colour(enum.Enum):
    RED = "red"


class Line(BaseModel):
    sku: str = Field(pattern="[a-z]+", max_length=10)
    count: int = Field(ge=1, le=9)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Order(BaseModel):
    """An order."""

    id: str
    lines: list[Line]
    colour: Colour | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    note: str = "none"


class Node(BaseModel):
    children: list[Node]


class Holder(BaseModel):
    node: Node


class Names(RootModel[list[str]]):
    pass


def fields(**given: Any) -> type[BaseModel]:
    return create_model("Made", **given)


WRONG: dict[str, tuple[Any, str]] = {
    "no class": ("Order", "no pydantic model"),
    "no model": (dict, "no pydantic model"),
    "an object": (Line(sku="a", count=1), "no pydantic model"),
    "a root that is no object": (Names, "no pydantic model with fields"),
    "no fields": (fields(), "no fields|may be anything|mapping"),
    "itself": (Node, "refers to itself"),
    "itself, further in": (Holder, "refers to itself"),
    "anything": (fields(a=(Any, ...)), "Made.a may be anything"),
    "any mapping": (fields(a=(dict[str, int], ...)), "Made.a is a mapping"),
    "a mapping within a list": (fields(a=(list[dict[str, int]], ...)), r"Made.a\[\] is a mapping"),
    "a list of anything": (fields(a=(list, ...)), "list of anything|may be anything"),
    "a tuple": (fields(a=(tuple[int, str], ...)), "tuple"),
    "a key that no schema takes": (fields(**{"größe": (int, ...)}), "letters, digits"),
    "too many that may be left out": (fields(**{f"f{n}": (int, 0) for n in range(25)}), "24 at most"),
    "too many of several types": (fields(**{f"f{n}": (int | str, ...) for n in range(17)}), "16 at most"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_form_that_no_answer_can_be_held_to_is_refused_where_it_is_declared(wrong: str) -> None:
    model, why = WRONG[wrong]
    with pytest.raises(ValueError, match=why):
        Agent("a", model="claude-sonnet-5-5", instructions="", output=model)


def test_a_model_that_cannot_have_a_form_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be given a form"):
        Agent("a", model="claude-sonnet-4", instructions="", output=Line)


TYPES: list[Any] = [int, str, float, bool, Colour, Line, list[int], list[Line], Line | None, int | str]


@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=8), st.integers(0, 8))
def test_whatever_form_may_be_declared_the_api_takes(types: list[Any], optional: int) -> None:
    made = {f"f{n}": (each, ... if n >= optional else None) for n, each in enumerate(types)}
    _taken(fields(**made))


@pytest.mark.parametrize("model", [Order, Line])
def test_what_the_api_knows_no_words_for_is_told_as_a_description(model: type[BaseModel]) -> None:
    _taken(model)


def _taken(model: type[BaseModel]) -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    settings = ModelSettings(output=schema_of(model))
    Api().judge(from_json(encoded(ModelRequest("claude-sonnet-5-5", "", said, settings=settings))))


def say(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def test_what_fits_is_given_out_with_its_defaults_as_json() -> None:
    said = '{"id": "o1", "lines": [{"sku": "a", "count": 2}], "colour": "red", "pet": {"kind": "cat"}}'
    expected = {
        "id": "o1",
        "lines": [{"sku": "a", "count": 2}],
        "colour": "red",
        "pet": {"kind": "cat"},
        "note": "none",
    }
    assert fitting(Order, say(said)) == expected
    assert fitting(Order, say(said[20:]), before=said[:20]) == expected, "it went on from a pause"
    assert fitting(Order, say("Let me look.", said)) == expected, "talk before a server's tool"
    assert fitting(Order, [{"type": "thinking", "thinking": "x"}, *say(said[:30], said[30:])]) == expected


class Picky(BaseModel):
    a: int

    @field_validator("a")
    @classmethod
    def picky(cls, a: int) -> int:
        if a == 1:
            raise RuntimeError("no ones")
        return a


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "Invalid JSON"),
        ("no JSON", "Invalid JSON"),
        ("{}", "a: Field required"),
        ('{"a": "x"}', "a: Input should be a valid integer"),
        ('{"a": 1}', "RuntimeError: no ones"),
        ('{"a": 2', "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"a": ' + "9" * 5_000 + "}", "a"),
    ],
)
def test_what_does_not_fit_says_why(said: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fitting(Picky, say(said))


def test_what_the_model_is_told_is_bounded_and_can_be_sent() -> None:
    told = correction("\ud83d" + "x" * 10**6)
    assert len(told) < MAX_ERROR + 200
    told.encode()
