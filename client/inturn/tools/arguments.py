"""A function's signature as the model's arguments: what checks them, and the schema that the model is given.

Invariant: all that pydantic reads of a signature counts, wherever it stands; and a signature that cannot be called by
name, or whose schema the Messages API would refuse, is refused here, where it is declared.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from inturn.tools.context import ToolContext

MAX_SCHEMA: Final = 100 * 1024
"""Bytes of what the model is told of one tool: it pays for them in every request."""
MAX_DEPTH: Final = 60
"""Levels of a schema; readers of JSON give up at some hundreds."""
_PROPERTY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class Arguments(NamedTuple):
    """What a signature says.

    Attributes:
        parameters: The names of the model's arguments as the function takes them, in order.
        model: Checks them.
        context: The parameter that receives the `ToolContext`, if any.
    """

    parameters: tuple[str, ...]
    model: type[BaseModel]
    context: str | None


def arguments_of(fn: Callable[..., Any], name: str) -> Arguments:
    """Return what a function's signature says.

    Raises:
        TypeError: It cannot be called by name with what a model gives.
    """
    try:
        hints = typing.get_type_hints(_annotated(fn), include_extras=True)
    except NameError as error:
        raise TypeError(f"cannot read the annotations: {error}") from error
    fields: dict[str, tuple[Any, Any]] = {}
    context: str | None = None
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"parameter {parameter.name!r} cannot be passed by name")
        hint = hints.get(parameter.name, parameter.annotation)
        if hint is ToolContext or ToolContext in typing.get_args(hint):
            if context is not None:
                raise TypeError(f"both {context!r} and {parameter.name!r} are for the context")
            context = parameter.name
        elif hint is parameter.empty:
            raise TypeError(f"parameter {parameter.name!r} needs an annotation")
        else:
            fields[parameter.name] = _field(parameter.name, hint, parameter)
    return Arguments(tuple(fields), _model(name, fields), context)


def definition(name: str, description: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return a tool as the Messages API takes it.

    Raises:
        TypeError: An argument's type has no JSON schema.
        ValueError: The API would refuse it.
    """
    try:
        schema = model.model_json_schema()
    except Exception as error:  # whatever a type's own hook raises
        raise TypeError(f"no JSON schema can be made of its arguments: {error}") from error
    shown: dict[str, Any] = {"properties": {}, **_untitled(schema)}
    made: dict[str, Any] = {"name": name, "description": description, "input_schema": shown}
    for key in shown["properties"]:
        if not _PROPERTY.fullmatch(key):
            raise ValueError(
                f"argument {key!r}: the Messages API takes letters, digits and ._- only, 1 to 64 of them; give it "
                f"another name for the model with Field(alias=...)"
            )
    if _depth(made) > MAX_DEPTH:
        raise ValueError(f"its schema has more than {MAX_DEPTH} levels")
    try:
        size = len(json.dumps(made, ensure_ascii=False, default=str).encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"half a character (a lone surrogate) stands in what the model is told: {error}") from error
    if size > MAX_SCHEMA:
        raise ValueError(f"what the model is told of it has {size:,} bytes, at most {MAX_SCHEMA:,} are sent each time")
    return made


def _field(name: str, hint: Any, parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Return an argument as `create_model` takes it, under the name that the model uses."""
    default = parameter.default
    if isinstance(default, FieldInfo):  # `n: int = Field(gt=0)` says the same as `Annotated[int, Field(gt=0)]`
        hint, default = Annotated[hint, default], ...
        alias = _alias(FieldInfo.from_annotation(hint)) or name
        return hint, Field(alias=alias)
    alias = _alias(FieldInfo.from_annotation(hint)) or name
    return hint, Field(... if default is parameter.empty else default, alias=alias)


def _alias(field: FieldInfo) -> str | None:
    found = field.validation_alias or field.alias
    if found is not None and not isinstance(found, str):
        raise TypeError(f"an argument has one name, not {found!r}")
    return found


def _model(name: str, fields: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    aliases = [field.alias for _, field in fields.values()]
    twice = sorted({alias for alias in aliases if aliases.count(alias) > 1})
    if twice:
        raise TypeError(f"two arguments are named {', '.join(twice)} for the model")
    # Under names of our own: a parameter may be called `schema` or `_x`, which pydantic keeps for itself.
    made: dict[str, Any] = {f"argument_{i}": field for i, field in enumerate(fields.values())}
    try:
        model: type[BaseModel] = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **made)
    except Exception as error:  # pydantic's own, and whatever a type's hook raises
        raise TypeError(f"its arguments cannot be checked: {error}") from error
    return model


def _annotated(fn: Any) -> Any:
    """Return what holds the annotations: the function itself, behind decorators, partials and `__call__`."""
    fn = inspect.unwrap(fn)
    while isinstance(fn, functools.partial):
        fn = inspect.unwrap(fn.func)
    return fn if inspect.isroutine(fn) else type(fn).__call__


def where(fn: Any) -> str:
    """Return the file and line of a function, for messages; "" where it has none."""
    code = getattr(_annotated(fn), "__code__", None)
    return "" if code is None else f" ({code.co_filename}:{code.co_firstlineno})"


def _depth(value: Any) -> int:
    """Return how many levels a value has, looking no deeper than is allowed."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        nested = [inner for inner in level if isinstance(inner, dict | list)]
        level = [part for inner in nested for part in (inner.values() if isinstance(inner, dict) else inner)]
    return depth


def _untitled(schema: Any) -> Any:
    """Leave out the titles that pydantic makes of names: they tell the model nothing and cost tokens."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _inside(key, value) for key, value in schema.items() if key != "title"}


def _inside(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):  # their keys are names, and one may be "title"
        return {name: _untitled(item) for name, item in value.items()}
    return value if key in ("default", "const", "enum", "examples") else _untitled(value)
