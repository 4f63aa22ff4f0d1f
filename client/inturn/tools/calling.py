"""How a call of a tool is checked and run: the same rules in a worker and in `inturn.testing.run`.

Invariant: the function sees the ids of its own call and no other's, in a task or in a thread; whatever it raises ends
the call and not the worker; and no secret that it was given leaves with what it returns or raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from inturn import sizes
from inturn.errors import Retry, ToolError
from inturn.journal.values import Superseded
from inturn.tools.context import ToolContext, running
from inturn.tools.event_loop import is_cancelled
from inturn.tools.returned import finite, finite_async, is_async_iterator, is_awaitable, is_iterator
from inturn.tools.secrets import CallSecrets
from inturn.tools.threads import OnLate, ThreadSlot
from inturn.tools.tool import Lookup, Tool, is_async
from inturn.turns.call_results import (
    DELIVERY_TIMEOUT,
    CallResult,
    FailedAttempt,
    interpret_error,
    leaves,
    text_of,
    timed_out,
)

DELIVERY_RETRIES: Final = 2
MAX_CHECKPOINT: Final = 256 * 1024
"""Bytes."""


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How a function may be called.

    Attributes:
        timeout: Seconds that it may take.
        retries: Further attempts, where trying again is safe.
        idempotent: Trying again is always safe.
        lookup: Tells what an earlier attempt did: its result, or `None` for nothing.
        threaded: It is not async, so it needs a thread.
        patience: Seconds for which attempts follow, instead of `retries`.
    """

    timeout: float = 0.0
    retries: int = 0
    idempotent: bool = False
    lookup: Lookup = None
    threaded: bool = False
    patience: float = 0.0


def tool_policy(tool: Tool[..., Any]) -> CallPolicy:
    """Return a tool's policy, as it was declared."""
    return CallPolicy(tool.timeout, tool.retries, tool.idempotent, tool.lookup, threaded=not tool.is_async)


def delivery_policy(deliver: Callable[..., Any]) -> CallPolicy:
    """Return the policy of an agent's `deliver`: that of a tool, or the default.

    One with a `patience` (`inturn.channels.route`) keeps itself what it sent: any attempt may go on with it.
    """
    if not isinstance(deliver, Tool):
        patience = float(getattr(deliver, "patience", 0.0))
        threaded = not is_async(deliver)
        return CallPolicy(DELIVERY_TIMEOUT, DELIVERY_RETRIES, bool(patience), None, threaded, patience)
    timeout = min(deliver.timeout, DELIVERY_TIMEOUT)
    return CallPolicy(timeout, deliver.retries, deliver.idempotent, deliver.lookup, threaded=not deliver.is_async)


def check_checkpoint(value: Any, secrets: CallSecrets) -> None:
    """Check what a call wants to keep for its next attempt.

    Raises:
        ToolError: It holds a secret, or is too large.
    """
    if secrets.found_in(value):
        raise ToolError("a checkpoint must not hold a secret: ask for the credential again instead")
    size = sizes.written(value)
    if size > MAX_CHECKPOINT:
        raise ToolError(f"a checkpoint of {size:,} bytes is too large: the limit is {MAX_CHECKPOINT:,}")


async def attempt_call(body: Callable[[], Awaitable[Any]], policy: CallPolicy) -> CallResult | FailedAttempt:
    """Run a call's body once, bounded in time, and judge what came of it.

    Raises:
        Superseded: The body found out that the call is somebody else's by now.
        asyncio.CancelledError: The caller was cancelled.
    """
    limit = asyncio.timeout(policy.timeout)
    try:
        async with limit:
            return CallResult("ok", await body())
    except Superseded:
        raise
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        return interpret_error(error, idempotent=policy.idempotent)
    except Exception as error:
        if limit.expired() and isinstance(error, TimeoutError) and not policy.patience:
            return timed_out(policy.timeout, idempotent=policy.idempotent)
        return interpret_error(error, idempotent=policy.idempotent)


async def run_body(
    context: ToolContext,
    slot: ThreadSlot | None,
    fn: Callable[[], Any],
    on_late: OnLate | None = None,
    shown: Callable[[Any], Awaitable[Any]] | None = None,
    told: Callable[[BaseException], Awaitable[BaseException]] | None = None,
) -> Any:
    """Call a function within a context; in a thread where it has a slot for one (see `ThreadSlot.run` for `on_late`).

    What it returns or raises has no secret in it. `shown` makes a result finite that the event loop cannot look into,
    `told` an error plain that it cannot ask.
    """
    secrets = context._secrets
    task = asyncio.current_task()
    with running(context):
        try:
            result = fn() if slot is None else await _in_thread(fn, slot, on_late and _redacted(on_late, secrets))
            result = await _awaited(result)
            return secrets.redact_value(result if shown is None else await shown(result))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if isinstance(error, GeneratorExit) and asyncio.current_task() is not task:
                raise  # it is the call's own end, not the body's
            failed = error
    # Out of the `except`, so that the new error does not bring the old one along.
    failed = failed if told is None else await told(failed)
    raise secrets.redact_error(_survivable(ungrouped(failed)))


async def _in_thread(fn: Callable[[], Any], slot: ThreadSlot, on_late: OnLate | None) -> Any:
    def body() -> Any:
        result = fn()
        if is_awaitable(result) or is_async_iterator(result):
            return result  # a decorator without `async` around an async tool: the loop goes on with it
        return finite(result, lambda: slot.given_up)

    return await slot.run(body, on_late)


async def _awaited(result: Any) -> Any:
    """Return what an async tool's result comes to.

    Raises:
        TypeError: It is an iterator, which would run on the event loop.
    """
    if is_awaitable(result):
        result = await result
    if is_async_iterator(result):
        return await finite_async(result)
    if is_iterator(result):
        raise TypeError("an async tool returned an iterator: let it return a list, or be no async tool")
    return result


def ungrouped(error: BaseException) -> BaseException:
    """Return what a group of errors means (a `TaskGroup` raises one): what a tool said in it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = list(leaves(error))
    if lost := next((leaf for leaf in found if isinstance(leaf, Superseded)), None):
        return lost
    made: BaseException = error
    if told := [leaf for leaf in found if isinstance(leaf, ToolError)]:
        made = ToolError("; ".join(dict.fromkeys(text_of(leaf) for leaf in told)))
    elif retries := [leaf for leaf in found if isinstance(leaf, Retry)]:
        if len(retries) == len(found):  # else something may have happened
            after = [r.after for r in retries if isinstance(r.after, int | float)]
            made = Retry("; ".join(dict.fromkeys(map(text_of, retries))), after=max(after, default=None))
    if made is not error:
        made.__cause__ = error
    return made


def _survivable(error: BaseException) -> BaseException:
    """Return an error that ends the call and not the worker."""
    if isinstance(error, Exception):
        return error
    text = f"it called exit({text_of(error)})" if isinstance(error, SystemExit) else f"it raised {type(error).__name__}"
    made = RuntimeError(text)  # KeyboardInterrupt, and what else would end the event loop
    made.__cause__ = error
    return made


def _redacted(on_late: OnLate, secrets: CallSecrets) -> OnLate:
    return lambda result, error: on_late(secrets.redact_value(result), error and secrets.redact_error(error))
