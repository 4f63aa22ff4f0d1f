"""A tenant that begins more than a busy worker can bear leaves room for the others of it, and only for them."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time as clock
from datetime import timedelta
from functools import partial

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from inturn_activities.limits import loop_lag
from inturn_activities.limits.loop_lag import LoopLag
from inturn_activities.limits.shares import AT_WORK, BURST, CUT, GROWTH, IN_PLACE, LONGEST, REMEMBERED, TWICE, Shares
from tests.support.waiting import until

LEAST = 4.0
"""Steps in a second that each tenant may begin."""


class Time:
    """A clock that only waiting, and tests, move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def shares(time: Time) -> Shares:
    return Shares(1 / LEAST, time.wait, time)


async def busy(shares: Shares) -> None:
    """Find the loop late, look after look, while somebody begins more than any may."""
    await shares.begin("other")
    with contextlib.suppress(ApplicationError):
        await asyncio.gather(*(shares.begin("first") for _ in range(20)))
    for _ in range(20):
        shares.judge(late=True)


async def _rate(shares: Shares, time: Time, tenant: str, steps: int = 50) -> float:
    """Begin steps one after the other, as fast as may be; gives how many in a second."""
    before = len(time.waited)
    while len(time.waited) == before:  # some may come at once
        await shares.begin(tenant)
    began = time.now
    for _ in range(steps):
        await shares.begin("other")
        await shares.begin(tenant)
    return steps / (time.now - began)


@pytest.mark.promise("ISO-4")
async def test_on_a_busy_worker_a_tenant_begins_no_more_than_its_share(shares: Shares, time: Time) -> None:
    await busy(shares)
    await shares.begin("quiet")
    assert await _rate(shares, time, "noisy") == pytest.approx(LEAST)


@pytest.mark.promise("ISO-4")
async def test_who_asks_for_less_never_waits_beside_any_number_that_ask_for_more(shares: Shares, time: Time) -> None:
    await busy(shares)
    for _ in range(20):
        for number in range(60):
            with contextlib.suppress(ApplicationError):
                await asyncio.gather(*(shares.begin(f"noisy{number % 3}") for _ in range(20)))
        time.waited.clear()
        await shares.begin("quiet")
        await shares.begin("quiet")
        assert time.waited == []
        time.now += 0.5


async def test_a_worker_with_time_to_spare_holds_nobody(shares: Shares, time: Time) -> None:
    for n in range(5_000):
        await shares.begin("quiet" if n % 100 == 0 else "noisy")
        time.now += 0.002
        if n % 25 == 0:
            shares.judge(late=False)
    assert time.waited == []


async def test_one_that_was_late_holds_nobody_any_more_once_it_has_long_had_time_to_spare(
    shares: Shares, time: Time
) -> None:
    await busy(shares)
    for _ in range(1_400):  # nobody asks for much, and nobody is held
        time.now += 1 / LEAST
        await shares.begin("quiet")
        await shares.begin("calm")
        shares.judge(late=False)
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_one_that_was_late_and_has_rested_since_begins_anew(
    shares: Shares, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_lag, "EVERY", 0.001)
    monkeypatch.setattr(loop_lag, "WATCHED", 0.01)
    await busy(shares)

    async def rested() -> bool:
        return not shares._lag._looking

    await until(rested, every=0.001)
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_who_has_a_busy_worker_alone_is_not_held(shares: Shares, time: Time) -> None:
    await busy(shares)
    time.waited.clear()
    time.now += AT_WORK
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_one_that_asks_once_a_minute_slows_nobody_down_for_more_than_a_few_seconds(
    shares: Shares, time: Time
) -> None:
    await busy(shares)
    time.now += 30
    await shares.begin("noisy")
    time.waited.clear()
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_the_rate_follows_the_loop(shares: Shares, time: Time) -> None:
    await busy(shares)
    for look in range(1, 41):
        await _rate(shares, time, "noisy", 1)
        shares.judge(late=False)
        assert await _rate(shares, time, "noisy", 1) == pytest.approx(LEAST * GROWTH**look)
    for _ in range(500):
        shares.judge(late=False)
    shares.judge(late=True)
    before = LEAST * GROWTH**540
    assert await _rate(shares, time, "noisy") == pytest.approx(before)
    shares.judge(late=True)
    assert await _rate(shares, time, "noisy") == pytest.approx(before / CUT)


