"""How a tool call ends: the status and the text that the model sees.

Invariant: every call of a step ends in exactly one result, and what is not known is never guessed: a text says so
where an effect may have happened.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from inturn.errors import Retry, ToolError

CallStatus = Literal["ok", "error", "unknown", "denied", "timeout", "cancelled"]

FAILED: Final = frozenset({"error", "timeout", "unknown"})
"""How calls end that count as failures of their step."""
MAX_PARALLEL_CALLS: Final = 8
"""Calls of one step that run at once; the others wait for a slot."""
DELIVERY_TIMEOUT: Final = 30.0
"""Seconds that an attempt to deliver may take at most, and does by default."""
GIVEN_UP: Final = "another call of the same step failed"
CANCELLED: Final = f"cancelled: {GIVEN_UP}. If this call had begun, part of its effect may have happened."
MAX_LEAVES: Final = 5
"""Errors of a group that its line names."""
MAX_MESSAGE: Final = 500
"""Characters of an error's text."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The end of a call. `value` is what it returned; for all but `ok` a text that says what happened."""

    status: CallStatus
    value: Any = None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed where another one is safe.

    Attributes:
        after: Seconds to wait first, where the tool asked for that.
        clean: The tool itself says that nothing happened.
    """

    reason: str
    after: float | None = None
    clean: bool = False

    def result(self, attempts: int) -> CallResult:
        """Return the call's result where no other attempt follows these."""
        return error_result(f"{self.reason} ({attempts} attempts)" if attempts > 1 else self.reason)


UNKNOWN: Final = CallResult(
    "unknown",
    "The outcome is unknown: an earlier attempt of this call began and left no result. Its effect may or may not have "
    "happened. It was not repeated; find out before you try again.",
)
CRASH_LOOP: Final = CallResult(
    "unknown",
    "The outcome is unknown: many attempts of this call began and none came back. It may end the process that runs it. "
    "It is not tried again.",
)

UNCHECKED: Final = CallResult("error", "The call did not run: its arguments could not be checked in time.")


def error_result(text: str) -> CallResult:
    """Return the result of a call that failed."""
    return CallResult("error", text)


def unknown_tool(name: str) -> CallResult:
    """Return the result of a call of a tool that the agent does not have."""
    return error_result(f"There is no tool named {name!r}.")


def invalid_arguments(reason: str) -> CallResult:
    """Return the result of a call whose arguments the tool does not take."""
    return error_result(f"The arguments do not fit: {reason}")


def denied(reason: str) -> CallResult:
    """Return the result of a call that was not approved."""
    return CallResult("denied", f"The call was not approved ({reason}). It did not run." if reason else "Not approved.")


def timed_out(seconds: float, *, idempotent: bool) -> CallResult:
    """Return the result of a call that was stopped at its timeout."""
    text = f"The call took longer than its {seconds:g} s and was stopped."
    unknown = "Its outcome is unknown: its effect may or may not have happened."
    return CallResult("timeout", text if idempotent else f"{text} {unknown}")


def interpret_error(error: BaseException, *, idempotent: bool) -> CallResult | FailedAttempt:
    """Return what an exception means: the call's result, or that it may be tried again."""
    if isinstance(error, ToolError):
        return error_result(text_of(error))
    if isinstance(error, Retry):
        return FailedAttempt(text_of(error), after=error.after, clean=True)
    if idempotent:
        return FailedAttempt(describe(error))
    return error_result(f"{describe(error)}\nThe call failed on the way: part of its effect may have happened.")


def describe(error: BaseException) -> str:
    """Return what happened in one bounded line."""
    text = " ".join(text_of(error).split())
    if isinstance(error, BaseExceptionGroup):
        text = "; ".join(describe(leaf) for leaf in itertools.islice(leaves(error), MAX_LEAVES)) or text
    if isinstance(error, TimeoutError):
        text = text or "timed out"
    return f"{type(error).__name__}: {text or 'no message'}"[:MAX_MESSAGE]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, however deep they lie in it; of any other error itself."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    group: BaseExceptionGroup[BaseException] = error
    for inner in group.exceptions:
        yield from leaves(inner)


def text_of(error: BaseException) -> str:
    """Return an exception's text; an exception of a tool's may fail to say what it is, by whatever it raises."""
    try:
        return str(error)
    except BaseException:
        return ""
