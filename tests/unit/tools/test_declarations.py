"""What is declared counts, wherever it stands, and what cannot work is refused where it is declared."""

from __future__ import annotations

import datetime
import enum
import functools
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import pytest
from pydantic import AliasChoices, BaseModel, Field, Strict, ValidationError

from inturn.tools import Tool, tool
from inturn.tools.checks import CheckedCall, check_call
from inturn.tools.context import ToolContext


class Colour(enum.Enum):
    """What it comes in."""

    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    """An animal."""

    kind: Literal["cat"]
    lives: int = Field(default=9, ge=1)


class Dog(BaseModel):
    """Another."""

    kind: Literal["dog"]


class Exact(BaseModel, strict=True):
    """Takes nothing for something else."""

    day: datetime.date


class Deep(BaseModel):
    """Goes on within itself."""

    inner: Deep | None = None


def _bounded(cents: int = Field(gt=0, le=5_000)) -> None: ...
def _both(cents: Annotated[int, Field(gt=0)] = Field(default=3, le=5_000)) -> None: ...
def _made(lines: list[str] = Field(default_factory=lambda: ["a"], max_length=2)) -> None: ...  # noqa: B008
def _aliased(order_id: str = Field(alias="orderId", pattern="^o")) -> None: ...
def _annotated_alias(order_id: Annotated[str, Field(alias="orderId")] = "o1") -> None: ...
def _union(pet: Union[Cat, Dog] = Field(discriminator="kind")) -> None: ...  # noqa: B008, UP007
def _plain(colour: Colour, kind: Literal["a", "b"] = "a") -> None: ...
def _strict(
    day: Annotated[datetime.date, Strict()], colour: Annotated[Colour, Strict()], order: Annotated[uuid.UUID, Strict()]
) -> None: ...
def _strict_inside(pair: Annotated[tuple[int, int], Strict()], exact: Exact) -> None: ...
def _strict_number(n: Annotated[int, Strict()]) -> None: ...
def _typed(lives: list[Cat], deep: Deep | None = None) -> None: ...


@pytest.mark.promise("SEC-4")
@pytest.mark.parametrize(
    ("fn", "fits", "wrong"),
    [
        (_bounded, {"cents": 5_000}, [{"cents": 99_999}, {"cents": 0}, {}]),
        (_both, {}, [{"cents": 0}, {"cents": 5_001}]),
        (_made, {}, [{"lines": ["a", "b", "c"]}]),
        (_aliased, {"orderId": "o1"}, [{"order_id": "o1"}, {"orderId": "x"}, {}]),
        (_annotated_alias, {"orderId": "o2"}, [{"order_id": "o1"}]),
        (_union, {"pet": {"kind": "dog"}}, [{"pet": {"kind": "cow"}}, {"pet": {"kind": "cat", "lives": 0}}]),
        (_plain, {"colour": "red"}, [{"colour": "green"}, {"colour": "red", "kind": "c"}]),
        (
            _strict,
            {"day": "2026-11-30", "colour": "red", "order": "0" * 32},
            [{"day": 1}, {"day": "1", "colour": "red"}],
        ),
        (_strict_inside, {"pair": [1, 2], "exact": {"day": "2026-11-30"}}, [{"pair": [1, "2"], "exact": {"day": "x"}}]),
        (_strict_number, {"n": 10**30}, [{"n": "1"}, {"n": True}, {"n": 1.5}]),
        (_typed, {"lives": [{"kind": "cat"}]}, [{"lives": [{"kind": "cat", "lives": 0}]}, {"lives": {}}]),
    ],
)
def test_all_that_pydantic_reads_counts(
    fn: Callable[..., Any], fits: dict[str, Any], wrong: list[dict[str, Any]]
) -> None:
    declared = Tool(fn)
    checked = check_call(declared, fits)
    assert isinstance(checked, CheckedCall)
    assert not any(type(value).__name__ == "FieldInfo" for value in checked.arguments.values())
    declared(**checked.arguments)
    for arguments in wrong:
        with pytest.raises(ValidationError):
            declared.validate_arguments(arguments)


def test_the_model_is_told_what_a_field_says() -> None:
    properties = Tool(_bounded).definition()["input_schema"]["properties"]
    assert properties["cents"] == {"type": "integer", "exclusiveMinimum": 0, "maximum": 5_000}
    assert set(Tool(_aliased).definition()["input_schema"]["properties"]) == {"orderId"}


def test_locks_name_arguments_as_the_function_takes_them() -> None:
    declared = Tool(_aliased, locks=["order:{order_id}"])
    assert declared.lock_names(declared.validate_arguments({"orderId": "o1"})) == ["order:o1"]


async def _foreign(größe: int) -> None: ...
async def _long(x: int = Field(alias="x" * 65)) -> None: ...
async def _odd(x: int = Field(alias="a b")) -> None: ...
async def _half(x: int = Field(description="\ud800")) -> None: ...
async def _half_default(x: str = "\udfff") -> None: ...
async def _many(x: str = Field(description="x" * 200_000)) -> None: ...
async def _twins(a: int = Field(alias="x"), b: int = Field(alias="x")) -> None: ...
async def _choices(a: int = Field(validation_alias=AliasChoices("a", "b"))) -> None: ...
async def _function(a: Callable[[int], int]) -> None: ...
async def _object(a: object.__class__) -> None: ...  # type: ignore[valid-type]
async def _contexts(a: ToolContext, b: ToolContext) -> None: ...
async def _nested(x: Any) -> None: ...


_deep: Any = int
for _ in range(80):
    _deep = list[_deep]
_nested.__annotations__["x"] = _deep


@pytest.mark.promise("SEC-4")
@pytest.mark.parametrize(
    "fn", [_foreign, _long, _odd, _half, _half_default, _many, _twins, _choices, _function, _contexts, _nested]
)
def test_a_signature_that_the_api_would_refuse_is_refused_with_its_line(fn: Callable[..., Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"(?s)tool {fn.__name__}: .*test_declarations\.py:\d+\)"):
        tool(fn)


def test_half_a_character_in_the_docstring_is_refused() -> None:
    async def say() -> None: ...

    say.__doc__ = "Half a \ud83d."
    with pytest.raises(ValueError, match="half a character"):
        tool(say)


async def _asks(arguments: Any) -> bool:
    return True


class _Asker:
    async def __call__(self, arguments: Any) -> bool:
        return False


@pytest.mark.promise("EFF-5", "EFF-7")
@pytest.mark.parametrize(
    "options",
    [
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": -1},
        {"timeout": "30"},
        {"timeout": True},
        {"retries": 10**9},
        {"retries": 1.5},
        {"retries": float("nan")},
        {"approval": "yes"},
        {"approval": None},
        {"approval": _asks},
        {"approval": _Asker()},
        {"approval": functools.partial(_Asker())},
        {"approval": lambda: True},
        {"lookup": "look"},
        {"lookup": lambda: None},
        {"locks": "order:{a}"},
        {"locks": ["order:{}"]},
        {"locks": ["order:{0}"]},
        {"reads": ["order:{a"]},
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    async def work(a: int) -> None: ...

    with pytest.raises((TypeError, ValueError), match="tool work: "):
        tool(**options)(work)


def test_options_beside_a_function_count_as_those_of_a_decorator_do() -> None:
    def refund(cents: int) -> str:
        """Refund."""
        return "refunded"

    made: Any = tool
    given = made(refund, approval=True, timeout=3, retries=0, idempotent=True)
    assert (given.approval, given.timeout, given.retries, given.idempotent) == (True, 3, 0, True)
    with pytest.raises(ValueError, match="timeout"):
        made(refund, timeout=-1)
