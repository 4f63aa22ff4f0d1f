"""The token bucket: never more than burst + rate * t turns, and no slower."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.policy import InboxPolicy
from inturn_workflows.inbox.rate import TokenBucket


@pytest.mark.promise("ORD-7")
def test_a_full_bucket_gives_its_burst_at_once_and_then_one_at_a_time() -> None:
    policy, bucket = InboxPolicy(rate=2.0, burst=3), TokenBucket()
    for _ in range(3):
        assert bucket.ready_at(policy) <= 100.0
        bucket.spend(100.0, policy)
    assert bucket.ready_at(policy) == 100.5
    bucket.spend(100.5, policy)
    assert bucket.ready_at(policy) == 101.0


@pytest.mark.promise("ORD-7", "SUR-6")
@settings(max_examples=100)
@given(
    rate=st.sampled_from([0.1, 1.0, 3.0]),
    burst=st.integers(1, 5),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=30),
)
def test_no_span_holds_more_than_the_burst_and_the_rate_allow(rate: float, burst: int, pauses: list[float]) -> None:
    policy, bucket, now = InboxPolicy(rate=rate, burst=burst), TokenBucket(), 1_000.0
    starts: list[float] = []
    for pause in pauses:
        now = max(now + pause, bucket.ready_at(policy))
        bucket.spend(now, policy)
        starts.append(now)
        bucket = TokenBucket.model_validate_json(bucket.model_dump_json())  # continue-as-new
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= burst + rate * (starts[last] - begin) + 1e-6


@pytest.mark.promise("ORD-7")
def test_without_a_rate_nothing_waits() -> None:
    bucket = TokenBucket()
    bucket.spend(1e9, InboxPolicy())
    assert bucket.ready_at(InboxPolicy()) == 0.0
