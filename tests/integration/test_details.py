"""The current details in the Temporal UI show what a session holds now: while a turn runs, and while nothing does."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata

from inturn import Agent, Session, ToolContext, ToolError, TurnTimeout
from inturn.values import Approval
from inturn_worker.replaying import replayer
from inturn_workflows.display import details as details_module
from tests.support.agents.desk import desk, session_of
from tests.support.histories import settled
from tests.support.rig import Rig
from tests.support.waiting import until

LONG = '[[tool wait {"seconds": 25}]]'
REFUND = '[[tool refund {"cents": 9000}]]'


async def details(rig: Rig) -> str:
    """Read what the UI shows, as the UI does."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    metadata: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def shown(rig: Rig, *parts: str) -> str:
    """Wait until the UI shows all of that; no turn ends meanwhile that would show it."""

    async def found() -> str:
        text = await details(rig)
        return text if all(part in text for part in parts) else ""

    return await until(found, within=15)


async def long_turn(rig: Rig, session: Session) -> None:
    """Run a turn whose tool takes longer than the test."""
    await session.send(LONG, event_id="long")
    await shown(rig, "**running**", "Turn `long`", "at step 1: tools: wait")


async def test_events_that_come_during_a_long_turn_are_shown_while_it_runs(rig: Rig) -> None:
    async with session_of(rig) as session:
        await long_turn(rig, session)
        await asyncio.gather(*(session.send(f"message {n}", event_id=f"e{n}", source="chat") for n in range(10)))
        text = await shown(rig, "Limits: waiting 10 of 1,000 events", *(f"| `e{n}` |" for n in range(10)))
        assert text.startswith("**running** · agent `desk`")
        assert " UTC (" in text.splitlines()[0]
        assert "| chat |  | message 7 |" in text
        assert await session.cancel("e4")
        assert "`e4`" not in await details(rig)
        assert await session.interrupt(clear_queue=True)
        text = await shown(rig, "**idle**", "Limits: waiting 0 of 1,000 events")
        assert "`e1`" not in text


@pytest.mark.promise("ACC-5")
async def test_a_long_queue_is_cut_and_the_rest_is_counted(rig: Rig) -> None:
    async with session_of(rig, source_quota=40, expires_after=600) as session:
        await session.ask("hi", event_id="first")
        await long_turn(rig, session)
        await asyncio.gather(*(session.send("x", event_id=f"e{n}") for n in range(27)))
        text = await shown(rig, "| … and 7 more |", "| `e19` |", " · 40 of one source · expire after 600 s")
        assert "`e20`" not in text


@pytest.mark.promise("ORD-3", "ORD-5")
async def test_events_held_during_a_turn_are_shown_with_what_they_wait_for(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=600, hold_capacity=3) as session:
        await session.ask("hi", event_id="first")
        await long_turn(rig, session)
        for number in (7, 8):
            await session.submit("x", event_id=f"h{number}", source="hook", sequence=number)
        text = await details(rig)
        assert "held 2 of 3 (then `reject`)" in text
        for number in (7, 8):
            assert f"| hook | {number} | 0 to 6 of hook |" in text


@pytest.mark.promise("ORD-4")
async def test_a_gap_that_ends_during_a_turn_is_shown_at_its_end(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=0.5) as session:
        await session.ask("hi", event_id="first")
        await long_turn(rig, session)
        await session.submit("x", event_id="h7", source="hook", sequence=7)
        text = await shown(rig, "**running**", "held 0 of 100", "| `h7` |")
        assert "0 to 6 of hook" not in text


async def test_events_held_one_after_the_other_while_nothing_runs_are_all_shown(rig: Rig) -> None:
    async with session_of(rig, gap_timeout=600) as session:
        await session.ask("hi", event_id="first")
        for number in (7, 9, 8):
            await session.submit("x", event_id=f"h{number}", source="hook", sequence=number)
            assert f"| hook | {number} | 0 to 6 of hook |" in await details(rig)
        assert "**idle**" in await details(rig)


