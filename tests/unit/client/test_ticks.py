"""Which event a schedule's tick is: one for each instant, whatever its zone does and whoever fires it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inturn import Client, InvalidEvent
from inturn.keys import is_id
from inturn.ticks import MAX_SCHEDULE_ID, is_cron, missing_times, tick_id, usual_dst

pytestmark = pytest.mark.promise("SUR-9")
ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]
instants = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_hour_that_comes_twice_is_one_event_or_two_as_the_schedule_has_it() -> None:
    first, second, zone = at("2027-11-07T05:30:00"), at("2027-11-07T06:30:00"), "America/New_York"
    assert tick_id("daily", first, zone, "once") == "schedule:daily:20271107T053000Z"
    assert tick_id("daily", second, zone, "once") == tick_id("daily", first, zone, "once")
    assert tick_id("daily", first, zone, "both") == "schedule:daily:20271107T053000Z"
    assert tick_id("daily", second, zone, "both") == "schedule:daily:20271107T053000Zf1"


def test_another_zone_or_another_choice_makes_no_fired_instant_fire_again_and_skips_none() -> None:
    fired = at("2027-01-14T08:00:00")
    assert tick_id("d", fired, "Europe/Berlin", "once") == tick_id("d", fired, "Europe/London", "once")
    assert tick_id("d", fired, "Europe/Berlin", "once") != tick_id(
        "d", fired + timedelta(hours=1), "Europe/London", "once"
    )
    first = at("2027-11-07T05:30:00")
    assert tick_id("d", first, "America/New_York", "once") == tick_id("d", first, "America/New_York", "both")


@given(
    one=instants, apart=st.integers(1, 10_000_000), zone=st.sampled_from(ZONES), dst=st.sampled_from(["once", "both"])
)
def test_two_instants_share_an_id_only_where_one_local_time_came_twice(
    one: datetime, apart: int, zone: str, dst: Any
) -> None:
    one = one.replace(microsecond=0)
    other = one + timedelta(seconds=apart)
    ids = {tick_id("x", one, zone, dst), tick_id("x", other, zone, dst)}
    assert all(map(is_id, ids))
    assert len(ids) == 2 or (dst == "once" and apart <= 3_600)


@given(when=instants, offset=st.integers(-12, 14), micros=st.integers(0, 999_999))
def test_an_instant_is_the_same_in_whatever_zone_and_with_whatever_fraction_it_is_told(
    when: datetime, offset: int, micros: int
) -> None:
    from datetime import timezone

    told = when.replace(microsecond=micros).astimezone(timezone(timedelta(hours=offset)))
    assert tick_id("x", told, "UTC", "both") == tick_id("x", when.replace(microsecond=0), "UTC", "both")


def test_a_zone_that_this_machine_does_not_know_costs_no_tick() -> None:
    assert tick_id("x", at("2027-01-01T00:00:00"), "Moon/Tranquility", "once") == "schedule:x:20270101T000000Z"
    assert tick_id("x", at("2027-01-01T00:00:00"), "../../etc/passwd", "once") == "schedule:x:20270101T000000Z"


@pytest.mark.parametrize(
    ("cron", "dst"),
    [
        ("30 1 * * *", "once"),
        ("0,30 1,2 * * 1-5", "once"),
        ("0 * * * *", "both"),
        ("*/5 1 * * *", "both"),
        (None, "both"),
    ],
)
def test_times_that_are_numbers_are_one_a_day(cron: str | None, dst: str) -> None:
    assert usual_dst(cron) == dst


def test_times_that_a_zone_leaves_out_are_told() -> None:
    assert missing_times("30 2 * * *", "America/New_York", date(2027, 1, 1)) == [datetime(2027, 3, 14, 2, 30)]
    assert missing_times("30 1 * * *", "America/New_York", date(2027, 1, 1)) == []
    assert missing_times("30 2 * * *", "UTC", date(2027, 1, 1)) == []
    assert missing_times("99 77 * * *", "America/New_York", date(2027, 1, 1)) == []
    assert missing_times("* 2 * * *", "America/New_York", date(2027, 1, 1)) == []


@pytest.mark.parametrize(
    "text", ["", "* * * *", "* * * * * *", "@daily", "CRON_TZ=UTC 0 9 * * *", "0 9 * * *\n", "0  9 * * *", "é * * * *"]
)
def test_what_has_not_five_fields_is_no_cron_expression(text: str) -> None:
    assert not is_cron(text)


WRONG: list[dict[str, Any]] = [
    {},
    {"cron": "0 9 * * *", "every": 5},
    {"cron": "daily"},
    {"every": 0},
    {"every": 0.5},
    {"every": float("nan")},
    {"every": float("inf")},
    {"every": True},
    {"every": "5"},
    {"every": 5, "catch_up": 1},
    {"every": 5, "jitter": -1},
    {"every": 5, "timezone": ""},
    {"every": 5, "timezone": "x" * 65},
    {"every": 5, "timezone": "Zürich"},
    {"every": 5, "starts": datetime(2027, 1, 1)},
    {"every": 5, "session_id": "no/id"},
    {"every": 5, "content": ""},
    {"every": 5, "content": "x" * 300_000},
    {"every": 5, "when_busy": "sometimes"},
    {"every": 5, "expires_after": -1},
    {"every": 5, "agent": "no agent"},
    {"every": 5, "metadata": {"a": float("nan")}},
]


@pytest.mark.parametrize("options", WRONG, ids=str)
async def test_a_schedule_that_would_never_fire_well_is_refused_before_a_server_is_asked(
    options: dict[str, Any],
) -> None:
    said: dict[str, Any] = {"session_id": "s1", "content": "hi", **options}
    with pytest.raises(InvalidEvent):
        await Client("nowhere.invalid:1").schedule("daily", **said)


@pytest.mark.parametrize("schedule_id", ["", "a/b", "x" * (MAX_SCHEDULE_ID + 1), "a b", "a~b", "é", "a\n"])
async def test_an_id_that_would_make_every_tick_invalid_is_refused(schedule_id: str) -> None:
    schedules = Client("nowhere.invalid:1").schedules
    with pytest.raises(InvalidEvent, match="schedule id"):
        await schedules.put(schedule_id, session_id="s1", content="hi", every=60)
    for call in (schedules.get, schedules.pause, schedules.resume, schedules.trigger, schedules.delete):
        with pytest.raises(InvalidEvent, match="schedule id"):
            await call(schedule_id)


async def test_a_backfill_goes_forward_between_times_with_a_zone() -> None:
    schedules = Client("nowhere.invalid:1").schedules
    for start, end in ((at("2027-01-02"), at("2027-01-01")), (datetime(2027, 1, 1), at("2027-01-02"))):
        with pytest.raises(InvalidEvent, match="backfill"):
            await schedules.backfill("daily", start, end)
