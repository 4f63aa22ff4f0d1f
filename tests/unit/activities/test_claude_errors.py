"""Whose fault an error of Anthropic's API is."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import pytest

from inturn_activities.model.claude_errors import event_error, translated

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/messages")


def refused(status: int, kind: str = "", why: str = "why", *, code: str | None = None, **headers: str) -> Exception:
    """Make the SDK's own error of a response, as its client does."""
    client = anthropic.AsyncAnthropic(api_key="none")
    body: dict[str, Any] = {"error": {"type": kind, "message": why}}
    if code:
        body["error"]["details"] = {"error_code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=REQUEST)
    return client._make_status_error(why, body=body, response=response)


def unreadable(status: int) -> Exception:
    """Make the error of a page that something in between answers with."""
    client = anthropic.AsyncAnthropic(api_key="none")
    response = httpx2.Response(status, text="<html>blocked</html>", request=REQUEST)
    return client._make_status_error("blocked", body="<html>blocked</html>", response=response)


LOW = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
OWN = [
    refused(400, "invalid_request_error"),
    refused(400, "invalid_request_error", "messages.0.content.1.text: your credit balance is no text"),
    refused(404, "not_found_error", "File not found: file_011CN"),
    refused(403, "permission_error", "no access to this file"),
    refused(413, "request_too_large"),
    refused(422, "invalid_request_error"),
    refused(500, "api_error", x_should_retry="false"),
]
ACCOUNT = [
    refused(401, "authentication_error"),
    refused(402, "billing_error"),
    refused(403, "permission_error"),
    refused(404, "not_found_error", "model: claude-sonet-5"),
    refused(400, "invalid_request_error", LOW),
    refused(400, "invalid_request_error", "You have reached your specified API usage limits."),
    refused(400, "invalid_request_error", "This organization has been disabled."),
    refused(400, "invalid_request_error", code="organization_on_hold"),
    refused(400, "invalid_request_error", code="cmek_key_disabled"),
    refused(429, "rate_limit_error", code="enforced_spend_limit_reached"),
    refused(429, "rate_limit_error", code="contract_spend_limit_reached"),
    refused(429, "rate_limit_error", x_should_retry="false"),
    refused(401, "authentication_error", x_should_retry="true"),
    unreadable(403),
    unreadable(405),
    anthropic.CredentialsError("the profile has no token"),
    httpx2.UnsupportedProtocol("no scheme", request=REQUEST),
]
OUTAGES = [
    refused(408),
    refused(409),
    refused(429, "rate_limit_error"),
    refused(429, "rate_limit_error", code="ramp_limit_exceeded"),
    refused(500, "api_error"),
    refused(503),
    unreadable(502),
    refused(504, "timeout_error"),
    refused(529, "overloaded_error"),
    refused(200, "overloaded_error"),
    refused(400, "invalid_request_error", x_should_retry="true"),
    anthropic.APIConnectionError(request=REQUEST),
    anthropic.APITimeoutError(request=REQUEST),
    httpx2.ReadTimeout("stalled", request=REQUEST),
    httpx2.RemoteProtocolError("cut", request=REQUEST),
    httpx2.DecodingError("no gzip", request=REQUEST),
]


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("error", OWN, ids=repr)
def test_a_refusal_of_what_was_said_is_the_requests_fault(error: Exception) -> None:
    assert kind(error) == "own"


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("error", ACCOUNT, ids=repr)
def test_what_no_request_could_pass_is_the_accounts_fault(error: Exception) -> None:
    assert kind(error) == "account"


@pytest.mark.promise("SUR-4", "SUR-5")
@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_what_passes_by_itself_is_an_outage(error: Exception) -> None:
    assert kind(error) == "outage"


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("overloaded_error", "outage"),
        ("api_error", "outage"),
        ("billing_error", "account"),
        ("invalid_request_error", "own"),
        ("new_error", "unknown"),
    ],
)
def test_an_error_in_mid_stream_is_judged_by_its_type(type_: str, expected: str) -> None:
    assert event_error(type_, "why", None).kind == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after_ms": "2500", "retry_after": "9"}, 2.5),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry_after": "-3"}, 0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_the_servers_advice_is_read(headers: dict[str, str], seconds: float | None) -> None:
    error = translated(refused(429, **headers))
    assert error is not None
    assert error.retry_after == seconds


def test_the_message_is_one_bounded_line_with_the_request_id() -> None:
    error = translated(refused(400, "invalid_request_error", "why\nso", request_id="req_1"))
    assert str(error) == "400 invalid_request_error: why so (request req_1)"
    assert len(str(translated(refused(400, "invalid_request_error", "x" * 10_000)))) <= 600


def test_what_is_no_error_of_the_sdks_is_left_alone() -> None:
    assert translated(KeyError("x")) is None


def kind(error: Exception) -> str:
    judged = translated(error)
    assert judged is not None
    return judged.kind
