"""inturn schedule, and what the doctor says of schedules."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from inturn.cli.app import app
from inturn.cli.doctor.schedules import judge_schedules
from inturn.client.schedules import ScheduleInfo, Schedules
from inturn.errors import ScheduleNotFound

INFO = ScheduleInfo(schedule_id="daily", tenant="default", session_id="order-17", cron="0 9 * * 1-5", timezone="UTC")
TODAY = date(2027, 1, 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what is asked of schedules."""
    asked: list[tuple[Any, ...]] = []

    def noted(name: str, result: Any = None) -> Any:
        async def call(self: Schedules, *args: Any, **options: Any) -> Any:
            asked.append((name, *args, {key: value for key, value in options.items() if value is not None}))
            return result

        return call

    async def listed(self: Schedules) -> AsyncIterator[ScheduleInfo]:
        yield INFO

    for name in ("pause", "resume", "trigger", "backfill", "delete"):
        monkeypatch.setattr(Schedules, name, noted(name))
    monkeypatch.setattr(Schedules, "put", noted("put", INFO.model_copy(update={"warnings": ("02:30 does not exist",)})))
    monkeypatch.setattr(Schedules, "get", noted("get", INFO))
    monkeypatch.setattr(Schedules, "list", listed)
    return asked


def invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["schedule", *args], env={"USER": "ann"})
    return result.exit_code, result.output


def test_put_says_all_of_a_schedule_and_what_it_will_not_do(calls: list[tuple[Any, ...]]) -> None:
    code, out = invoke(
        "put", "daily", "--session", "order-17", "--content", "Open?", "--cron", "0 9 * * 1-5", "--when-busy", "merge"
    )
    assert code == 0, out
    assert "02:30 does not exist" in out
    [(name, schedule_id, options)] = calls
    assert (name, schedule_id) == ("put", "daily")
    assert options == {
        **{"session_id": "order-17", "content": "Open?", "cron": "0 9 * * 1-5", "timezone": "UTC", "by": "ann"},
        **{"when_busy": "merge", "catch_up": 3_600, "jitter": 0},
    }


@pytest.mark.parametrize("command", ["pause", "resume", "trigger", "delete"])
def test_each_command_names_a_schedule_and_who_does_it(calls: list[tuple[Any, ...]], command: str) -> None:
    code, out = invoke(command, "daily")
    assert (code, calls) == (0, [(command, "daily", {"by": "ann"})]), out


def test_a_backfill_takes_times_with_their_zone(calls: list[tuple[Any, ...]]) -> None:
    code, out = invoke("backfill", "daily", "--start", "2027-03-14T09:00+01:00", "--end", "2027-03-15T09:00:00Z")
    assert code == 0, out
    [(_, _, start, end, _)] = calls
    assert (start.utcoffset(), end) == (timedelta(hours=1), datetime(2027, 3, 15, 9, tzinfo=UTC))
    code, _ = invoke("backfill", "daily", "--start", "2027-03-14", "--end", "soon")
    assert code == 2


def test_ls_and_show_tell_what_there_is(calls: list[tuple[Any, ...]]) -> None:
    code, out = invoke("ls")
    assert (code, "order-17" in out, "0 9 * * 1-5 UTC" in out) == (0, True, True)
    result = CliRunner().invoke(app, ["--json", "schedule", "show", "daily"])
    assert json.loads(result.output)["schedule_id"] == "daily"


def test_what_is_not_there_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(self: Schedules, schedule_id: str) -> ScheduleInfo:
        raise ScheduleNotFound(f"no schedule {schedule_id}")

    monkeypatch.setattr(Schedules, "get", missing)
    code, out = invoke("show", "daily")
    assert code == 1
    assert "no schedule daily" in out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ["1 fire as they are told"]),
        ({"paused": True, "note": "session order-17 is closed"}, ["it is paused: session order-17 is closed"]),
        ({"missed": 3}, ["3 of its times were missed and not made up for"]),
        (
            {"cron": "30 2 * * *", "timezone": "America/New_York"},
            ["2027-03-14 02:30 does not exist in America/New_York: nothing is fired then"],
        ),
    ],
)
def test_the_doctor_tells_which_fire_no_more_or_not_as_it_looks(changed: dict[str, Any], said: list[str]) -> None:
    findings = judge_schedules([INFO.model_copy(update=changed)], TODAY)
    assert [finding.found for finding in findings] == said
    assert all(finding.state == "ok" or finding.to_do for finding in findings)
    assert judge_schedules([], TODAY) == []
