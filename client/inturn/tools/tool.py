"""Tools: functions that the model may call.

Invariant: a mistake in a tool's declaration shows when it is declared, not in the middle of a turn; and a tool stays
what it was, a typed function that can be called and tested directly.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import string
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import to_json

from inturn.tools.context import ToolContext
from inturn.tools.plain_schemas import is_plain

P = ParamSpec("P")
R = TypeVar("R")

Approve = bool | Callable[[Mapping[str, Any]], bool]
Lookup = Callable[..., Any] | None
MAX_TIMEOUT: Final = 24 * 3600.0
MAX_LOCK_NAME: Final = 200
_NAME: Final = frozenset(string.ascii_letters + string.digits + "_-")


class ToolOptions(TypedDict, total=False):
    """What `@tool(...)` takes."""

    name: str | None
    """What the model calls it; by default as the function is called."""
    timeout: float
    """Seconds its body may take: 30 by default, at most a day."""
    retries: int
    """Attempts after the first one, for failures that may pass: 2 by default."""
    idempotent: bool
    """Repeating it with the same `ctx.key` has no second effect."""
    lookup: Lookup
    """`lookup(key)` tells what an earlier attempt did: its result, or `None` when nothing happened."""
    approval: Approve
    """Whether a person must agree first: always, never, or by a predicate on the validated arguments."""
    locks: Sequence[str]
    """Resources it changes, as templates over its arguments: `"order:{order_id}"`."""
    reads: Sequence[str]
    """Resources it only reads."""


class Tool(Generic[P, R]):
    """A declared tool; call it as the function it was made from.

    Attributes:
        fn: The function. What it was declared with are attributes of the same names, see `ToolOptions`.
        parameters: The names of the model's arguments, in order.
        context_parameter: The parameter that receives the `ToolContext`, if any.
        is_async: It runs on the event loop; else in a thread.
        plain: No code of its author's runs where its arguments are checked.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str | None = None,
        timeout: float = 30,
        retries: int = 2,
        idempotent: bool = False,
        lookup: Lookup = None,
        approval: Approve = False,
        locks: Sequence[str] = (),
        reads: Sequence[str] = (),
    ) -> None:
        """Declare a tool; see `tool`."""
        self.fn = fn
        self.name: str = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.timeout = float(timeout)
        self.retries = retries
        self.idempotent = idempotent
        self.lookup = lookup
        self.approval = approval
        self.locks = tuple(locks)
        self.reads = tuple(reads)
        functools.update_wrapper(self, fn)
        self.parameters, self._arguments, self.context_parameter = _arguments_model(fn, self.name)
        self.is_async = is_async(fn)
        self.plain = not callable(approval) and is_plain(self._arguments, templates=bool(self.locks or self.reads))
        self._check()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        """Return it with its name."""
        return f"<tool {self.name}>"

    def definition(self) -> dict[str, Any]:
        """Return the tool as the Messages API takes it."""
        schema = {"properties": {}, **_untitled(self._arguments.model_json_schema())}
        return {"name": self.name, "description": inspect.getdoc(self.fn) or self.name, "input_schema": schema}

    def validate_arguments(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's arguments, checked against the signature.

        Raises:
            pydantic.ValidationError: They do not fit.
        """
        made = self._arguments.model_validate(dict(raw))
        return dict(zip(self.parameters, made.__dict__.values(), strict=True))

    def needs_approval(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether a person must agree to these validated arguments. A predicate that raises means yes."""
        if callable(self.approval):
            try:
                return bool(self.approval(arguments))
            except Exception:  # a predicate that cannot tell must not let the call through
                return True
        return self.approval

    def lock_names(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the resources that these arguments lock, sorted. Long ones are cut and keep a hash."""
        return _resources(self.locks, arguments)

    def read_names(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the resources that these arguments only read, as `lock_names` does."""
        return _resources(self.reads, arguments)

    def _check(self) -> None:
        if not (1 <= len(self.name) <= 128 and set(self.name) <= _NAME):
            raise ValueError(f"tool name {self.name!r} may hold letters, digits, _ and - only, 1 to 128 of them")
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise ValueError(f"tool {self.name}: timeout is {self.timeout} s, it must be above 0 and at most a day")
        if self.retries < 0:
            raise ValueError(f"tool {self.name}: retries must not be negative")
        fields = set(self.parameters)
        for template in (*self.locks, *self.reads):
            used = {name.split(".")[0].split("[")[0] for _, name, _, _ in string.Formatter().parse(template) if name}
            if not used <= fields:
                missing = ", ".join(sorted(used - fields))
                raise ValueError(f"tool {self.name}: {template!r} names {missing}, which is no argument of it")


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(fn: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]) -> Any:
    """Declare a function as a tool; works bare (`@tool`) and with options.

    Args:
        fn: The function, async or not. A parameter annotated `ToolContext` receives the context; all others are the
            model's arguments and need annotations. The docstring tells the model what it does.
        **options: See `ToolOptions`.

    Raises:
        ValueError: An option cannot be right.
        TypeError: The function's signature cannot be called by name.
    """
    if fn is not None:
        return Tool(fn)
    return lambda function: Tool(function, **options)


def as_tool(value: Any) -> Tool[..., Any]:
    """Return a tool as it is, or a plain function as a tool with defaults."""
    if isinstance(value, Tool):
        return value
    if callable(value):
        return Tool(value)
    raise TypeError(f"{value!r} is no tool: decorate a function with @tool")


def arguments_hash(arguments: Mapping[str, Any]) -> str:
    """Return 12 hex digits of the arguments as the model gave them: what an approval is bound to."""
    return hashlib.sha256(to_json({k: arguments[k] for k in sorted(arguments)})).hexdigest()[:12]


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether calling a function gives something to await, and does nothing else.

    Judged by what is called: a decorator without `async` may do anything before it calls what it wraps.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not (inspect.isroutine(fn) or inspect.isclass(fn)):
        fn = type(fn).__call__  # an object
    return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)


