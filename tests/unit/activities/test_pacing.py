"""A session with a long queue leaves room for others of its worker, and only for them."""

from __future__ import annotations

import pytest

from inturn.keys import SessionKey
from inturn_activities.limits.pacing import LATELY, REMEMBERED, Courtesy

CROWDED, OTHER = SessionKey("acme", "crowded"), SessionKey("acme", "other")
EVERY = 0.25


class Time:
    """A clock that only sleeping, and tests, move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def courtesy(time: Time) -> Courtesy:
    return Courtesy(EVERY, time.sleep, time)


async def test_a_crowded_session_spaces_its_turns_while_others_are_at_work(courtesy: Courtesy, time: Time) -> None:
    await courtesy.begin(OTHER, crowded=False)
    for _ in range(3):
        await courtesy.begin(CROWDED, crowded=True)
    assert time.slept == [EVERY, EVERY]


async def test_a_turn_that_took_its_time_is_followed_at_once(courtesy: Courtesy, time: Time) -> None:
    await courtesy.begin(OTHER, crowded=False)
    await courtesy.begin(CROWDED, crowded=True)
    time.now += EVERY
    await courtesy.begin(CROWDED, crowded=True)
    assert time.slept == []


async def test_nobody_waits_who_has_the_worker_alone(courtesy: Courtesy, time: Time) -> None:
    await courtesy.begin(OTHER, crowded=False)
    time.now += LATELY
    for _ in range(3):
        await courtesy.begin(CROWDED, crowded=True)
    assert time.slept == []


async def test_a_session_does_not_wait_for_itself_when_its_queue_has_become_long(
    courtesy: Courtesy, time: Time
) -> None:
    await courtesy.begin(CROWDED, crowded=False)
    for _ in range(3):
        await courtesy.begin(CROWDED, crowded=True)
    assert time.slept == []


async def test_crowded_sessions_do_not_wait_for_each_other(courtesy: Courtesy, time: Time) -> None:
    for _ in range(3):
        await courtesy.begin(CROWDED, crowded=True)
        await courtesy.begin(OTHER, crowded=True)
    assert time.slept == []


async def test_a_session_that_is_not_crowded_never_waits(courtesy: Courtesy, time: Time) -> None:
    await courtesy.begin(CROWDED, crowded=True)
    for _ in range(3):
        await courtesy.begin(OTHER, crowded=False)
    assert time.slept == []


async def test_the_least_recent_of_too_many_crowded_sessions_is_forgotten(courtesy: Courtesy, time: Time) -> None:
    await courtesy.begin(OTHER, crowded=False)
    await courtesy.begin(CROWDED, crowded=True)
    for number in range(REMEMBERED):
        await courtesy.begin(SessionKey("acme", f"s{number}"), crowded=True)
    await courtesy.begin(CROWDED, crowded=True)
    assert time.slept == []
