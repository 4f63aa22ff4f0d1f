"""What a tool may be declared with.

Invariant: an option that cannot work is refused where it stands, in words that say what would.
"""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Collection, Sequence
from typing import Any, Final

MAX_TIMEOUT: Final = 24 * 3600.0
MAX_RETRIES: Final = 1_000
_NAME: Final = frozenset(string.ascii_letters + string.digits + "_-")


def check_options(name: str, timeout: Any, retries: Any, lookup: Any, approval: Any) -> None:
    """Check what a tool is declared with.

    Raises:
        TypeError, ValueError: It cannot work.
    """
    if not (1 <= len(name) <= 128 and set(name) <= _NAME):
        raise ValueError("its name may hold letters, digits, _ and - only, 1 to 128 of them")
    if not _is_number(timeout) or not 0 < timeout <= MAX_TIMEOUT:
        shown = float(timeout) if _is_number(timeout) else repr(timeout)
        raise ValueError(f"timeout is {shown} s, it must be above 0 and at most a day")
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= MAX_RETRIES:
        raise ValueError(f"retries is {retries!r}, it must be a whole number from 0 to {MAX_RETRIES:,}")
    if lookup is not None:
        _check_function("lookup", lookup, "the call's key")
    if not isinstance(approval, bool):
        _check_function("approval", approval, "the arguments")
        if _is_async(approval):
            raise TypeError(
                "approval is async: what it returns would always count as a yes; let it be a plain function"
            )


def check_templates(templates: Sequence[str], parameters: Collection[str]) -> None:
    """Check the names of locks.

    Raises:
        TypeError, ValueError: They cannot be made of the arguments.
    """
    if isinstance(templates, str):
        raise TypeError(f"{templates!r} is one text: locks and reads are sequences, ({templates!r},)")
    for template in templates:
        used = {name.split(".")[0].split("[")[0] for name in _names(template)}
        if not used <= set(parameters):
            missing = ", ".join(sorted(name or "{}" for name in used - set(parameters)))
            raise ValueError(f"{template!r} names {missing}, which is no argument of it")


def _names(template: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}") from error


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_function(option: str, fn: Any, takes: str) -> None:
    if not callable(fn):
        raise TypeError(f"{option} is {fn!r}, it must be a function of {takes}")
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return  # a builtin's cannot be read
    try:
        signature.bind("")
    except TypeError as error:
        raise TypeError(f"{option} must be a function of {takes}: {error}") from error