@pytest.mark.parametrize(("apart", "cut"), [(TWICE - 1, True), (TWICE, False)])
async def test_a_loop_that_is_late_now_and_then_is_so_by_chance(
    shares: Shares, time: Time, apart: int, cut: bool
) -> None:
    await busy(shares)
    for _ in range(500):
        shares.judge(late=False)
    for _ in range(3):
        await _rate(shares, time, "noisy", 1)
        for look in range(apart):
            shares.judge(late=look == 0)
    rate = await _rate(shares, time, "noisy")
    assert (rate < LEAST * GROWTH**500) == cut


async def test_a_loop_that_was_late_while_nobody_asked_for_much_changes_nothing(shares: Shares, time: Time) -> None:
    for _ in range(20):
        await shares.begin("quiet")
        await shares.begin("calm")
        time.now += 0.25
        shares.judge(late=True)
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_who_asked_for_much_once_is_not_taken_for_that_for_ever(shares: Shares, time: Time) -> None:
    await shares.begin("quiet")
    for _ in range(200):
        await shares.begin("noisy")
    time.now += 2 * BURST
    await shares.begin("noisy")
    shares.judge(late=True)
    shares.judge(late=True)
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_one_that_has_to_wait_for_long_leaves_and_comes_back_one_after_the_other(
    time: Time,
) -> None:
    waiting: list[float] = []

    async def noted(seconds: float) -> None:
        waiting.append(seconds)

    shares = Shares(1 / LEAST, noted, time)
    await busy(shares)
    waiting.clear()
    found = await asyncio.gather(*(shares.begin("noisy") for _ in range(1_000)), return_exceptions=True)
    left = [error for error in found if isinstance(error, ApplicationError)]
    assert waiting == pytest.approx([n / LEAST for n in range(1, int(IN_PLACE * LEAST) + 1)])
    assert len(left) == 1_000 - (BURST + IN_PLACE) * LEAST
    assert {error.category for error in left} == {ApplicationErrorCategory.BENIGN}
    delays = [(error.next_retry_delay or timedelta()).total_seconds() for error in left]
    assert delays[:3] == pytest.approx([IN_PLACE + n / LEAST for n in (1, 2, 3)])
    assert max(delays) == delays[-1] == LONGEST


async def test_a_thousand_that_leave_and_come_back_have_their_tenants_share_all_along(time: Time) -> None:
    async def noted(_: float) -> None:
        pass

    shares = Shares(1 / LEAST, noted, time)
    await busy(shares)
    came = [(time.now, session) for session in range(1_000)]
    began, end, quiet = list[float](), time.now + 8 * LONGEST, time.now
    while came and came[0][0] < end:
        at, session = heapq.heappop(came)
        time.now = max(time.now, at)
        if time.now >= quiet:
            await shares.begin("quiet")
            quiet = time.now + 1
        try:
            await shares.begin("noisy")
            began.append(time.now)
        except ApplicationError as error:
            delay = error.next_retry_delay or timedelta()
            heapq.heappush(came, (time.now + delay.total_seconds(), session))
    every = [sum(n <= (at - end) / LONGEST + 8 < n + 1 for at in began) for n in range(8)]
    assert min(every) >= 0.9 * LEAST * LONGEST, every
    assert shares._lines["noisy"].back <= time.now + LONGEST


async def test_a_rate_of_none_holds_nobody(time: Time) -> None:
    shares = Shares(0, time.wait, time)
    await busy(shares)
    await shares.begin("quiet")
    for _ in range(1_000):
        await shares.begin("noisy")
    assert time.waited == []


async def test_the_least_recent_of_too_many_tenants_is_forgotten(shares: Shares, time: Time) -> None:
    await busy(shares)
    for number in range(REMEMBERED + 10):
        await shares.begin(f"t{number}")
    assert len(shares._lines) <= REMEMBERED


async def test_a_loop_that_has_too_much_to_do_is_late_and_an_idle_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "EVERY", 0.005)
    told: list[bool] = []
    LoopLag(told.append).watch()

    async def heard(what: bool) -> bool:
        return what in told

    await until(partial(heard, False), every=0.01)
    busy = asyncio.get_running_loop().call_later
    for n in range(20):
        busy(n / 100, clock.sleep, 0.03)
    await until(partial(heard, True), every=0.001)


async def test_nobody_looks_at_a_loop_of_which_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "EVERY", 0.001)
    monkeypatch.setattr(loop_lag, "WATCHED", 0.01)
    told: list[bool] = []
    lag = LoopLag(told.append)
    lag.watch()

    async def over() -> bool:
        return not lag._looking

    await until(over, every=0.001)
    looks = len(told)
    lag.watch()

    async def again() -> bool:
        return len(told) > looks

    await until(again, every=0.001)