async def call_async(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that may be async, and return its result."""
    result = fn(*args, **kwargs)
    return await result if isinstance(result, Awaitable) else result


def _resources(templates: Sequence[str], arguments: Mapping[str, Any]) -> list[str]:
    return sorted({lock_name(template.format_map(dict(arguments))) for template in templates})


def lock_name(name: str) -> str:
    """Return a lock's name as it is kept: a long one is cut and keeps a hash."""
    if len(name) <= MAX_LOCK_NAME:
        return name
    return f"{name[: MAX_LOCK_NAME - 17]}~{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:16]}"


def _arguments_model(fn: Callable[..., Any], name: str) -> tuple[tuple[str, ...], type[BaseModel], str | None]:
    """Return the names of the model's arguments, a model that checks them, and the parameter for the context."""
    try:
        hints = typing.get_type_hints(_annotated(fn), include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {name}: cannot read the annotations: {error}") from error
    fields: dict[str, Any] = {}
    context: str | None = None
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {name}: parameter {parameter.name!r} cannot be passed by name")
        hint = hints.get(parameter.name, parameter.annotation)
        if hint is ToolContext or ToolContext in typing.get_args(hint):
            context = parameter.name
            continue
        if hint is parameter.empty:
            raise TypeError(f"tool {name}: parameter {parameter.name!r} needs an annotation")
        fields[parameter.name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
    # Under names of our own: a parameter may be called `schema` or `_x`, which pydantic keeps for itself.
    made: dict[str, Any] = {
        f"argument_{i}": (h, Field(d, alias=alias)) for i, (alias, (h, d)) in enumerate(fields.items())
    }
    model: type[BaseModel] = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **made)
    return tuple(fields), model, context


def _annotated(fn: Any) -> Any:
    """Return what holds the annotations: the function itself, behind decorators, partials and `__call__`."""
    fn = inspect.unwrap(fn)
    while isinstance(fn, functools.partial):
        fn = inspect.unwrap(fn.func)
    return fn if inspect.isroutine(fn) else type(fn).__call__


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
