"""Faults on demand.

Invariant: a fault happens to a request that was right; what is wrong with a request is told first.

| kind | what happens |
|---|---|
| `status` | an error with that status, `retry-after` where given; in short `"529"`, `"429 retry_after=2"` |
| `spend_limit` | 429 with the error code of an enforced spend limit, which no retry cures |
| `hang` | no headers for `seconds` |
| `error` | an `error` event after `at` bytes of the stream |
| `cut` | a clean end of the stream after `at` bytes, without `message_stop` |
| `reset` | the connection closes after `at` bytes |
| `stall` | nothing more for `seconds` after `at` bytes, then the rest |

`at` is half of the stream where it is not given, and counts from the end where it is negative; `seconds` not given is
for ever. The last four happen to streams only.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.script import MAX_DELAY, Matched

Kind = Literal["status", "spend_limit", "hang", "error", "cut", "reset", "stall"]
STREAM_KINDS = ("error", "cut", "reset", "stall")


class Fault(Matched):
    """A fault as JSON; a string alone is its short form."""

    kind: Kind = "status"
    status: int = Field(default=500, ge=400, le=599)
    at: int | None = None
    seconds: float | None = Field(default=None, ge=0, le=MAX_DELAY)
    retry_after: float | None = Field(default=None, ge=0, le=MAX_DELAY)
    type: str | None = None
    """The error's type, where the status does not tell; of an `error` event: `overloaded_error`."""
    message: str | None = None
    should_retry: bool | None = None
    """The header `x-should-retry`."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return _read(value) if isinstance(value, str) else value

    def rejection(self) -> Rejection:
        """Return the error of a fault that comes instead of a stream."""
        if self.kind == "spend_limit":
            message = self.message or "This organization has crossed the monthly spend limit of its API tier."
            return Rejection(message, status=429, code="enforced_spend_limit_reached")
        message = self.message or _MESSAGES.get(self.status, "Internal server error")
        return Rejection(message, status=self.status, kind=self.type)

    def headers(self) -> dict[str, str]:
        """Return the headers that say what a client should do."""
        made: dict[str, str] = {}
        if self.retry_after is not None:
            made["retry-after"] = f"{self.retry_after:g}"
        if self.should_retry is not None:
            made["x-should-retry"] = str(self.should_retry).lower()
        return made

    def place(self, size: int) -> int:
        """Return the offset at which it happens in a stream of `size` bytes."""
        at = size // 2 if self.at is None else self.at
        return min(size, max(0, at + size if at < 0 else at))


_MESSAGES = {
    429: "This request would exceed your organization's rate limit.",
    529: "Overloaded",
}


def _read(text: str) -> dict[str, Any]:
    """Read `"529"`, `"429 retry_after=2"`, `"cut at=100"`."""
    name, *options = text.split() or [""]
    made: dict[str, Any] = {"status": name} if name.isdigit() else {"kind": name}
    for option in options:
        key, _, value = option.partition("=")
        made[key] = value
    return made
