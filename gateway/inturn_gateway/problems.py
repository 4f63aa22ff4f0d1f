"""What an answer says that is not what was asked for: RFC 9457, over the one error tree.

Invariant: the status depends on the error's class alone, and no answer shows an exception that is not inturn's own, or
more than the start of what it has to say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from inturn import errors

_DETAIL: Final = 1_000
"""Characters."""
_TITLES: Final = {
    400: ("bad_request", "The request cannot be read"),
    401: ("unauthorized", "No credential, or none that is valid"),
    403: ("forbidden", "The credential does not allow this"),
    404: ("not_found", "There is nothing of this name"),
    405: ("method_not_allowed", "The route has no such method"),
    406: ("not_acceptable", "The answer has no such form"),
    408: ("too_slow", "The request took too long to arrive"),
    409: ("conflict", "It is otherwise by now"),
    410: ("session_closed", "The session was closed"),
    413: ("too_large", "The request is too large"),
    415: ("unsupported_media_type", "The body must be application/json"),
    421: ("misdirected", "This host is not served here"),
    422: ("invalid", "The request breaks a rule"),
    429: ("too_many", "Too many requests for now"),
    500: ("internal", "Something is wrong here"),
    503: ("unavailable", "Not now: the same again is safe"),
}
_ANTHROPIC: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}
_ERRORS: Final[tuple[tuple[type[errors.InturnError], int, str], ...]] = (
    (errors.InvalidEvent, 422, "invalid_event"),
    (errors.SessionNotFound, 404, "session_not_found"),
    (errors.ScheduleNotFound, 404, "schedule_not_found"),
    (errors.SessionClosed, 410, "session_closed"),
    (errors.SessionBusy, 409, "session_busy"),
    (errors.Refused, 429, "backpressure"),
    (errors.ApprovalConflict, 409, "approval_conflict"),
    (errors.VersionConflict, 409, "version_conflict"),
    (errors.TurnFailed, 409, "turn_failed"),
    (errors.TurnTimeout, 503, "turn_timeout"),
    (errors.JournalUnavailable, 503, "journal_unavailable"),
    (errors.Unavailable, 503, "unavailable"),
    (errors.Misconfigured, 503, "misconfigured"),
)
_TOLD: Final = ("event_id", "disposition", "answer", "by")


class Problem(Exception):
    """A refusal with its HTTP status.

    Attributes:
        status: 4xx or 5xx.
        kind: What it is, as `urn:inturn:error:{kind}` has it.
        detail: What is wrong in this case.
        retry_after: Seconds after which the same makes sense again.
        more: Further members of the document.
    """

    def __init__(
        self, status: int, detail: str = "", *, kind: str | None = None, retry_after: float | None = None, **more: Any
    ) -> None:
        """Make a refusal; without a `kind` it is that of its status."""
        super().__init__(detail)
        self.status = status
        self.kind = kind or _TITLES.get(status, ("error", ""))[0]
        self.detail = detail
        self.retry_after = retry_after if retry_after is not None or status not in (429, 503) else 1.0
        self.more = more

    @classmethod
    def of(cls, error: Exception) -> Problem:
        """Return what an exception means to a caller."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, errors.InturnError):
            for type_, status, kind in _ERRORS:
                if isinstance(error, type_):
                    told = {name: getattr(error, name) for name in _TOLD if getattr(error, name, None) is not None}
                    after = getattr(error, "retry_after", None)
                    return cls(status, str(error), kind=kind, retry_after=after, **told)
        return cls(500)

    def response(self, instance: str) -> Response:
        """Return the answer.

        Args:
            instance: The path that was asked for.
        """
        title = _TITLES.get(self.status, ("", "It did not work"))[1]
        detail = self.detail if len(self.detail) <= _DETAIL else self.detail[: _DETAIL - 1] + "…"
        document: dict[str, Any] = {
            "type": f"urn:inturn:error:{self.kind}",
            "title": title,
            "status": self.status,
            "detail": detail,
            "instance": instance[:_DETAIL],
            "error": {"type": _ANTHROPIC.get(self.status, "invalid_request_error"), "message": detail or title},
            **self.more,
        }
        headers = {"cache-control": "no-store"}
        if self.retry_after is not None:
            document["retry_after"] = self.retry_after
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return Json(document, self.status, headers, media_type="application/problem+json")


class Json(Response):
    """A JSON document of anything that JSON has, also of texts that are no Unicode."""

    media_type = "application/json"

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        """Make the answer."""
        super().__init__(
            as_json(content), status_code, {"x-content-type-options": "nosniff", **(headers or {})}, media_type
        )

    def render(self, content: Any) -> bytes:
        """Return the document's bytes, which it has already."""
        return bytes(content)


def as_json(value: Any) -> bytes:
    """Return a value as JSON in ASCII: halves of characters have an escape there, where UTF-8 has no bytes."""
    return json.dumps(value, separators=(",", ":")).encode()
