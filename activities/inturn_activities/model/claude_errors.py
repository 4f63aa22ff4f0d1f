"""Whose fault an error of Anthropic's API is.

Invariant: what no request of anybody's could pass (a key, a bill, a limit of spending, a model that is gone) is the
account's, whatever status it comes with; a refusal that names a file is the request's that holds it.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Final

import anthropic
import httpx2

from inturn.errors import Fault, ModelError
from inturn.turns.call_results import MAX_MESSAGE, describe, text_of

_OUTAGE_TYPES: Final = frozenset({"rate_limit_error", "overloaded_error", "api_error", "timeout_error"})
_OWN_TYPES: Final = frozenset({"invalid_request_error", "request_too_large"})
_OUTAGE_STATUS: Final = frozenset({408, 409, 425, 429})
_ACCOUNT_STATUS: Final = frozenset({401, 402, 403, 404, 405, 407})
"""404: the model is gone or misspelt, or the address is wrong. 405 and 407: what stands in between is set up wrong."""
_ACCOUNT_TYPES: Final = frozenset({"authentication_error", "billing_error", "permission_error", "not_found_error"})
_ACCOUNT_CODE: Final = re.compile(r"spend_limit_reached|^organization_|^cmek_|^linked_organization_|_not_enrolled")
_ACCOUNT_TEXT: Final = re.compile(r"credit balance|usage limits?\b|organization has been disabled", re.I)
"""Of a 400 without a code: the API says "Your credit balance is too low" so."""
_REQUEST_PART: Final = re.compile(r"\s*messages\b")
"""How a refusal begins that is about what was said, which it may quote."""
_FILE: Final = re.compile(r"\bfiles?\b|\bfile_", re.I)


def translated(error: BaseException) -> ModelError | None:
    """Return what the SDK raised as the port's error; `None` where it is none of its errors."""
    if isinstance(error, anthropic.APIStatusError):
        headers = error.response.headers
        return ModelError(_described(error), kind=_fault(error), retry_after=_retry_after(headers))
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.InvalidURL)) or _unsendable(error):
        return ModelError(describe(error), kind="account")  # the address is none
    if isinstance(error, (anthropic.APIConnectionError, httpx2.HTTPError)):
        return ModelError(describe(error), kind="outage")
    if isinstance(error, anthropic.AnthropicError):  # the credentials cannot be read or renewed
        return ModelError(describe(error), kind="account")
    return None


def event_error(kind: str, message: str, request_id: str | None) -> ModelError:
    """Return the error that came as an event of the stream, behind a status of 200."""
    text = f"{kind}: {message or 'no message'}" + (f" (request {request_id})" if request_id else "")
    if kind in _OWN_TYPES:
        return ModelError(text, kind="own")
    passing: Fault = "outage" if kind in _OUTAGE_TYPES else "unknown"
    return ModelError(text, kind="account" if kind in _ACCOUNT_TYPES else passing)


def _unsendable(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(error, anthropic.APIConnectionError) and isinstance(cause, httpx2.UnsupportedProtocol)


def _fault(error: anthropic.APIStatusError) -> Fault:
    advice = error.response.headers.get("x-should-retry")
    if _is_account(error, advice):
        return "account"  # checked first: a spent limit is a RateLimitError too, and it does not pass by waiting
    if advice == "false":
        return "own"
    passing = error.status_code in _OUTAGE_STATUS or error.status_code >= 500 or error.type in _OUTAGE_TYPES
    return "outage" if passing or advice == "true" else "own"


def _is_account(error: anthropic.APIStatusError, advice: str | None) -> bool:
    code, text = error.error_code or "", error.api_message or text_of(error)
    if _ACCOUNT_CODE.search(code):
        return True
    if error.status_code in _ACCOUNT_STATUS or error.type in _ACCOUNT_TYPES:
        return not _FILE.search(f"{code} {text}")
    if error.status_code == 429:
        return advice == "false"
    return error.status_code == 400 and not _REQUEST_PART.match(text) and bool(_ACCOUNT_TEXT.search(text))


def _described(error: anthropic.APIStatusError) -> str:
    text = " ".join((error.api_message or text_of(error)).split()) or "no message"
    text = f"{error.status_code} {error.type or ''}: {text}"[:MAX_MESSAGE]
    return f"{text} (request {error.request_id})" if error.request_id else text


def _retry_after(headers: httpx2.Headers) -> float | None:
    milliseconds = headers.get("retry-after-ms")
    seconds = headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(float(milliseconds) / 1000, 0.0)
        return None if seconds is None else max(float(seconds), 0.0)
    except ValueError:
        return _until(seconds or "")


def _until(date: str) -> float | None:
    try:
        read = email.utils.parsedate_tz(date)
        return None if read is None else max(email.utils.mktime_tz(read) - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
