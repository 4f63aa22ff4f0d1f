"""Whose fault a failure is, and when to try again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.api.failure.v1 import Failure as Failed
from temporalio.converter import DefaultFailureConverter, DefaultPayloadConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn import names
from inturn.errors import JournalUnavailable, ModelError
from inturn.journal import Attempts
from inturn_activities.failures import (
    Failure,
    OwnFailure,
    backoff,
    classify,
    describe,
    drop_unsendable_causes,
    journal_away,
    verdict,
)

NOW = 1_000_000.0


OWN = [ModelError("400 invalid_request_error: why", kind="own"), OwnFailure("unknown agent")]
OUTAGES = [
    ModelError("529 overloaded_error: why", kind="outage"),
    ModelError("cut", kind="outage", place=7),
    JournalUnavailable("locked"),
]
UNKNOWN = [KeyError("x"), RuntimeError("boom"), ValueError("what"), ModelError("odd"), ModelError("odd", kind="odd")]  # type: ignore[arg-type]
LAPSED = ModelError("401 authentication_error: invalid x-api-key", kind="account")


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("error", OWN, ids=describe)
def test_what_is_our_own_fault_is_final_at_once(error: Exception) -> None:
    judged = verdict(classify(error), Attempts({"own": 1}), patience=3600)
    assert judged.non_retryable
    assert judged.type == names.OWN_FAILURE


@pytest.mark.promise("SUR-4", "SUR-5")
@pytest.mark.parametrize("error", OUTAGES, ids=describe)
def test_an_outage_is_tried_again_with_patience(error: Exception) -> None:
    attempts = Attempts({"outage": 500}, {"outage": NOW - 3599}, now=NOW)
    judged = verdict(classify(error), attempts, patience=3600)
    assert not judged.non_retryable
    assert judged.type == names.OUTAGE
    assert delay(judged) <= 60


def test_an_outage_longer_than_the_patience_is_final() -> None:
    attempts = Attempts({"outage": 9}, {"outage": NOW - 3600}, now=NOW)
    judged = verdict(classify(ModelError("529", kind="outage")), attempts, patience=3600)
    assert judged.non_retryable
    assert "9 attempts in 3600 s" in judged.message


def test_an_outage_whose_beginning_is_ahead_of_the_clock_has_lasted_no_time() -> None:
    attempts = Attempts({"outage": 2}, {"outage": NOW + 60}, now=NOW)
    judged = verdict(classify(ModelError("529", kind="outage")), attempts, patience=0)
    assert "2 attempts in 0 s" in judged.message


@pytest.mark.parametrize("error", UNKNOWN, ids=describe)
def test_an_unknown_failure_is_final_at_the_third_attempt(error: Exception) -> None:
    tries = [verdict(classify(error), Attempts({"unknown": n}), patience=3600) for n in (1, 2, 3)]
    assert [judged.non_retryable for judged in tries] == [False, False, True]
    assert {judged.type for judged in tries} == {names.UNKNOWN_FAILURE}


def test_failures_of_another_class_do_not_count() -> None:
    judged = verdict(classify(RuntimeError("x")), Attempts({"unknown": 1, "outage": 50}), patience=3600)
    assert not judged.non_retryable


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize(("advised", "seconds"), [(7.0, 7), (0.5, 0.5), (86400.0, 60), (-3.0, 0)])
def test_the_other_sides_advice_is_the_delay_up_to_a_minute(advised: float, seconds: float) -> None:
    error = ModelError("429", kind="outage", retry_after=advised)
    assert delay(verdict(classify(error), Attempts({"outage": 1}), patience=3600)) == seconds


@pytest.mark.parametrize("advised", [float("nan"), float("inf")])
def test_advice_that_is_no_time_is_none(advised: float) -> None:
    error = ModelError("429", kind="outage", retry_after=advised)
    assert delay(verdict(classify(error), Attempts({"outage": 1}), patience=3600)) <= 1


def test_trouble_of_the_account_is_probed_every_minute_for_a_day_and_is_no_error() -> None:
    for lasted in (0.0, 3_600.0, 24 * 3_600.0 - 1):
        judged = verdict(classify(LAPSED), Attempts({"account": 90}, {"account": NOW - lasted}, now=NOW), patience=3600)
        assert (judged.type, judged.non_retryable, delay(judged)) == (names.ACCOUNT, False, 60)
        assert judged.category is ApplicationErrorCategory.BENIGN
    judged = verdict(classify(LAPSED), Attempts({"account": 9}, {"account": NOW - 86_400}, now=NOW), patience=3600)
    assert (judged.type, judged.non_retryable) == (names.ACCOUNT, True)


def test_a_request_refused_again_and_again_while_others_are_answered_is_to_blame_itself() -> None:
    failure = Failure("refused", "403 permission_error: blocked")
    tries = [verdict(failure, Attempts({"refused": n}, {"refused": NOW}, now=NOW), patience=3600) for n in range(1, 6)]
    assert [judged.non_retryable for judged in tries] == [False] * 4 + [True]
    assert [judged.type for judged in tries] == [names.ACCOUNT] * 4 + [names.OWN_FAILURE]


def test_without_advice_the_delays_double_up_to_a_minute() -> None:
    for count, most in ((1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5_000, 60)):
        assert 0.75 * most <= backoff(count) <= most


def test_an_unreachable_journal_is_tried_again_for_ever() -> None:
    judged = journal_away(JournalUnavailable("database is locked"), 10_000)
    assert not judged.non_retryable
    assert delay(judged) <= 15


def test_a_message_is_one_bounded_line_with_the_request_id() -> None:
    assert describe(ModelError("400: why\n(request req_1)")) == "400: why (request req_1)"
    assert len(describe(ModelError("x" * 10_000))) <= 600
    assert len(describe(RuntimeError("x\n" * 10_000))) <= 500


def delay(judged: ApplicationError) -> float:
    assert judged.next_retry_delay is not None
    return judged.next_retry_delay / timedelta(seconds=1)


HALF = "half a character \ud83d"


def deep(depth: int) -> Exception:
    """Return an error that was raised this deep."""

    def fall(left: int) -> None:
        if not left:
            raise RuntimeError("boom")
        fall(left - 1)

    try:
        fall(depth)
    except RuntimeError as error:
        return error
    raise AssertionError


UNSENDABLE = [
    deep(200),
    RuntimeError("ü" * 1_900),
    RuntimeError(HALF),
    RuntimeError("x" * 100_000),
    ModelError(HALF),
    OwnFailure(HALF),
]


@pytest.mark.promise("SUR-6")
@pytest.mark.parametrize("error", UNSENDABLE, ids=lambda e: f"{type(e).__name__} of {len(str(e))}")
async def test_whatever_a_text_holds_the_error_that_leaves_a_step_can_be_sent(error: Exception) -> None:
    for judged in (
        verdict(classify(error), Attempts({"unknown": 1}), patience=3600),
        verdict(classify(error), Attempts({"unknown": 3}), patience=3600),
    ):
        judged.__cause__ = error
        failure = Failed()
        drop_unsendable_causes(judged)
        DefaultFailureConverter().to_failure(judged, DefaultPayloadConverter(), failure)
        assert len(failure.SerializeToString()) < 4_096, "of a larger one the server keeps no type"


def test_an_error_keeps_the_causes_that_can_be_sent() -> None:
    cause = RuntimeError("boom")
    judged = verdict(classify(cause), Attempts({"unknown": 1}), patience=3600)
    judged.__cause__ = cause
    drop_unsendable_causes(judged)
    assert judged.__cause__ is cause


def test_an_error_with_causes_without_end_is_sent_without_them() -> None:
    error = judged = verdict(classify(RuntimeError("boom")), Attempts({"unknown": 1}), patience=3600)
    cause: BaseException = error
    for n in range(200):
        cause.__cause__ = RuntimeError(str(n))
        cause = cause.__cause__
    drop_unsendable_causes(judged)
    assert judged.__cause__ is None
