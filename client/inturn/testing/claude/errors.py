"""Errors in the API's own shape.

Invariant: every answer that is no success has this body, whichever path and whatever bytes it answers.
"""

from __future__ import annotations

from typing import Any, Final

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Rejection(Exception):
    """The request is refused.

    Attributes:
        message: What the API says.
        status: The HTTP status.
        code: `error.details.error_code`, where there is one.
    """

    def __init__(self, message: str, *, status: int = 400, kind: str | None = None, code: str | None = None) -> None:
        """Refuse with this message; `kind` is the error's type where the status does not tell."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind or error_type(status)
        self.code = code

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body."""
        return error_body(self.kind, self.message, request_id, self.code)


def error_type(status: int) -> str:
    """Return the error type of a status."""
    return TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def error_body(kind: str, message: str, request_id: str, code: str | None = None) -> dict[str, Any]:
    """Return an error's JSON body; as the data of an `error` event it is the same."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id}
