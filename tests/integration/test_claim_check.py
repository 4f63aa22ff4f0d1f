"""Large events on a real server: their run stays small, and none of them is lost on the way."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from inturn import Agent, Backpressure, Session, tool
from inturn.journal import Claim
from inturn.keys import StepKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Usage
from inturn_activities.failures import OwnFailure
from tests.support.rig import Rig
from tests.support.waiting import until

MANY = int(os.environ.get("INTURN_TEST_LARGE", "24"))
"""Large events at once; an inbox takes 260 of them."""
PER_EVENT = 2 * 1024
"""Bytes of history that one may cost."""


def large(number: int | str) -> str:
    return f"{number} [[say ok]] {'x' * 250_000}"


class Brief:
    """A model that says little whatever it is told, calls a tool when told to work, and refuses one text."""

    def __init__(self) -> None:
        self.mended = False

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        told = str(request.messages[-1]["content"])[:60]
        if not self.mended and "poison" in told:
            raise OwnFailure("400: no")
        if "'work'" in told:
            call = {"type": "tool_use", "id": "toolu_1", "name": "work", "input": {}}
            return ModelMessage(content=[call], stop_reason="tool_use", usage=Usage(), model="m")
        return ModelMessage(content=[{"type": "text", "text": "ok"}], stop_reason="end_turn", usage=Usage(), model="m")


async def history(session: Session) -> int:
    """Bytes of the current run's history."""
    described = await session._transport.describe()
    return int(described.raw_description.workflow_execution_info.history_size_bytes)


async def _all_applied(session: Session, count: int) -> None:
    async def done() -> bool:
        return (await session.status()).counts.get("applied") == count

    assert await until(done, within=20 + count)
    audit = await session.audit(deep=True)
    assert (audit.ok, audit.differences) == (True, ())


async def _said(rig: Rig, session_id: str) -> list[str]:
    """What the model was told, by the journal, which keeps nothing beside it."""
    async with rig.opened_journal() as journal:
        entries = [e async for e in journal.entries(rig.key(session_id), types=("user.message",))]
        assert await journal.contents(rig.key(session_id)) == {}
        assert await journal.verify(rig.key(session_id)) == []
    return [str(entry.body["content"]).partition(" ")[0] for entry in entries]


@pytest.mark.promise("SUR-15", "ACC-1", "ORD-1")
@pytest.mark.parametrize("way", ["one by one", "in a burst"])
async def test_large_events_without_a_worker_are_all_taken_and_all_answered_in_order(rig: Rig, way: str) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        if way == "in a burst":
            await asyncio.gather(*(session.send(large(n), event_id=f"e{n}") for n in range(MANY)))
        else:
            for number in range(MANY):
                await session.send(large(number), event_id=f"e{number}")
        assert await history(session) < 4 * 1024 + MANY * PER_EVENT
        async with rig.worker(model=Brief()):
            await _all_applied(session, MANY)
        assert await _said(rig, "s") == [str(n) for n in range(MANY)]


@pytest.mark.promise("SUR-15", "ACC-1")
async def test_large_events_beside_a_tool_that_runs_for_long_cost_its_run_little(rig: Rig) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @tool(timeout=300)
    async def work() -> str:
        """Work for long."""
        begun.set()
        await go.wait()
        return "done"

    agent = Agent("support", model="m", instructions="Be brief.", tools=[work])
    async with rig.worker([agent], model=Brief()), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("work", event_id="e")
        await begun.wait()
        before = await history(session)
        await asyncio.gather(*(session.send(large(n), event_id=f"e{n}") for n in range(MANY)))
        assert await history(session) - before < MANY * PER_EVENT + 16 * 1024
        go.set()
        await _all_applied(session, MANY + 1)
    assert len(await _said(rig, "s")) == MANY + 1


@pytest.mark.promise("SUR-15", "ACC-1")
async def test_without_a_journal_large_events_are_refused_before_they_end_the_run(rig: Rig) -> None:
    async with rig.client(journal=False) as client:
        session = client.session("s", agent="support")

        async def flood() -> None:
            while True:
                await session.send(large("x"))

        with pytest.raises(Backpressure):
            await flood()
        assert 20 * 1024**2 < await history(session) <= 25 * 1024**2
        assert (await session.send("small")).status == "sent"
        described = await session._transport.describe()
        assert described.status is not None
        assert described.status.name == "RUNNING"


