"""Continue-as-new loses nothing: in mid-turn, with approvals and waiters, and when signals flood in."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from inturn import Agent, Backpressure, Client, InboxPolicy
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel
from inturn_activities.model.claude_answer import BrokenStream
from inturn_workflows import policies
from tests.support.histories import events, runs, settled, turn_starts
from tests.support.rig import Rig
from tests.support.waiting import until


async def _start(client: Client, rig: Rig, **limits: int) -> None:
    await rig.temporal.start_workflow(
        "Session",
        {"agent": "support", "limits": limits},
        id=str(rig.key("s")),
        task_queue=rig.task_queue,
    )


async def _flood(rig: Rig, name: str, count: int) -> None:
    """Send signals all at once; a session's handle would send them one after the other."""
    handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
    events = ({"event_id": f"{name}{n}", "content": "hi"} for n in range(count))
    await asyncio.gather(*(handle.signal("submit", event) for event in events))


@pytest.mark.promise("SUR-6", "EFF-1")
async def test_a_turn_of_many_steps_crosses_runs_and_repeats_nothing(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        await _start(client, rig, events=40)
        session = client.session("s")
        steps = " [[then]] ".join(f'[[tool charge {{"cents": {n}}}]]' for n in range(12))
        turn = await session.ask(f"{steps} [[then]] done", event_id="long")
        assert len(turn.tool_calls) == 12
        assert {call.status for call in turn.tool_calls} == {"ok"}
        assert len(rig.attempts("charge")) == 12
        assert len(claude.requests) == 13
        assert len(await runs(rig.temporal, str(rig.key("s")))) >= 3
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-6", "ACC-2")
async def test_queue_parked_events_dedup_and_counts_are_carried(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        await _start(client, rig, signals=8)
        session = client.session("s")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await handle.signal("submit", "no object")
        for n in range(30):
            await session.send(f"message {n}", event_id=f"e{n}")
            await session.send(f"message {n}", event_id=f"e{n}")
        await session.wait("e29")
        await settled(handle)
        assert len(await runs(rig.temporal, handle.id)) >= 3
        status = await session.status()
        assert status.counts == {"accepted": 31, "applied": 30, "parked": 1}
        assert (await session.submit("again", event_id="e0")).status == "duplicate"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-6")
async def test_an_approval_and_its_early_answer_survive_a_new_run(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        await _start(client, rig, signals=5)
        session = client.session("s")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="refund")

        async def asked() -> str:
            approvals = (await session.status()).approvals
            return approvals[0].approval_id if approvals else ""

        approval_id = await until(asked)
        before = len(await runs(rig.temporal, str(rig.key("s"))))
        for n in range(12):
            await session.send("behind", event_id=f"behind{n}")

        async def continued() -> bool:
            return len(await runs(rig.temporal, str(rig.key("s")))) > before

        await until(continued)
        assert await asked() == approval_id
        await session.approve(approval_id, by="ann")
        assert (await session.wait("refund")).disposition == "applied"
        assert (await session.wait("behind11")).disposition == "applied"
        assert len(rig.attempts("refund")) == 1


@pytest.mark.promise("SUR-6")
async def test_a_flood_cuts_a_running_model_call_which_goes_on_in_the_next_run(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        await _start(client, rig, signals=20, cut_signals=30)
        session = client.session("s")
        await session.send("[[delay 4]] a slow one with some words", event_id="slow")
        await claude.until_streaming("a slow one")
        await asyncio.gather(*(client.session("s").send("hi", event_id=f"e{n}") for n in range(60)))
        assert (await session.wait("slow")).disposition == "applied"
        slow = [e for e in claude.requests if "a slow one" in e.text]
        assert [e.outcome for e in slow] == ["aborted", "completed"]
        for n in range(60):
            assert (await session.wait(f"e{n}")).disposition == "applied"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-6", "SUR-4")
async def test_a_model_call_that_fails_while_a_flood_cuts_it_is_called_again(rig: Rig) -> None:
    class Breaking(ScriptedModel):
        cut = asyncio.Event()

        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            if not self.cut.is_set():
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cut.set()
                    raise BrokenStream("cut off", place=None) from None
            return await super().respond(request, on_delta)

    model = Breaking()
    async with rig.worker(model=model), rig.client() as client:
        await _start(client, rig, signals=20, cut_signals=30)
        session = client.session("s")
        await session.send("hi", event_id="first")
        await asyncio.gather(*(session.send("hi", event_id=f"e{n}") for n in range(40)))
        assert (await session.wait("first", timeout=20)).disposition == "applied"
        assert model.cut.is_set()
        assert await session.parked() == []


@pytest.mark.promise("SUR-6", "ACC-8")
async def test_what_a_run_decided_is_recorded_by_the_next_one(rig: Rig) -> None:
    async with rig.client() as client:
        await _start(client, rig, signals=20)
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        for n in range(30):  # before there is a worker: all in one task, which is to end the run
            await handle.signal("submit", f"no object {n}")
        async with rig.worker():
            session = client.session("s")

            async def recorded() -> bool:
                return [e.type async for e in session.entries()].count("event.parked") == 30

            await until(recorded)
            first, *_ = await runs(rig.temporal, handle.id)
            assert "ActivityTaskScheduled" not in await events(rig.temporal, handle.id, first)
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences


@pytest.mark.promise("ACC-9", "SUR-6")
async def test_a_flooded_run_that_is_about_to_end_keeps_updates_away_for_a_moment(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        await _start(client, rig, signals=1_000, events=2_000)  # in a flood it ends at 350 signals
        session = client.session("s")
        await session.send("[[delay 20]] long", event_id="long")
        await claude.until_streaming("long")
        await session.submit("before", event_id="before")
        await _flood(rig, "e", 220)
        with pytest.raises(Backpressure, match="moves on to its next run") as refused:
            await session.submit("in the way", event_id="later")
        assert refused.value.retry_after == policies.FLOOD_RETRY
        assert (await session.submit("before", event_id="before")).status == "duplicate", "it was accepted"
        assert (await session.submit("one", event_id="one", source="hook", sequence=0)).status == "accepted"
        assert await session.interrupt(event_id="long"), "a person is heard"
        await _flood(rig, "f", 140)

        async def continued() -> bool:
            return len(await runs(rig.temporal, str(rig.key("s")))) > 1

        await until(continued)
        assert (await session.submit("now", event_id="later")).status == "accepted"
        await session.wait("later")
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-6")
async def test_an_ask_survives_continue_as_new(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client, rig.client(journal=False) as far:
        await _start(client, rig, signals=5)
        asks = [
            asyncio.create_task(c.session("s").ask("[[delay 0.3]] hi", event_id=f"ask{n}"))
            for n, c in enumerate([client, far, client, far])
        ]
        for n in range(20):
            await client.session("s").send("x", event_id=f"e{n}")
        turns = await asyncio.gather(*asks)
        assert [turn.text for turn in turns] == ["You said: hi"] * 4


@pytest.mark.promise("SUR-6", "ORD-3", "ORD-7")
async def test_held_events_merged_ones_and_the_rate_are_carried(rig: Rig) -> None:
    policy = InboxPolicy(gap_timeout=60, rate=5.0, burst=1)
    desk = Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", inbox=policy)
    async with rig.worker([desk]), rig.client() as client:
        await _start(client, rig, signals=6, events=40)
        session = client.session("s")
        await session.send("first", event_id="first")
        for n in (3, 1, 2):
            await session.send(f"number {n}", event_id=f"n{n}", source="hook", sequence=n)
        for n in range(20):
            await session.send(f"message {n}", event_id=f"e{n}", source="chat", when_busy="merge")
        await session.send("number 0", event_id="n0", source="hook", sequence=0)
        assert (await session.wait("n3", timeout=60)).disposition == "applied"
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await settled(handle)
        assert len(await runs(rig.temporal, handle.id)) >= 3
        order = [str(entry.body["turn"]) async for entry in session.entries() if entry.type == "turn.started"]
        assert [turn for turn in order if turn[0] == "n"] == ["n0", "n1", "n2", "n3"]
        begun = (await turn_starts(rig.temporal, handle.id))[1:]  # the first turn brings the rate
        assert all(later - earlier > 0.199 for earlier, later in pairwise(begun)), "five a second, in all runs"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
        assert audit.accepted == 25


@pytest.mark.promise("SUR-6", "ACC-9")
async def test_a_flooded_run_is_short_and_gets_something_done_however_much_came_before_its_first_task(rig: Rig) -> None:
    async with rig.client() as client:
        await _start(client, rig, events=400)  # in a flood it may grow by 140
        session, workflow_id = client.session("s"), str(rig.key("s"))
        handle = rig.temporal.get_workflow_handle(workflow_id)
        await _flood(rig, "e", 220)
        async with rig.worker():
            await session.wait("e219")
            await settled(handle)
            kinds = [
                await events(rig.temporal, workflow_id, run_id) for run_id in await runs(rig.temporal, workflow_id)
            ]
            done = [kind.count("ActivityTaskCompleted") for kind in kinds]
            assert len(kinds[0]) < 400, "the flood ended it"
            assert all(done), done
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences
