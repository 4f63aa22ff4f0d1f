"""The small functions around a tool's call: checks of its arguments, names of locks, the approval's predicate, lookups.

Invariant: code of the tool's author never runs on the event loop unless it is async; it has a thread, from a pool that
tools do not share, and a time. Checks that hold no such code stay where they are: a thread costs more than they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from inturn.events import explain
from inturn.journal.log import codec
from inturn.tools.event_loop import is_cancelled
from inturn.tools.plain_schemas import is_plain
from inturn.tools.returned import finite, finite_async, is_async_iterator, is_awaitable, is_small
from inturn.tools.secrets import redact
from inturn.tools.threads import Caller, NoThread, Threads
from inturn.tools.tool import Tool, is_async
from inturn.turns.blocks import Block
from inturn.turns.call_results import CallResult, describe, invalid_arguments
from inturn.turns.output import fitting

CHECKED_WITHIN: Final = 10.0
"""Seconds for a call's arguments, with the approval's predicate and the names of locks."""


@dataclass(frozen=True, slots=True)
class CheckedCall:
    """What a tool's declaration says of a call.

    Attributes:
        arguments: As the function takes them.
        locks: Names of what it changes.
        reads: Names of what it only reads.
        approval: A person must agree first.
    """

    arguments: dict[str, Any]
    locks: list[str]
    reads: list[str]
    approval: bool


def check_call(tool: Tool[..., Any], raw: Any) -> CheckedCall | CallResult:
    """Return what the declaration says of a call, or the call's result where its arguments do not fit.

    Nothing else reads a call's input, so that the step that asks for a yes and the step that acts read the same.
    """
    if not isinstance(raw, dict):
        return invalid_arguments("the input is no object")
    try:
        arguments = tool.validate_arguments(codec.copied(raw))  # a validator may change what it is given
        locks, reads = tool.lock_names(arguments), tool.read_names(arguments)
    except ValidationError as error:
        return invalid_arguments(redact(explain(error)))
    except Exception as error:  # a validator of the tool's may raise anything
        return invalid_arguments(redact(describe(error)))
    return CheckedCall(arguments, locks, reads, tool.needs_approval(arguments))


async def checked_call(
    tool: Tool[..., Any], raw: Any, threads: Threads, caller: Caller, *, timeout: float
) -> CheckedCall | CallResult | None:
    """Return what `check_call` does; `None` where that cannot be found out in time: then nothing is known of the call.

    Raises:
        NoThread: Its checks hang in all threads that they may have.
    """
    if tool.plain:
        return check_call(tool, raw)
    try:
        return await threads.call(partial(check_call, tool, raw), timeout=min(timeout, tool.timeout), caller=caller)
    except TimeoutError:
        return None
    except NoThread:
        raise
    except Exception as error:  # SystemExit and its like: the check's own end
        return invalid_arguments(redact(describe(error)))


async def fitted(
    model: type[BaseModel],
    answer: Sequence[Block],
    threads: Threads,
    caller: Caller,
    *,
    before: str = "",
    timeout: float = CHECKED_WITHIN,
) -> Any:
    """Return what an answer says in the form of a model, as JSON; see `inturn.turns.output.fitting`.

    Raises:
        ValueError: It does not fit, or nobody can say so in time; says why.
    """
    fit = partial(fitting, model, answer, before)
    if is_plain(model, templates=False):
        return fit()
    try:
        return await threads.call(fit, timeout=timeout, caller=caller)
    except (TimeoutError, NoThread):
        raise ValueError("its checks took too long") from None


async def call_bounded(fn: Callable[[], Any], threads: Threads, caller: Caller, *, timeout: float) -> Any:
    """Call a function that may be async, in a thread where it is not, and return its result, made finite.

    Raises:
        NoThread: No thread became free in that time.
        TimeoutError: It took longer.
        Exception: What it raised; what would end the event loop comes as a `RuntimeError`.
    """
    async with asyncio.timeout(timeout):
        try:
            result = fn() if is_async(fn) else await threads.call(fn, timeout=timeout, caller=caller)
            result = await result if is_awaitable(result) else result
            if is_async_iterator(result):
                return await finite_async(result)
            if is_small(result):
                return result
            return await threads.call(partial(finite, result, bool), timeout=timeout, caller=caller)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise RuntimeError("it was cancelled by itself") from None
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"it raised {type(error).__name__}") from error
