"""Controls by the thousand, nonsense among them, and answers and duplicates across continue-as-new."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from inturn import Agent, ApprovalConflict, Budget, Session, tool
from tests.support.agents.agents import tools
from tests.support.histories import replayed
from tests.support.rig import Rig
from tests.support.waiting import until

MANY = 1_000


def _handle(rig: Rig) -> WorkflowHandle[Any, Any]:
    return rig.temporal.get_workflow_handle(str(rig.key("s")))


async def _well(rig: Rig, session: Session) -> None:
    audit = await session.audit(deep=True)
    assert audit.ok, audit.differences
    assert await replayed(rig.temporal, str(rig.key("s")))


def _controls(n: int) -> list[Any]:
    """What is sent of one round: half of it is none."""
    return [
        {"op": "interrupt", "control_id": f"i{n}", "event_id": "nobody"},
        {
            "op": "approve",
            "control_id": f"a{n}",
            "approval_id": f"x{n}:{n:012x}",
            "by": "\x00" * 42,
            "reason": "\x01" * 80,
        },
        {"op": "redrive", "control_id": f"r{n}", "event_id": f"nobody{n}", "force": True},
        {"op": "discard", "control_id": f"d{n}", "event_id": "nobody"},
        {"op": "cancel", "control_id": f"c{n}", "event_id": f"e{n}x"},
        {"op": "pause", "control_id": "paused"},
        {"op": "resume", "control_id": n},
        {"op": ["deny"], "control_id": f"o{n}"},
        [n],
        None,
        "pause",
        {"op": "approve", "control_id": "x" * 4_000},
    ]


@pytest.mark.promise("EFF-8", "SUR-15", "ACC-7")
@pytest.mark.parametrize("paused", [False, True], ids=["busy", "paused"])
async def test_controls_by_the_thousand_cost_a_session_none_of_its_events(rig: Rig, paused: bool) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        await session.ask("hi", event_id="first")
        if paused:
            await session.pause()
        sent = [control for n in range(MANY // 12) for control in _controls(n)]
        places = asyncio.Semaphore(50)

        async def signalled(name: str, message: Any) -> None:
            async with places:
                await handle.signal(name, message)

        each = [signalled("control", control) for control in sent]
        for n in range(10):
            each.insert(n * len(sent) // 10, signalled("submit", {"event_id": f"e{n}", "content": "hi"}))
            more = {"op": "continue", "control_id": f"continue{n}"}
            each.insert(n * len(sent) // 10 + 5, signalled("control", more))
        await asyncio.gather(*each)
        await session.resume()
        for n in range(10):
            assert (await session.wait(f"e{n}", timeout=60)).disposition == "applied"
        assert "hi" in (await session.ask("hi", event_id="after", timeout=30)).text
        await _well(rig, session)


@tool(approval=True, idempotent=True)
async def asked(n: int) -> str:
    """Do something that a person must agree to."""
    return f"did {n}"


@pytest.mark.promise("EFF-7", "SUR-6")
async def test_an_approval_is_answered_once_whichever_runs_the_answers_meet(rig: Rig) -> None:
    agent = Agent("support", model="m", instructions="Be brief.", tools=[*tools, asked])
    async with rig.worker([agent]), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        for n, rounds in enumerate((0, 1, 2)):
            await session.send(f'[[tool asked {{"n": {n}}}]]', event_id=f"e{n}")
            [approval] = await until(lambda: _pending(session))
            for each in range(rounds):
                await handle.signal("control", {"op": "continue", "control_id": f"{n}/{each}"})

            async def answered(yes: bool, approval_id: str = approval.approval_id) -> str:
                try:
                    await (session.approve(approval_id, by="a") if yes else session.deny(approval_id, by="b"))
                except ApprovalConflict:
                    return "conflict"
                return "ok"

            going = handle.signal("control", {"op": "continue", "control_id": f"{n}/at once"})
            answers = asyncio.gather(*(answered(k % 2 == 0) for k in range(8)))
            await going
            assert sorted(await answers) == ["conflict"] * 4 + ["ok"] * 4, "those who say the same agree"
            turn = await session.wait(f"e{n}", timeout=30)
            assert turn.tool_calls[0].status in ("ok", "denied")
            await handle.signal("control", {"op": "continue", "control_id": f"{n}/then"})
            assert sorted([await answered(True), await answered(False)]) == ["conflict", "ok"]
        entries = [entry async for entry in session.entries() if entry.type.endswith("answered")]
        assert len(entries) == 3
        await _well(rig, session)


@pytest.mark.promise("EFF-7", "SUR-6")
async def test_a_question_expires_in_its_time_whatever_runs_pass(rig: Rig) -> None:
    agent = Agent("support", model="m", instructions="Be brief.", tools=[asked], budget=Budget(approval_timeout=2.0))
    async with rig.worker([agent]), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        await session.send('[[tool asked {"n": 1}]]', event_id="e")
        [approval] = await until(lambda: _pending(session))
        for n in range(3):
            await handle.signal("control", {"op": "continue", "control_id": str(n)})
        turn = await session.wait("e", timeout=20)
        assert turn.tool_calls[0].status not in ("ok", None)
        with pytest.raises(ApprovalConflict):
            await session.approve(approval.approval_id)
        await _well(rig, session)


@pytest.mark.promise("ACC-2", "SUR-6")
async def test_an_id_means_the_event_that_had_it_first_beyond_the_window_and_through_every_run(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = client.session("s", agent="support"), _handle(rig)
        await session.ask("what it said first", event_id="e")
        for n in range(3):
            await handle.signal("control", {"op": "continue", "control_id": str(n)})
            await session.ask(f"between {n}", event_id=f"b{n}")
            await handle.signal(
                "submit", {"event_id": "e", "content": f"something else {n}", "source": "s", "sequence": 9}
            )
            turn = await session.ask(f"and else {n}", event_id="e")
            assert "what it said first" in turn.text
        await _handle(rig).terminate("so that the journal alone knows it")
        for say in ("again", "and again"):
            assert "what it said first" in (await session.ask(say, event_id="e", timeout=30)).text
            await handle.signal("submit", {"event_id": "e", "content": say})
        await session.ask("last", event_id="last")
        begun = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert begun == ["e", "b0", "b1", "b2", "last"]
        await _well(rig, session)


async def _pending(session: Session) -> list[Any]:
    return list((await session.status()).approvals)
