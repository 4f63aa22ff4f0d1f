"""Whose fault a failure is, and when to try again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anthropic
import httpx2
import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.errors import JournalUnavailable
from inturn.journal import Attempts
from inturn_activities.failures import (
    BrokenStream,
    OwnFailure,
    Stalled,
    backoff,
    classify,
    describe,
    journal_away,
    verdict,
)

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/messages")
NOW = 1_000_000.0


def refused(status: int, kind: str = "", *, code: str | None = None, **headers: str) -> Exception:
    """Make the SDK's own error of a response, as its client does."""
    client = anthropic.AsyncAnthropic(api_key="none")
    body: dict[str, Any] = {"error": {"type": kind, "message": "why"}}
    if code:
        body["error"]["details"] = {"error_code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=REQUEST)
    return client._make_status_error("why", body=body, response=response)


OWN = [
    refused(400, "invalid_request_error"),
    refused(401, "authentication_error"),
    refused(402, "billing_error"),
    refused(403, "permission_error"),
    refused(404, "not_found_error"),
    refused(413, "request_too_large"),
    refused(422, "invalid_request_error"),
    refused(429, "rate_limit_error", code="enforced_spend_limit_reached"),
    refused(500, "api_error", x_should_retry="false"),
    OwnFailure("unknown agent"),
]
OUTAGES = [
    refused(408),
    refused(409),
    refused(429, "rate_limit_error"),
    refused(500, "api_error"),
    refused(503),
    refused(504, "timeout_error"),
    refused(529, "overloaded_error"),
    refused(200, "overloaded_error"),
    refused(200, "api_error"),
    refused(400, "invalid_request_error", x_should_retry="true"),
    anthropic.APIConnectionError(request=REQUEST),
    anthropic.APITimeoutError(request=REQUEST),
    httpx2.ReadTimeout("stalled", request=REQUEST),
    httpx2.RemoteProtocolError("cut", request=REQUEST),
    BrokenStream("the stream ended without message_stop"),
    Stalled("silent"),
    JournalUnavailable("locked"),
]
UNKNOWN = [KeyError("x"), RuntimeError("boom"), ValueError("what")]


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("error", OWN, ids=describe)
def test_what_is_our_own_fault_is_final_at_once(error: Exception) -> None:
    judged = verdict(classify(error), Attempts({"own": 1}), patience=3600, now=NOW)
    assert judged.non_retryable
    assert judged.type == names.OWN_FAILURE


@pytest.mark.promise("SUR-4", "SUR-5")
@pytest.mark.parametrize("error", OUTAGES, ids=describe)
def test_an_outage_is_tried_again_with_patience(error: Exception) -> None:
    attempts = Attempts({"outage": 500}, {"outage": NOW - 3599})
    judged = verdict(classify(error), attempts, patience=3600, now=NOW)
    assert not judged.non_retryable
    assert judged.type == names.OUTAGE
    assert delay(judged) <= 60


def test_an_outage_longer_than_the_patience_is_final() -> None:
    attempts = Attempts({"outage": 9}, {"outage": NOW - 3600})
    judged = verdict(classify(refused(529)), attempts, patience=3600, now=NOW)
    assert judged.non_retryable
    assert "9 attempts in 3600 s" in judged.message


@pytest.mark.parametrize("error", UNKNOWN, ids=describe)
def test_an_unknown_failure_is_final_at_the_third_attempt(error: Exception) -> None:
    tries = [verdict(classify(error), Attempts({"unknown": n}), patience=3600) for n in (1, 2, 3)]
    assert [judged.non_retryable for judged in tries] == [False, False, True]
    assert {judged.type for judged in tries} == {names.UNKNOWN_FAILURE}


def test_failures_of_another_class_do_not_count() -> None:
    judged = verdict(classify(RuntimeError("x")), Attempts({"unknown": 1, "outage": 50}), patience=3600)
    assert not judged.non_retryable


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "2500", "retry_after": "9"}, 2.5),
        ({"retry_after": "86400"}, 60),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry_after": "-3"}, 0),
    ],
)
def test_the_servers_advice_is_the_delay_up_to_a_minute(headers: dict[str, str], seconds: float) -> None:
    judged = verdict(classify(refused(429, **headers)), Attempts({"outage": 1}), patience=3600)
    assert delay(judged) == seconds


def test_advice_that_cannot_be_read_is_none() -> None:
    assert classify(refused(429, retry_after="soon")).retry_after is None


def test_without_advice_the_delays_double_up_to_a_minute() -> None:
    for count, most in ((1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5_000, 60)):
        assert 0.75 * most <= backoff(count) <= most


def test_an_unreachable_journal_is_tried_again_for_ever() -> None:
    judged = journal_away(JournalUnavailable("database is locked"), 10_000)
    assert not judged.non_retryable
    assert delay(judged) <= 15


def test_a_message_is_one_bounded_line_with_the_request_id() -> None:
    error = refused(400, "invalid_request_error", request_id="req_1")
    assert describe(error) == "400 invalid_request_error: why (request req_1)"
    assert len(describe(RuntimeError("x\n" * 10_000))) <= 500


def delay(judged: ApplicationError) -> float:
    assert judged.next_retry_delay is not None
    return judged.next_retry_delay / timedelta(seconds=1)
