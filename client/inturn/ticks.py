"""The ticks of a schedule: which instant each is for, and its event's id.

Invariant: one nominal time is one event, whoever fires it and how often: at its time, late, by a backfill, from another
cluster. The id is the instant's in UTC: of the first that has this local time, so that an hour that a zone has twice is
one, but where both are wanted. No zone and no change of the schedule makes another id of an instant.

Pure: the zone's rules are those of the machine's time zone database, and time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Dst: TypeAlias = Literal["once", "both"]
MAX_SCHEDULE_ID: Final = 64
"""Characters: with its time it is an event's id."""
AHEAD: Final = 400
"""Days that are looked at for times that do not exist."""
_NUMBERS: Final = re.compile(r"[0-9]{1,2}(,[0-9]{1,2})*")
_CRON: Final = re.compile(r"[0-9A-Za-z*,/-]{1,200}( [0-9A-Za-z*,/-]{1,200}){4}")


def is_cron(text: str) -> bool:
    """Return whether a text has the five fields of a cron expression; what they mean, the server says."""
    return _CRON.fullmatch(text) is not None


def usual_dst(cron: str | None) -> Dst:
    """Return what becomes of an hour that a zone has twice: of times that are numbers, each day has one."""
    minute, hour, *_ = (cron or "* *").split(" ")
    return "once" if _NUMBERS.fullmatch(minute) and _NUMBERS.fullmatch(hour) else "both"


def tick_id(schedule_id: str, nominal: datetime, timezone: str, dst: Dst) -> str:
    """Return the id of the event for a nominal time.

    Args:
        schedule_id: The schedule.
        nominal: When it was to be, in whole seconds.
        timezone: The zone that the schedule is told in.
        dst: What becomes of a local time that comes twice.
    """
    instant = nominal.astimezone(UTC).replace(microsecond=0)
    local = instant.astimezone(_zone(timezone))
    first = local.replace(fold=0).astimezone(UTC)
    second = "f1" if local.fold and dst == "both" else ""
    return f"schedule:{schedule_id}:{first:%Y%m%dT%H%M%SZ}{second}"


def missing_times(cron: str, timezone: str, today: date) -> list[datetime]:
    """Return the local times of a cron expression that the zone leaves out soon: nothing is fired then.

    Only where minute and hour are numbers; which of the days the expression has is not judged.
    """
    minute, hour, *_ = cron.split(" ")
    if usual_dst(cron) == "both":
        return []
    times = {time(int(h), int(m)) for h in hour.split(",") for m in minute.split(",") if int(h) < 24 and int(m) < 60}
    zone = _zone(timezone)
    return [
        datetime.combine(day, each)
        for day in _changing(zone, today)
        for each in sorted(times)
        if _skips(zone, day, each)
    ]


def _changing(zone: ZoneInfo, today: date) -> Iterator[date]:
    """Yield the days on which a zone's offset changes."""
    for number in range(AHEAD):
        day = today + timedelta(days=number)
        midnight = datetime.combine(day, time(), zone)
        if midnight.utcoffset() != (midnight + timedelta(days=1)).utcoffset():
            yield day


def _skips(zone: ZoneInfo, day: date, at: time) -> bool:
    local = datetime.combine(day, at, zone)
    return local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None)


def _zone(name: str) -> ZoneInfo:
    """Return a zone; UTC where this machine does not know it: the server does, or has refused it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
