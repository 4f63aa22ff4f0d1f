"""The doctor's look at a tenant's schedules: which fire no more, or not as it looks.

Invariant: it asks the server alone, about a bounded number of schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from inturn.cli.doctor.findings import Finding, fine, warned
from inturn.client.schedules import ScheduleInfo, Schedules
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import short
from inturn.errors import InturnError
from inturn.ticks import missing_times

LOOKED_AT: Final = 50
_TIMES: Final = 3


async def examine_schedules(connection: Connection, tenant: str) -> list[Finding]:
    """Return what is wrong with the tenant's schedules; nothing where it has none."""
    found: list[ScheduleInfo] = []
    try:
        async for info in Schedules(connection, tenant).list():
            found.append(info)
            if len(found) == LOOKED_AT:
                break
    except InturnError as error:
        return [warned("schedules", f"they cannot be listed: {short(error)}", "look at the server")]
    return judge_schedules(found, datetime.now(UTC).date())


def judge_schedules(found: Sequence[ScheduleInfo], today: date) -> list[Finding]:
    """Return the findings on schedules."""
    troubled = [finding for info in found for finding in _judged(info, today)]
    if troubled or not found:
        return troubled
    return [fine("schedules", f"{len(found)} fire as they are told")]


def _judged(info: ScheduleInfo, today: date) -> list[Finding]:
    name, again = f"schedule {info.schedule_id}", f"inturn schedule resume {info.schedule_id}"
    findings: list[Finding] = []
    if info.paused and info.note:
        findings.append(warned(name, f"it is paused: {info.note}", f"{again}, or delete it"))
    if info.missed:
        to_do = f"inturn schedule backfill {info.schedule_id} --start … --end …, where they are wanted still"
        findings.append(warned(name, f"{info.missed} of its times were missed and not made up for", to_do))
    if info.cron and (missing := missing_times(info.cron, info.timezone, today)):
        times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in missing[:_TIMES])
        told = f"{times} does not exist in {info.timezone}: nothing is fired then"
        findings.append(warned(name, told, "choose a time that each day has"))
    return findings
