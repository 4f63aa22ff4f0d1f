"""How a call of a tool is checked and run: the same rules in a worker and in `inturn.testing.run`.

Invariant: the function sees the ids of its own call and no other's, in a task or in a thread; whatever it raises ends
the call and not the worker; and no secret that it was given leaves with what it returns or raises.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json

from inturn.errors import ToolError
from inturn.events import explain
from inturn.journal.log import codec
from inturn.journal.values import Superseded
from inturn.tools.context import ToolContext, running
from inturn.tools.secrets import CallSecrets
from inturn.tools.threads import OnLate, ThreadSlot
from inturn.tools.tool import Lookup, Tool, is_async
from inturn.turns.call_results import (
    DELIVERY_TIMEOUT,
    CallResult,
    FailedAttempt,
    describe,
    interpret_error,
    invalid_arguments,
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
    """

    timeout: float = 0.0
    retries: int = 0
    idempotent: bool = False
    lookup: Lookup = None
    threaded: bool = False


def tool_policy(tool: Tool[..., Any]) -> CallPolicy:
    """Return a tool's policy, as it was declared."""
    return CallPolicy(tool.timeout, tool.retries, tool.idempotent, tool.lookup, threaded=not tool.is_async)


def delivery_policy(deliver: Callable[..., Any]) -> CallPolicy:
    """Return the policy of an agent's `deliver`: that of a tool, or the default."""
    if not isinstance(deliver, Tool):
        return CallPolicy(DELIVERY_TIMEOUT, DELIVERY_RETRIES, threaded=not is_async(deliver))
    timeout = min(deliver.timeout, DELIVERY_TIMEOUT)
    return CallPolicy(timeout, deliver.retries, deliver.idempotent, deliver.lookup, threaded=not deliver.is_async)


def check_arguments(tool: Tool[..., Any], raw: Any) -> dict[str, Any] | CallResult:
    """Return the validated arguments of a call, or its result where they do not fit.

    Nothing else reads a call's input, so that the step that asks for a yes and the step that acts read the same.
    """
    if not isinstance(raw, dict):
        return invalid_arguments("the input is no object")
    try:
        arguments = tool.validate_arguments(codec.copied(raw))  # a validator may change what it is given
        tool.lock_names(arguments)
        tool.read_names(arguments)
    except ValidationError as error:
        return invalid_arguments(explain(error))
    except Exception as error:  # a validator of the tool's may raise anything
        return invalid_arguments(describe(error))
    return arguments


def check_checkpoint(value: Any, secrets: CallSecrets) -> None:
    """Check what a call wants to keep for its next attempt.

    Raises:
        ToolError: It holds a secret, or is too large.
    """
    if secrets.found_in(value):
        raise ToolError("a checkpoint must not hold a secret: ask for the credential again instead")
    size = len(to_json(value))
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
        if _cancelled():
            raise
        return interpret_error(error, idempotent=policy.idempotent)
    except Exception as error:
        if limit.expired() and isinstance(error, TimeoutError):
            return timed_out(policy.timeout, idempotent=policy.idempotent)
        return interpret_error(error, idempotent=policy.idempotent)


async def run_body(
    context: ToolContext, slot: ThreadSlot | None, fn: Callable[[], Any], on_late: OnLate | None = None
) -> Any:
    """Call a function within a context; in a thread where it has a slot for one (see `ThreadSlot.run` for `on_late`).

    What it returns or raises has no secret in it.
    """
    secrets = context._secrets
    with running(context):
        try:
            result = fn() if slot is None else await slot.run(fn, on_late and _redacted(on_late, secrets))
            return secrets.redact_value(await result if inspect.isawaitable(result) else result)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            failed = error
    # Out of the `except`, so that the new error does not bring the old one along.
    raise secrets.redact_error(_survivable(failed))


def _cancelled() -> bool:
    """Whether the caller itself was cancelled, rather than something that the body awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _survivable(error: BaseException) -> BaseException:
    """Return an error that ends the call and not the worker."""
    if isinstance(error, Exception):
        return error
    text = f"it called exit({error.code})" if isinstance(error, SystemExit) else f"it raised {type(error).__name__}"
    made = RuntimeError(text)  # KeyboardInterrupt, and what else would end the event loop
    made.__cause__ = error
    return made


def _redacted(on_late: OnLate, secrets: CallSecrets) -> OnLate:
    return lambda result, error: on_late(secrets.redact_value(result), error and secrets.redact_error(error))