async def test_a_paused_session_shows_that_it_is_and_what_waits(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.ask("hi", event_id="first")
        await session.pause()
        assert "**paused**" in await details(rig)
        for name in ("one", "two"):
            await session.submit(name, event_id=name)
        text = await details(rig)
        assert "Limits: waiting 2 of 1,000 events" in text
        assert "| `one` |" in text
        assert "| `two` |" in text
        assert await session.cancel("one")
        assert "`one`" not in await details(rig)
        await session.resume()
        await session.wait("two")
        text = await shown(rig, "**idle**", "Limits: waiting 0 of 1,000 events")
        assert "`two`" not in text


async def test_a_pause_and_a_close_are_shown_while_the_turn_still_runs(rig: Rig) -> None:
    async with session_of(rig) as session:
        await long_turn(rig, session)
        await session.pause()
        assert (await details(rig)).startswith("**running** · paused · agent")
        with pytest.raises(TurnTimeout):
            await session.close(timeout=0.1)
        assert (await details(rig)).startswith("**running** · paused · closing · agent")
        await session.interrupt()
        await shown(rig, "**closed**")


@pytest.mark.promise("EFF-7")
async def test_a_session_that_waits_for_an_approval_shows_so_until_it_is_answered(rig: Rig) -> None:
    async with session_of(rig) as session:
        await session.send(REFUND, event_id="alone")
        await shown(rig, "**requires_action**", "Turn `alone`", "waits for approval of refund")
        await session.submit(f"{REFUND} {LONG}", event_id="beside")
        assert "| `beside` |" in await details(rig)
        (approval,) = await until(lambda: _approvals(session))
        await session.deny(approval.approval_id, by="ann")
        await shown(rig, "**requires_action**", "Turn `beside`", "waits for approval of refund")
        (approval,) = await until(lambda: _approvals(session))
        await session.approve(approval.approval_id, by="ann")
        await shown(rig, "**running**", "tools: refund, wait")


async def _approvals(session: Session) -> tuple[Approval, ...]:
    return (await session.status()).approvals


@pytest.mark.promise("ACC-7")
async def test_what_is_parked_or_discarded_during_a_turn_is_shown_at_once(rig: Rig) -> None:
    async with session_of(rig) as session:
        await long_turn(rig, session)
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await handle.signal("submit", {"event_id": "bad", "content": 7})
        await shown(rig, "| parked | since (UTC) | error |", "| `bad` |", "invalid event: ")
        assert await session.discard("bad")
        assert "`bad`" not in await details(rig)


@pytest.mark.promise("ORD-7")
async def test_a_session_that_waits_for_its_rate_shows_what_waits_and_when_the_next_turn_is(rig: Rig) -> None:
    async with session_of(rig, rate=0.01) as session:
        await session.ask("hi", event_id="first")
        await session.ask("hi", event_id="second")  # the first one brought the policy
        for number, name in enumerate(("one", "two"), start=1):
            await session.submit(name, event_id=name)
            text = await details(rig)
            assert text.startswith("**idle**")
            assert f"Limits: waiting {number} of 1,000 events" in text
            assert "rate 0.01/s, burst 1, next turn at " in text
            assert f"| `{name}` |" in text


async def test_what_comes_while_the_session_is_about_to_do_something_else_first_is_shown(rig: Rig) -> None:
    deliveries: list[str] = []

    async def deliver(out: object, ctx: ToolContext) -> None:
        deliveries.append(ctx.key)
        if len(deliveries) == 1:
            raise ToolError("nobody there")
        await asyncio.Event().wait()

    agent = Agent("desk", model="claude-sonnet-5-5", instructions="Be brief.", deliver=deliver)
    async with rig.worker([agent]), rig.client() as client:
        await client.session("s").ask("hi", event_id="first")
        await shown(rig, "**idle**", "| `first` |", "nobody there")
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    await handle.signal("control", {"control_id": "again", "op": "redrive", "event_id": "first"})
    await handle.signal("submit", {"event_id": "next", "content": "hi"})
    async with rig.worker([agent]):
        text = await shown(rig, "**idle**", "Limits: waiting 1 of 1,000 events", "| `next` |")
        assert "nobody there" not in text
        assert len(deliveries) <= 2


async def test_a_plain_turn_is_shown_when_it_starts_and_when_it_ends_and_no_more_often(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Mock(wraps=details_module.details)
    async with session_of(rig) as session:
        await session.ask("hi", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await settled(handle)
        monkeypatch.setattr("inturn_workflows.display.display.details", written)
        await session.send("hi", event_id="sent")
        await settled(handle)
        assert written.call_count == 2
        await session.ask("hi", event_id="asked")
        await settled(handle)
        assert written.call_count == 4


@pytest.mark.promise("SUR-7")
async def test_signals_that_come_together_are_shown_together_and_the_history_replays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = 200
    async with rig.client() as client:
        session = client.session("s")
        async with rig.worker([desk()]):
            await session.ask("hi", event_id="first")
            await session.pause()
        for number in range(signals):
            await session.send("x", event_id=f"e{number}")
        written = Mock(wraps=details_module.details)
        monkeypatch.setattr("inturn_workflows.display.display.details", written)
        async with rig.worker([desk()]):
            await shown(rig, f"Limits: waiting {signals} of 1,000 events", f"| … and {signals - 20} more |")
            assert written.call_count < 10, "what was replayed included"
    history = await rig.temporal.get_workflow_handle(str(rig.key("s"))).fetch_history()
    await replayer().replay_workflow(history)
