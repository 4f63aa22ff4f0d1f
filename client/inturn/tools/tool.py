"""Tools: functions that the model may call.

Invariant: a mistake in a tool's declaration shows when it is declared, not in the middle of a turn; and a tool stays
what it was, a typed function that can be called and tested directly.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from pydantic_core import PydanticSerializationError, to_json

from inturn.tools.arguments import arguments_of, definition, where
from inturn.tools.declared import check_options, check_templates
from inturn.tools.plain_schemas import is_plain

P = ParamSpec("P")
R = TypeVar("R")

Approve = bool | Callable[[Mapping[str, Any]], bool]
Lookup = Callable[..., Any] | None
MAX_LOCK_NAME: Final = 200


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
        self.retries = retries
        self.idempotent = idempotent
        self.lookup = lookup
        self.approval = approval
        self.locks = tuple(locks)
        self.reads = tuple(reads)
        functools.update_wrapper(self, fn)
        try:
            check_options(self.name, timeout, retries, lookup, approval)
            self.parameters, self._arguments, self.context_parameter = arguments_of(fn, self.name)
            self._definition = definition(self.name, inspect.getdoc(fn) or self.name, self._arguments)
            for templates in (locks, reads):
                check_templates(templates, self.parameters)
        except (TypeError, ValueError) as error:
            raise type(error)(f"tool {self.name}: {error}{where(fn)}") from error
        self.timeout = float(timeout)
        self.is_async = is_async(fn)
        self.plain = not callable(approval) and is_plain(self._arguments, templates=bool(self.locks or self.reads))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        """Return it with its name."""
        return f"<tool {self.name}>"

    def definition(self) -> dict[str, Any]:
        """Return the tool as the Messages API takes it."""
        return {**self._definition}

    def validate_arguments(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's arguments, checked against the signature.

        Raises:
            pydantic.ValidationError: They do not fit.
        """
        try:  # as the JSON that it came as: what is strict takes a date or a tuple from nothing else
            made = self._arguments.model_validate_json(to_json(dict(raw)))
        except (PydanticSerializationError, RecursionError):  # given by hand, and no JSON
            made = self._arguments.model_validate(dict(raw))
        return dict(zip(self.parameters, made.__dict__.values(), strict=True))

    def filled_in(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's arguments with the defaults that stand in for those it left out: what a yes is to."""
        properties = self._definition["input_schema"]["properties"]
        return {name: told["default"] for name, told in properties.items() if "default" in told} | dict(raw)

    def needs_approval(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether a person must agree to these validated arguments; a predicate that fails means yes.

        So does one that says nothing; and what it does to the mapping that it is given changes nothing of the call.
        """
        if callable(self.approval):
            try:
                judged: object = self.approval(dict(arguments))
                return judged is None or bool(judged)
            except Exception:  # a predicate that cannot tell must not let the call through
                return True
        return self.approval

    def lock_names(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the resources that these arguments lock, sorted. Long ones are cut and keep a hash."""
        return _resources(self.locks, arguments)

    def read_names(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the names of the resources that these arguments only read, as `lock_names` does."""
        return _resources(self.reads, arguments)


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
        return Tool(fn, **options)
    return lambda function: Tool(function, **options)


def as_tool(value: Any) -> Tool[..., Any]:
    """Return a tool as it is, or a plain function as a tool with defaults."""
    if isinstance(value, Tool):
        return value
    if callable(value):
        return Tool(value)
    raise TypeError(f"{value!r} is no tool: decorate a function with @tool")


def arguments_hash(arguments: Mapping[str, Any]) -> str:
    """Return 12 hex digits of arguments: what an approval is bound to."""
    return hashlib.sha256(to_json({k: arguments[k] for k in sorted(arguments)}, fallback=str)).hexdigest()[:12]


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
