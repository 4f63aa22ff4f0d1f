"""What a failed request to a platform means for the delivery.

Invariant: what may pass is tried again, and not before the platform said; what is refused for good is told as that, so
that the delivery is set aside instead of repeated for an hour.
"""

from __future__ import annotations

import math
from typing import Any, Final

from inturn.errors import Retry, ToolError

LONGEST: Final = 900.0
"""Seconds that a platform's word puts the next attempt off, at most."""
_PASSING: Final = frozenset({408, 409, 425, 429})


class Refusal(Exception):
    """A platform's answer that is none of success.

    Attributes:
        status_code: The HTTP status, or what it would be.
        after: Seconds to wait, where the platform said so.
    """

    def __init__(self, message: str, status_code: int, after: float | None = None) -> None:
        """Make it of an answer."""
        super().__init__(message)
        self.status_code = status_code
        self.after = after


def judged(error: Exception) -> Exception | None:
    """Return what an error of a request means; `None` where it says so itself, or nobody can tell.

    Errors of HTTP clients are known by `status_code`, their own or their `response`'s.
    """
    status = None if isinstance(error, Retry | ToolError) else _status(error)
    if status is None:
        return None
    text = f"the platform answered {status}: {' '.join(str(error).split())[:200]}"
    if status in _PASSING or status >= 500:
        return Retry(text, after=_after(error))
    return ToolError(text) if 400 <= status < 500 else None


def is_refusal(error: Exception) -> bool:
    """Whether an error says that nothing happened."""
    if isinstance(error, Retry | ToolError):
        return True
    status = _status(error)
    return status is not None and 400 <= status < 500 and status != 408


def seconds(text: object) -> float | None:
    """Return the seconds that a `Retry-After` says; `None` where it says none that one could wait."""
    try:
        given = float(text) if isinstance(text, str | int | float) else math.nan
    except ValueError:  # a date, or nonsense
        return None
    return min(max(given, 0.0), LONGEST) if math.isfinite(given) else None


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    status: Any = getattr(error, "status_code", getattr(response, "status_code", None))
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def _after(error: Exception) -> float | None:
    said = getattr(error, "after", None)
    if said is None:
        headers: Any = getattr(getattr(error, "response", None), "headers", None)
        said = headers.get("retry-after") if hasattr(headers, "get") else None
    return seconds(said)
