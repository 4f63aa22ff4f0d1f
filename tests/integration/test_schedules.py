"""Schedules on a real server: each nominal time is one event, whoever fires it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from inturn import Client, InvalidEvent, ScheduleNotFound
from inturn.keys import audit_log
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("SUR-9")


async def fired(client: Client, session_id: str) -> Counter[str]:
    """Return the turns of a session that began, by event."""
    entries = [entry async for entry in client.session(session_id).entries() if entry.type == "turn.started"]
    return Counter(str(entry.event_id) for entry in entries)


async def test_each_second_of_a_schedule_is_one_event_though_it_is_backfilled_triggered_and_made_twice(
    rig: Rig,
) -> None:
    client = rig.client()
    began = datetime.now(UTC)
    made = {"session_id": "s1", "content": "tick", "every": 1.0, "by": "ann"}
    await asyncio.gather(*(client.schedule("each-second", **made) for _ in range(2)))  # type: ignore[arg-type]

    async def enough() -> bool:
        return (await client.schedules.get("each-second")).fired >= 4

    await until(enough, within=30)  # no worker runs: late, not lost
    async with rig.worker():

        async def taken() -> bool:
            return len(await fired(client, "s1")) >= 6

        await until(taken, within=30)
        await client.schedules.pause("each-second", reason="enough", by="ann")
        seen = await client.schedules.get("each-second")
        assert (seen.paused, seen.session_id, seen.content, seen.every) == (True, "s1", "tick", 1.0)
        ended = datetime.now(UTC)
        await client.schedules.backfill("each-second", began - timedelta(seconds=3), ended, by="ann")

        async def settled() -> bool:
            turns = await fired(client, "s1")
            first = min(turns)
            return first <= f"schedule:each-second:{began - timedelta(seconds=1):%Y%m%dT%H%M%SZ}"

        await until(settled, within=30)
        turns = await fired(client, "s1")
        assert set(turns.values()) == {1}
        assert all(name.startswith("schedule:each-second:2") and name.endswith("Z") for name in turns)
    async with rig.opened_journal() as journal:
        types = [entry.type for entry in await journal.read(audit_log(rig.tenant))]
    assert types == ["schedule.put", "schedule.put", "schedule.paused", "schedule.backfilled"]
    await client.schedules.delete("each-second")
    with pytest.raises(ScheduleNotFound):
        await client.schedules.get("each-second")
    await client.aclose()


async def test_a_tick_of_a_closed_session_pauses_its_schedule_and_says_why(rig: Rig) -> None:
    client = rig.client()
    async with rig.worker():
        await client.session("s1").ask("hi")
        await client.session("s1").close()
        await client.schedule("hourly", session_id="s1", content="tick", cron="0 * * * *", timezone="Europe/Berlin")
        await client.schedules.trigger("hourly")

        async def paused() -> bool:
            return (await client.schedules.get("hourly")).paused

        await until(paused, within=30)
        seen = await client.schedules.get("hourly")
        assert seen.note == "session s1 is closed"
        assert (seen.cron, seen.timezone, seen.dst) == ("0 * * * *", "Europe/Berlin", "both")
    with pytest.raises(InvalidEvent):
        await client.schedule("moon", session_id="s1", content="x", cron="0 9 * * *", timezone="Moon/Tranquility")
    with pytest.raises(ScheduleNotFound):
        await client.schedules.pause("nothing")
    assert [info.schedule_id async for info in rig.client(tenant="another").schedules.list()] == []
    await client.schedules.delete("hourly")
    await client.aclose()
