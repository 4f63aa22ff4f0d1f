"""Tools: mistakes in a declaration show when it is declared, and a tool stays the function that it was."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from inturn.tools import Tool, arguments_hash, as_tool, tool
from inturn.tools.context import ToolContext


class Order(BaseModel):
    """What is sold."""

    id: str
    lines: list[int] = []


@tool(timeout=5, retries=1, idempotent=True, locks=["order:{order_id}", "account:{to}"], reads=["shop"])
async def refund(
    order_id: str, cents: Annotated[int, Field(gt=0, le=100)], to: str = "card", *, ctx: ToolContext
) -> str:
    """Refund an order.

    Only once.
    """
    return f"{order_id} {cents} {to} {ctx.key}"


def test_the_model_sees_name_docstring_and_schema_without_the_context() -> None:
    definition = refund.definition()
    assert definition["name"] == "refund"
    assert definition["description"] == "Refund an order.\n\nOnly once."
    schema = definition["input_schema"]
    assert set(schema["properties"]) == {"order_id", "cents", "to"}
    assert schema["required"] == ["order_id", "cents"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["cents"]["maximum"] == 100


def test_a_schema_has_no_made_up_titles_and_keeps_an_argument_of_that_name() -> None:
    @tool
    async def file(title: str, order: Order, extra: dict[str, str] = {"title": "t"}) -> str:  # noqa: B006 - only read
        """File."""
        return title

    properties = file.definition()["input_schema"]["properties"]
    assert properties["title"] == {"type": "string"}
    assert properties["extra"]["default"] == {"title": "t"}
    assert "'title':" not in str(file.definition()["input_schema"]["$defs"])


def test_a_bare_tool_has_the_defaults() -> None:
    @tool
    def plain(a: int) -> int:
        """Be plain."""
        return a

    assert isinstance(plain, Tool)
    assert (plain.timeout, plain.retries, plain.idempotent, plain.approval, plain.locks) == (30, 2, False, False, ())
    assert plain(3) == 3
    assert plain.is_async is False
    assert getattr(plain, "__name__", None) == "plain"


async def test_a_tool_is_called_as_the_function_it_was_made_from() -> None:
    from inturn.testing import context

    assert await refund("o1", 5, ctx=context(key="k")) == "o1 5 card k"
    assert refund.is_async


def test_arguments_are_checked_against_the_signature() -> None:
    assert refund.validate_arguments({"order_id": "o", "cents": 3}) == {"order_id": "o", "cents": 3, "to": "card"}
    for wrong in (
        {},
        {"order_id": "o", "cents": 0},
        {"order_id": "o", "cents": 3, "ctx": {}},
        {"order_id": 1, "cents": 3},
    ):
        with pytest.raises(ValidationError):
            refund.validate_arguments(wrong)


def test_models_and_literals_are_arguments_too() -> None:
    @tool
    async def sell(order: Order, kind: Literal["a", "b"] = "a", tags: list[str] | None = None) -> str:
        """Sell."""
        return order.id

    made = sell.validate_arguments({"order": {"id": "o1"}, "kind": "b"})
    assert made["order"] == Order(id="o1")
    assert made["tags"] is None
    assert sell.definition()["input_schema"]["properties"]["kind"]["enum"] == ["a", "b"]


def test_names_that_pydantic_wants_for_itself_are_fine() -> None:
    @tool
    async def odd(schema: str, copy: int, json: str, model_config: str, _private: int = 1, self_: str = "") -> str:
        """Be odd."""
        return schema

    given = {"schema": "s", "copy": 1, "json": "{}", "model_config": "m"}
    assert odd.validate_arguments(given) == {**given, "_private": 1, "self_": ""}
    assert set(odd.definition()["input_schema"]["properties"]) == {*given, "_private", "self_"}
    with pytest.raises(ValidationError) as failed:
        odd.validate_arguments({**given, "copy": "x"})
    assert failed.value.errors()[0]["loc"] == ("copy",)


def test_locks_are_named_by_the_arguments_sorted_and_bounded() -> None:
    assert refund.lock_names({"order_id": "o1", "cents": 1, "to": "bank"}) == ["account:bank", "order:o1"]
    one, other = (refund.lock_names({"order_id": "x" * 5_000 + end, "to": "b"})[1] for end in "12")
    assert len(one) == 200
    assert one != other


def test_a_predicate_sees_validated_arguments_and_asks_when_it_cannot_tell() -> None:
    @tool(approval=lambda a: a["cents"] > 100)
    async def pay(cents: int) -> str:
        """Pay."""
        return "paid"

    assert [pay.needs_approval({"cents": n}) for n in (100, 101)] == [False, True]
    assert pay.needs_approval({}) is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout is 0.0 s"),
        ({"timeout": 1e9}, "at most a day"),
        ({"retries": -1}, "retries"),
        ({"name": "with space"}, "may hold letters"),
        ({"name": ""}, None),
        ({"locks": ["order:{order}"]}, "names order, which is no argument"),
        ({"reads": ["{a.b}{c[0]}"]}, "names c"),
    ],
)
def test_a_wrong_option_shows_when_the_tool_is_declared(options: dict[str, Any], message: str | None) -> None:
    def made() -> Tool[..., Any]:
        @tool(**options)
        async def work(a: int) -> str:
            """Work."""
            return "x"

        return work

    if message is None:
        assert made().name == "work"
        return
    with pytest.raises(ValueError, match=message):
        made()


def _positional(a: int, /) -> None: ...
def _starred(*args: int) -> None: ...
def _keywords(**kwargs: int) -> None: ...
def _bare(a) -> None: ...  # type: ignore[no-untyped-def]
def _unreadable(a: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize("fn", [_positional, _starred, _keywords, _bare, _unreadable])
def test_a_signature_that_cannot_be_called_by_name_is_refused(fn: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=f"tool {fn.__name__}: "):
        tool(fn)


def test_what_is_no_function_is_no_tool() -> None:
    with pytest.raises(TypeError, match="decorate a function"):
        as_tool("refund")
    assert as_tool(refund) is refund


def test_objects_partials_and_optional_contexts_work() -> None:
    class Greeter:
        async def __call__(self, name: str, ctx: ToolContext | None = None) -> str:
            """Greet."""
            return f"hi {name}"

    greet = Tool(Greeter(), name="greet")
    assert greet.is_async
    assert greet.context_parameter == "ctx"
    assert set(greet.definition()["input_schema"]["properties"]) == {"name"}

    def scale(factor: int, value: int) -> int:
        """Scale."""
        return factor * value

    double = Tool(functools.partial(scale, 2), name="double")
    assert set(double.definition()["input_schema"]["properties"]) == {"value"}
    assert double.fn(value=4) == 8


def test_the_hash_of_arguments_depends_on_what_they_say_alone() -> None:
    assert arguments_hash({"a": 1, "b": 2}) == arguments_hash({"b": 2, "a": 1})
    assert arguments_hash({"a": 1}) != arguments_hash({"a": "1"})
    assert len(arguments_hash({})) == 12


async def test_context_methods_outside_a_worker_do_nothing() -> None:
    from inturn.testing import context

    ctx = context()
    await ctx.progress("x")
    await ctx.checkpoint(1)

    def in_thread() -> None:
        ctx.progress("y")
        ctx.checkpoint(2)

    await asyncio.to_thread(in_thread)