@pytest.mark.promise("SUR-3", "SUR-15")
async def test_a_large_event_that_was_parked_is_driven_again_whole(rig: Rig) -> None:
    model = Brief()
    async with rig.worker(model=model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send(large("poison"), event_id="bad")
        await session.ask(large("fine"), event_id="good")
        assert [parked.event_id for parked in await session.parked()] == ["bad"]
        model.mended = True
        await session.redrive("bad")
        turn = await session.wait("bad", timeout=20)
        assert turn.disposition == "applied"
        audit = await session.audit(deep=True)
        assert (audit.ok, audit.differences) == (True, ())
    assert await _said(rig, "s") == ["poison", "fine", "poison"]


@pytest.mark.promise("ORD-10", "SUR-15")
async def test_large_events_that_merge_are_one_turn_and_keep_to_its_bound(rig: Rig) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        for number in range(4):
            await session.send(large(number)[:120_000], event_id=f"e{number}", when_busy="merge")
        async with rig.worker():
            turns = [await session.wait(f"e{number}", timeout=20) for number in range(4)]
            assert [turn.event_id for turn in turns] == ["e0", "e0", "e2", "e2"]
    assert await _said(rig, "s") == ["0", "1", "2", "3"]


@pytest.mark.promise("ORD-10", "ACC-8")
async def test_what_joined_a_turn_that_is_stopped_before_it_was_said_gets_a_turn_of_its_own(rig: Rig) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    joining, never = asyncio.Event(), asyncio.Event()

    @tool
    async def work() -> str:
        """Work until told."""
        begun.set()
        await go.wait()
        return "done"

    agent = Agent("support", model="m", instructions="Be brief.", tools=[work])
    async with rig.worker([agent]) as journal, rig.client() as client:
        claim = journal.claim_model

        async def held(step: StepKey, *args: Any, **options: Any) -> Claim:
            if step.step == "1":
                joining.set()
                await never.wait()
            return await claim(step, *args, **options)

        journal.claim_model = held  # type: ignore[method-assign]
        session = client.session("s", agent="support")
        await session.send("[[tool work {}]]", event_id="host")
        await begun.wait()
        await session.submit(large("steers"), event_id="steers", when_busy="steer")
        go.set()
        await joining.wait()
        await session.interrupt(reason="enough")
        turn = await session.wait("steers", timeout=20)
        assert (turn.event_id, turn.disposition, turn.text) == ("steers", "applied", "ok")
        audit = await session.audit(deep=True)
        assert (audit.ok, audit.differences) == (True, ())
        assert audit.counts == {"applied": 1, "cancelled": 1}
    assert await _said(rig, "s") == ["[[tool", "steers"]


@pytest.mark.promise("ACC-1", "SUR-12")
@pytest.mark.parametrize("way", ["taken", "late"])
async def test_a_content_that_was_lost_is_named_and_the_same_event_again_mends_it(rig: Rig, way: str) -> None:
    async with rig.client() as client:
        session = client.session("s", agent="support")
        late: dict[str, Any] = {"source": "hook", "sequence": 0} if way == "late" else {}
        if way == "late":
            for sequence in (0, 1):
                await session.send(f"{sequence}", source="hook", sequence=sequence)
        await session.send(large("lost"), event_id="e", **late)
        async with rig.opened_journal() as journal:
            await journal._store.write(lambda tx: tx.execute("DELETE FROM contents"))
        async with rig.worker():

            async def named() -> bool:
                return (await session.status()).health == "content_lost"

            assert await until(named, within=20)
            audit = await session.audit()
            assert audit.differences == ("event e is parked, and what it said was lost before its turn",)
            await session.send(large("lost"), event_id="e")
            assert (await session.wait("e", timeout=20)).disposition == "applied"
            status = await session.status()
            assert status.health == "ok"
            audit = await session.audit(deep=True)
            assert (audit.ok, audit.differences) == (True, ())
