"""Budgets through a real server: a turn asks a person for more, and its books say what the model counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inturn import Agent, Approval, Budget, Session
from inturn.amounts import nanos
from inturn.models.prices import known_prices
from inturn.tools import tool
from tests.support.histories import size
from tests.support.rig import Rig
from tests.support.waiting import until

MODEL = "claude-sonnet-5-5"
TWO_STEPS = "[[tool look {}]]"


@tool
async def look() -> str:
    """Look."""
    return "nothing"


ASKING = Budget(steps=1, on_limit="ask")


def desk(budget: Budget, name: str = "desk") -> Agent:
    return Agent(name, model=MODEL, instructions="Be brief.", tools=[look], budget=budget)


async def asked(session: Session) -> Approval:
    async def waiting() -> Sequence[Approval]:
        return (await session.status()).approvals

    [approval] = await until(waiting)
    return approval


@pytest.mark.promise("MOD-4")
async def test_a_turn_at_its_limit_waits_for_a_person_and_goes_on_with_a_yes(rig: Rig) -> None:
    async with rig.worker([desk(ASKING)]), rig.client() as client:
        session = client.session("s")
        await session.submit(TWO_STEPS, event_id="e1")
        approval = await asked(session)
        assert (approval.kind, approval.approval_id) == ("budget", "budget:e1:1:0")
        status = await session.status()
        assert status.state == "requires_action"
        assert status.turn is not None
        assert status.turn.waiting_for == "approval of budget"
        await session.approve(approval.approval_id, by="ann")
        turn = await session.wait("e1")
        assert turn.stop_reason == "end_turn"
        assert turn.usage.steps == 2


@pytest.mark.promise("MOD-4")
async def test_a_no_ends_the_turn_and_an_interrupt_ends_the_question(rig: Rig) -> None:
    async with rig.worker([desk(ASKING)]), rig.client() as client:
        session = client.session("s")
        await session.submit(TWO_STEPS, event_id="e1")
        await session.deny((await asked(session)).approval_id)
        assert (await session.wait("e1")).stop_reason == "budget_reached"
        await session.submit(TWO_STEPS, event_id="e2")
        await asked(session)
        await session.interrupt()
        assert (await session.wait("e2")).stop_reason == "interrupted"
        assert (await session.status()).approvals == ()
        answers = [e.body["answer"] async for e in session.entries() if e.type == "approval.answered"]
        assert answers == ["denied", "expired"]
        assert (await session.ask("hello")).stop_reason == "end_turn"


@pytest.mark.promise("MOD-4")
async def test_a_question_costs_a_step_and_what_an_approval_does(rig: Rig) -> None:
    async with rig.worker([desk(ASKING), desk(Budget(), "plain")]), rig.client() as client:
        sizes: dict[str, int] = {}
        for agent in ("desk", "plain"):
            session = client.session(agent, agent=agent)
            await session.send(TWO_STEPS, event_id="e1")
            if agent == "desk":
                await session.approve((await asked(session)).approval_id)
            await session.wait("e1")
            sizes[agent] = (await size(rig.temporal.get_workflow_handle(str(rig.key(agent)))))[0]
        # The step that asks and the task behind it (6); a timer (2), the yes as an update and its tasks (7).
        assert sizes["desk"] - sizes["plain"] <= 15


@pytest.mark.promise("MOD-4")
async def test_what_was_spent_is_what_the_model_counted_by_the_price_list(rig: Rig) -> None:
    async with rig.claude() as claude:
        async with rig.worker([desk(Budget(usd=1))], model=claude.model), rig.client() as client:
            turn = await client.session("s").ask(TWO_STEPS)
            price = known_prices().find(MODEL)
            assert price is not None
            assert turn.usage.usd_nanos > 0
            assert turn.usage.usd_nanos < nanos("0.01")
            journal = await client._connection.any_journal()
            [cost] = await journal.costs("model", tenant=rig.tenant)
            assert (cost.name, cost.turns, cost.usd_nanos) == (MODEL, 1, turn.usage.usd_nanos)
