"""Answers get out: once per turn, in order, and a failed delivery is parked alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from inturn import Approval, Notice, Session, ToolContext, Turn
from tests.support.agents.agents import delivering
from tests.support.agents.desk import desk
from tests.support.histories import settled
from tests.support.rig import Rig
from tests.support.waiting import until


@pytest.mark.promise("ACC-12")
async def test_deliver_runs_once_per_turn_in_order(rig: Rig) -> None:
    async with rig.worker([delivering]), rig.client() as client:
        session = client.session("s")
        for n in range(5):
            await session.send(f"message {n}", event_id=f"e{n}")
        await session.ask("last", event_id="last")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await settled(handle)
        texts = [row[3].split(" ", 1)[1] for row in rig.attempts("deliver:Turn")]
        assert texts == [*(f"You said: message {n}" for n in range(5)), "You said: last"]


@pytest.mark.promise("ACC-12")
async def test_a_failed_delivery_is_parked_and_redriven_alone(rig: Rig) -> None:
    async with rig.worker([delivering]), rig.client() as client:
        session = client.session("s")
        turn = await session.ask("undeliverable", event_id="lost")
        assert turn.disposition == "applied"

        async def parked() -> list[str]:
            return [p.event_id for p in await session.parked()]

        assert await until(parked) == ["lost"]
        (rig.effects / "mended").touch()
        await session.redrive("lost")

        async def delivered() -> int:
            return len(rig.attempts("deliver:Turn"))

        assert await until(delivered) == 1
        assert [e.type async for e in session.entries(event_id="lost")].count("agent.message") == 1
        assert (await session.status()).counts == {"accepted": 1, "applied": 1}


@pytest.mark.promise("ACC-12")
async def test_an_approval_is_asked_for_through_deliver_and_answered(rig: Rig) -> None:
    async with rig.worker([delivering]), rig.client() as client:
        session = client.session("s")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="refund")

        async def asked() -> tuple[str, ...]:
            return tuple(a.approval_id for a in (await session.status()).approvals)

        (approval_id,) = await until(asked)
        assert (await session.status()).state == "requires_action"
        assert len(rig.attempts("deliver:Approval")) == 1
        assert rig.attempts("refund") == []
        await session.approve(approval_id, by="ann")
        assert (await session.wait("refund")).disposition == "applied"
        assert len(rig.attempts("refund")) == 1


@pytest.mark.promise("ACC-12")
async def test_an_expired_event_is_delivered_as_a_notice(rig: Rig) -> None:
    async with rig.worker([delivering]), rig.client() as client:
        session = client.session("s")
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1.5]] a b", event_id="slow")
        await session.send("stale", event_id="stale", expires_after=0.2)

        async def noticed() -> int:
            return len(rig.attempts("deliver:Notice"))

        assert await until(noticed) == 1
        counts = (await session.status()).counts
        assert counts["expired"] == 1


@pytest.mark.promise("ACC-12", "SUR-11")
async def test_notices_go_out_also_when_the_session_begins_anew(rig: Rig) -> None:
    async with rig.worker([delivering]), rig.client() as client:
        session = client.session("s")
        for n in (1, 2):
            await session.ask("hi", event_id=f"first{n}")
            await session.send("[[delay 1]] a b", event_id=f"slow{n}")
            await session.send("stale", event_id=f"stale{n}", expires_after=0.2)

            async def noticed(times: int = n) -> bool:
                return len(rig.attempts("deliver:Notice")) == times

            await until(noticed)
            await rig.temporal.get_workflow_handle(str(rig.key("s"))).terminate("test")


@pytest.mark.promise("ACC-12", "ACC-2")
@pytest.mark.parametrize("text", ["[[fault 400]] hi", "undeliverable"], ids=["the turn", "the delivery"])
@pytest.mark.usefixtures("short_window")
async def test_what_went_out_after_a_redrive_goes_out_no_second_time_when_its_id_comes_back(
    rig: Rig, text: str
) -> None:
    async with rig.claude() as claude, rig.worker([delivering], model=claude.model), rig.client() as client:
        session = client.session("s")
        await session.send(text, event_id="back")

        async def parked() -> list[str]:
            return [p.event_id for p in await session.parked()]

        assert await until(parked) == ["back"]
        (rig.effects / "mended").touch()
        await session.redrive("back")
        assert (await session.wait("back")).disposition == "applied"
        for n in range(10):
            await session.ask("hi", event_id=f"e{n}")

        async def all_delivered() -> bool:
            return len(rig.attempts("deliver:Turn")) == 11

        await until(all_delivered)
        assert (await session.ask(text, event_id="back")).disposition == "applied"
        await settled(rig.temporal.get_workflow_handle(str(rig.key("s"))))
        assert len(rig.attempts("deliver:Turn")) == 11
        assert await parked() == []
        audit = await session.audit()
        assert audit.ok, audit.differences


STOPS: dict[str, Callable[[Session, str], Awaitable[object]]] = {
    "interrupt": lambda session, _: session.interrupt(),
    "close": lambda session, _: session.close(),
    "cancel": lambda session, _: session.cancel("refund"),
    "approve": lambda session, approval_id: session.approve(approval_id, by="ann"),
    "deny": lambda session, approval_id: session.deny(approval_id, by="ann"),
}


@pytest.mark.promise("EFF-8", "EFF-7")
@pytest.mark.parametrize("how", STOPS)
async def test_nobody_waits_for_the_delivery_of_a_question_that_is_settled(rig: Rig, how: str) -> None:
    begun = asyncio.Event()

    async def hangs(out: Turn | Approval | Notice, ctx: ToolContext) -> None:
        if isinstance(out, Approval):
            begun.set()
            await asyncio.sleep(60)

    async with rig.worker([desk(deliver=hangs)]), rig.client() as client:
        session = client.session("s", agent="desk")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="refund")
        async with asyncio.timeout(20):
            await begun.wait()

        async def asked() -> tuple[str, ...]:
            return tuple(a.approval_id for a in (await session.status()).approvals)

        (approval_id,) = await until(asked)
        start = asyncio.get_running_loop().time()
        await STOPS[how](session, approval_id)
        turn = await session.wait("refund", timeout=20)
        took = asyncio.get_running_loop().time() - start
        assert took < 2, f"{took:.2f} s"
        assert turn.disposition == ("applied" if how in ("approve", "deny") else "cancelled")
        assert len(rig.attempts("refund")) == (how == "approve")
