"""A session with a long queue leaves room for others of its worker, and only for them."""

from __future__ import annotations

import pytest

from inturn.keys import SessionKey
from inturn_activities.limits.pacing import LATELY, REMEMBERED, TurnPacing

BACKLOGGED, OTHER = SessionKey("acme", "backlogged"), SessionKey("acme", "other")
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
def pacing(time: Time) -> TurnPacing:
    return TurnPacing(EVERY, time.sleep, time)


async def test_a_backlogged_session_spaces_its_turns_while_others_are_at_work(pacing: TurnPacing, time: Time) -> None:
    await pacing.begin(OTHER, backlogged=False)
    for _ in range(3):
        await pacing.begin(BACKLOGGED, backlogged=True)
    assert time.slept == [EVERY, EVERY]


async def test_a_turn_that_took_its_time_is_followed_at_once(pacing: TurnPacing, time: Time) -> None:
    await pacing.begin(OTHER, backlogged=False)
    await pacing.begin(BACKLOGGED, backlogged=True)
    time.now += EVERY
    await pacing.begin(BACKLOGGED, backlogged=True)
    assert time.slept == []


async def test_nobody_waits_who_has_the_worker_alone(pacing: TurnPacing, time: Time) -> None:
    await pacing.begin(OTHER, backlogged=False)
    time.now += LATELY
    for _ in range(3):
        await pacing.begin(BACKLOGGED, backlogged=True)
    assert time.slept == []


async def test_a_session_does_not_wait_for_itself_when_its_queue_has_become_long(
    pacing: TurnPacing, time: Time
) -> None:
    await pacing.begin(BACKLOGGED, backlogged=False)
    for _ in range(3):
        await pacing.begin(BACKLOGGED, backlogged=True)
    assert time.slept == []


async def test_backlogged_sessions_do_not_wait_for_each_other(pacing: TurnPacing, time: Time) -> None:
    for _ in range(3):
        await pacing.begin(BACKLOGGED, backlogged=True)
        await pacing.begin(OTHER, backlogged=True)
    assert time.slept == []


async def test_a_session_that_is_not_backlogged_never_waits(pacing: TurnPacing, time: Time) -> None:
    await pacing.begin(BACKLOGGED, backlogged=True)
    for _ in range(3):
        await pacing.begin(OTHER, backlogged=False)
    assert time.slept == []


async def test_the_least_recent_of_too_many_backlogged_sessions_is_forgotten(pacing: TurnPacing, time: Time) -> None:
    await pacing.begin(OTHER, backlogged=False)
    await pacing.begin(BACKLOGGED, backlogged=True)
    for number in range(REMEMBERED):
        await pacing.begin(SessionKey("acme", f"s{number}"), backlogged=True)
    await pacing.begin(BACKLOGGED, backlogged=True)
    assert time.slept == []
