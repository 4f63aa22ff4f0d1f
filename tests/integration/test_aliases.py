"""One thing that comes under several ids is one turn: while it waits, when it has ended, and after a termination."""

from __future__ import annotations

import pytest

from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = pytest.mark.promise("ACC-2", "ACC-8", "SUR-11")


async def test_twins_are_one_turn_and_the_deep_audit_takes_them_for_what_they_are(rig: Rig) -> None:
    session = rig.client().session("s1")
    await session.send("hi", event_id="slack:C:1", aliases=["Ev1", "cm1"])
    await session.send("hi", event_id="slack:C:1", aliases=["Ev2", "cm1"])
    await session.send("hi", event_id="slack:C:2", aliases=["Ev3", "cm1"])  # the same by its client's id
    async with rig.worker():
        turn = await session.wait("slack:C:1", timeout=30)
        assert turn.event_id == "slack:C:1"
        asked = await session.ask("hi", event_id="slack:C:3", aliases=["cm1"], timeout=30)
        assert (asked.event_id, asked.text) == (turn.event_id, turn.text)
        assert (await session.wait("cm1", timeout=30)).text == turn.text
        receipt = await session.submit("hi", event_id="Ev1")
        assert (receipt.status, receipt.disposition) == ("duplicate", "applied")
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert (audit.accepted, audit.counts["applied"]) == (1, 1)


async def test_a_twin_that_begins_a_session_anew_after_a_termination_is_known_by_the_journal(rig: Rig) -> None:
    session = rig.client().session("s1")
    async with rig.worker():
        await session.ask("hi", event_id="e1", aliases=["a"], timeout=30)
        await session.submit("parked?", event_id="e2", aliases=["b"], source="chat", sequence=7, sequencing="sparse")
        await session.wait("e2", timeout=30)
        await rig.temporal.get_workflow_handle(f"{rig.tenant}/s1").terminate("a test")
        await session.send("hi", event_id="twin", aliases=["x", "a"])

        async def ended() -> bool:
            status = await session.status()
            return status.state == "idle" and bool(status.counts.get("repeated"))

        await until(ended, within=30)
        turns = [e.event_id async for e in session.entries() if e.type == "turn.completed"]
        assert turns == ["e1", "e2"]
        assert (await session.wait("a", timeout=30)).event_id == "e1"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


async def test_a_click_counts_with_no_worker_and_its_result_is_told_later(rig: Rig) -> None:
    session = rig.client().session("s1")
    await session.send("hi", event_id="e1")
    await session.cancel("e1", reason="taken back", wait=False, control_id="click-1")
    await session.cancel("e1", wait=False, control_id="click-1")
    await session.approve("toolu:0123456789ab", by="slack:T1:U7", via="slack", wait=False, control_id="click-2")
    async with rig.worker():

        async def known() -> bool | None:
            return await session.control_result("click-2")

        assert await until(known, within=30)
        assert await session.control_result("click-1") is True
        assert await session.control_result("nobody's") is None
        status = await session.status()
        assert status.counts.get("cancelled") == 1
