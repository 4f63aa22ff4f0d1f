"""A platform is not asked faster than it wants, nor before it said."""

from __future__ import annotations

import pytest

from inturn.channels import pacing
from inturn.channels.failures import Refusal
from inturn.channels.pacing import Pace
from inturn.errors import Retry


class Clock:
    """A time that moves only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def paced(clock: Clock, burst: int = 1) -> Pace:
    return Pace(1.0, burst, clock=clock.monotonic, sleep=clock.sleep)


async def test_requests_for_one_place_are_as_far_apart_as_it_wants(clock: Clock) -> None:
    pace, times = paced(clock), list[float]()
    for _ in range(4):
        await pace.wait("C1")
        times.append(clock.now - 1_000.0)
    assert times == [0.0, 1.0, 2.0, 3.0]
    await pace.wait("C2")
    assert clock.now == 1_003.0


async def test_after_a_quiet_time_some_go_at_once(clock: Clock) -> None:
    pace, times = paced(clock, 3), list[float]()
    for _ in range(5):
        await pace.wait("C1")
        times.append(clock.now - 1_000.0)
    assert times == [0.0, 0.0, 0.0, 1.0, 2.0]


async def test_nothing_goes_before_the_platform_said_whoever_wants_to(clock: Clock) -> None:
    pace = paced(clock, 5)
    with pytest.raises(Refusal), pace.heeded("C1"):
        raise Refusal("slow down", 429, 7.0)
    await pace.wait("C1")
    assert clock.now >= 1_007.0


async def test_a_long_wait_is_another_attempts(clock: Clock) -> None:
    pace = paced(clock)
    with pytest.raises(Refusal), pace.heeded("C1"):
        raise Refusal("slow down", 429, 600.0)
    with pytest.raises(Retry) as told:
        await pace.wait("C1")
    assert told.value.after == pytest.approx(600.0)
    with pytest.raises(Refusal), pace.heeded("C2"):
        raise Refusal("gone", 404)
    await pace.wait("C2")


async def test_places_that_may_be_asked_again_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PLACES", 3)
    pace = paced(clock)
    for number in range(20):
        clock.now += 10
        await pace.wait(f"C{number}")
    assert len(pace._next) <= 3
