"""A bad event, a failing tool and a failing model cost their own turn, never the session."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError, WorkflowUpdateStage

from inturn import Agent, Client, InvalidEvent, Session, TurnFailed, names, sizes
from inturn.values import Parked
from tests.support.agents import agents as test_agents
from tests.support.histories import Handle, settled
from tests.support.rig import Rig
from tests.support.waiting import until


async def _begin(client: Client, rig: Rig) -> tuple[Session, Handle]:
    session = client.session("s", agent="support")
    await session.ask("hello", event_id="first")
    return session, rig.temporal.get_workflow_handle(str(rig.key("s")))


async def _still_answers(session: Session, event_id: str = "after") -> None:
    turn = await session.ask("still there?", event_id=event_id)
    assert "still there?" in turn.text


@pytest.mark.promise("ACC-7", "SUR-3")
async def test_undecodable_signals_and_unknown_names_are_parked_with_their_error(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session, handle = await _begin(client, rig)
        await handle.signal("submit", "no object")
        await handle.signal("submit", args=[{"content": "a"}, {"content": "b"}])
        await handle.signal("submit")
        await handle.signal("submit", {"event_id": "no spaces allowed", "content": "x"})
        await handle.signal("submit", {"event_id": "empty", "content": ""})
        await handle.signal("submit", {"event_id": "big", "content": "x" * 300_000})
        await handle.signal("submit", {"event_id": "no-content", "text": "x"})
        await handle.signal("sbumit", {"event_id": "typo", "content": "x"})
        await settled(handle)
        errors = {parked.event_id: parked.error for parked in await session.parked()}
        assert len(errors) == 8
        assert "content is empty" in errors["empty"]
        assert "the limit is 262,144" in errors["big"]
        assert "unknown signal 'sbumit'" in errors["typo"]
        assert sum("expected one JSON object" in error for error in errors.values()) == 2
        await _still_answers(session)
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-7", "SEC-5", "SUR-15", "ISO-4")
async def test_full_messages_of_nonsense_cost_neither_the_session_nor_others_more_than_a_moment(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = await _begin(client, rig)
        numbers = {"event_id": "ones", "content": [1] * 900_000}
        await asyncio.gather(*(handle.signal("submit", numbers | {"n": n}) for n in range(10)))
        began = time.monotonic()
        await client.session("innocent", agent="support").ask("hello", event_id="first")
        assert time.monotonic() - began < 5, "each had taken seven seconds of the interpreter"
        full: list[object] = [[{}] * 300_000, [[]] * 300_000, {f"k{n}": n for n in range(60_000)}]
        for content in full:
            await handle.signal("submit", {"event_id": "full", "content": content})
        await handle.signal("s" * 900, {"event_id": "typo", "content": "x"})
        await handle.signal("control", {"control_id": "c" * 1_500_000, "op": "pause"})
        parked = await until(lambda: _parked(session, 13))
        assert all(len(one.error) < 600 and len(one.preview) < 300 and len(one.event_id) < 129 for one in parked)
        await _still_answers(session)
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("ACC-7", "SEC-5", "SUR-15")
async def test_an_id_that_is_none_is_refused_wherever_it_enters_and_echoed_nowhere(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = await _begin(client, rig)
        huge = "i" * 1_800_000
        for name, message in (
            ("submit", {"event_id": huge, "wait": True}),
            ("submit", {"event_id": "i" * 129, "wait": True}),
            ("submit", {"event_id": "a b", "wait": True}),
            ("submit", {"event_id": huge, "content": "x"}),
            ("control", {"control_id": huge, "op": "pause"}),
            ("control", {"control_id": "c1", "op": "cancel", "event_id": "e" * 161}),
            ("control", {"control_id": "c2", "op": "approve", "approval_id": "a" * 257}),
            ("control", {"control_id": "c3", "op": "redrive", "event_id": "a\x01"}),
            ("u" * 900, {"event_id": "e1", "content": "x"}),
        ):
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await handle.execute_update(name, message)
            assert len(str(refused.value.cause)) < 700
        await _still_answers(session)
        assert (await session.status()).counts == {"accepted": 2, "applied": 2}


@pytest.mark.promise("ACC-7", "ACC-8")
@pytest.mark.parametrize("length", [20, 20_000])
async def test_an_event_that_came_malformed_runs_once_it_comes_as_it_was_meant(rig: Rig, length: int) -> None:
    async with rig.worker(), rig.client() as client:
        session, handle = await _begin(client, rig)
        for event_id in ("signalled", "asked"):
            await handle.signal("submit", {"event_id": event_id, "content": ""})
            await handle.signal("submit", {"event_id": event_id, "content": ["still", "none"]})
        await until(lambda: _parked(session, 2))
        text = "x" * length
        await session.send(f"{text} meant", event_id="signalled")
        assert (await session.wait("signalled", timeout=30)).disposition == "applied"
        assert (await session.ask(f"{text} this", event_id="asked")).disposition == "applied"
        assert (await session.submit("again", event_id="signalled")).status == "duplicate"
        users = [entry.text or "" async for entry in session.entries() if entry.type == "user.message"]
        assert [said.split()[-1] for said in users][1:] == ["meant", "this"]
        assert await session.parked() == []
        assert (await session.status()).counts == {"accepted": 3, "applied": 3}
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SEC-5", "SUR-15")
async def test_a_session_that_was_started_and_is_asked_with_nonsense_is_one_as_any(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        limits = {name: 10**400 for name in ("events", "bytes", "signals")}
        full = "a" * 1_900_000
        starts = [full, {"agent": full}, {"agent": "a b"}, {"limits": limits}, {"limits": {"x": full}}, [[[1]]], None]
        for number, start in enumerate(starts):
            handle = await rig.temporal.start_workflow(
                "Session", start, id=str(rig.key(f"s{number}")), task_queue=rig.task_queue
            )
            await _still_answers(client.session(f"s{number}"))
        assert (await handle.query("status", full))["state"] == "idle"
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query("q" * 900, full)
        await _still_answers(client.session(f"s{number}"), "later")


async def _parked(session: Session, count: int) -> list[Parked]:
    parked = list(await session.parked())
    return parked if len(parked) == count else []


@pytest.mark.promise("ACC-7")
async def test_an_event_of_three_megabytes_is_refused_before_it_is_sent(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, _ = await _begin(client, rig)
        with pytest.raises(InvalidEvent, match="limit is 262,144"):
            await session.send("x" * 3_000_000, event_id="huge")
        await _still_answers(session)


@pytest.mark.promise("ACC-7")
async def test_an_unknown_agent_costs_only_its_own_event(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        with pytest.raises(TurnFailed, match="nobody") as failed:
            await client.session("s", agent="nobody").ask("hi", event_id="lost")
        assert failed.value.disposition == "parked"
        await _still_answers(client.session("s", agent="support"))
        with pytest.raises(InvalidEvent, match="belongs to agent 'support'"):
            await client.session("s", agent="other").submit("hi")


@pytest.mark.promise("SUR-3", "MOD-2")
async def test_a_refused_request_is_parked_and_leaves_nothing_in_the_transcript(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session, _ = await _begin(client, rig)
        with pytest.raises(TurnFailed) as failed:
            await session.ask("[[fault 400]] poison", event_id="poison")
        assert failed.value.disposition == "parked"
        await _still_answers(session)
        assert "poison" not in json.dumps(await session.transcript())
        types = [entry.type async for entry in session.entries(event_id="poison")]
        assert "turn.failed" in types
        assert "event.parked" in types

        await session.redrive("poison")  # the fault strikes a text only once
        again = await session.wait("poison")
        assert again.disposition == "applied"


@pytest.mark.promise("SUR-3")
async def test_a_parked_event_can_be_discarded(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session, _ = await _begin(client, rig)
        with pytest.raises(TurnFailed):
            await session.ask("[[fault 400]] poison", event_id="poison")
        await session.discard("poison")
        assert await session.parked() == []
        status = await session.status()
        assert status.counts["discarded"] == 1
        assert status.counts.get("parked", 0) == 0

        async def recorded() -> bool:
            return (await session.audit()).ok

        await until(recorded)


@pytest.mark.promise("EFF-4", "EFF-5", "SEC-4", "MOD-2")
async def test_tools_that_raise_hang_or_do_not_exist_become_error_results_in_call_order(rig: Rig) -> None:
    calls = [
        '[[tool crash {"why": "boom"}]]',
        "[[tool hang {}]]",
        '[[tool fail {"why": "no such order"}]]',
        '[[tool add {"a": 1, "b": 2}]]',
        '[[tool add {"a": "one"}]]',
        "[[tool no_such_tool {}]]",
    ]
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session, _ = await _begin(client, rig)
        turn = await session.ask(" ".join(calls), event_id="calls")
        assert turn.stop_reason == "end_turn"
        statuses = [(call.tool, call.status) for call in turn.tool_calls]
        assert statuses == [
            ("crash", "error"),
            ("hang", "timeout"),
            ("fail", "error"),
            ("add", "ok"),
            ("add", "error"),
            ("no_such_tool", "error"),
        ]
        await _still_answers(session)


@pytest.mark.promise("MOD-1")
async def test_a_changed_agent_reaches_an_open_session_as_an_appended_message(rig: Rig) -> None:
    before = Agent("support", model="claude-sonnet-5-5", instructions="Be brief.", tools=test_agents.tools)
    after = Agent("support", model="claude-sonnet-5-5", instructions="Be verbose.", tools=test_agents.tools[:-1])
    async with rig.claude() as claude:
        async with rig.worker([before], model=claude.model), rig.client() as client:
            await client.session("s").ask("one", event_id="e1")
        async with rig.worker([after], model=claude.model), rig.client() as client:
            session = client.session("s")
            turn = await session.ask('[[tool refund {"cents": 1}]]', event_id="e2")
            assert turn.tool_calls[0].status == "error"
            await session.ask("three", event_id="e3")
            notes = [entry async for entry in session.entries() if entry.type == "system.message"]
            assert len(notes) == 1
            systems = {json.dumps(request.body["system"]) for request in claude.requests}
            assert len(systems) == 1


@pytest.mark.promise("ACC-1", "ACC-5", "SUR-15")
async def test_updates_of_another_sdk_are_refused_before_their_bytes_end_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = {"event_id": "runs", "content": "x" * 250_000}
    monkeypatch.setattr(sizes, "INLINE_RUN", 400_000)
    monkeypatch.setattr(sizes, "SIGNALLED_RUN", 500_000)
    start = {"agent": "support", "limits": {"bytes": 200_000}}
    async with rig.worker(), rig.client() as client:
        handle = await rig.temporal.start_workflow("Session", start, id=str(rig.key("s")), task_queue=rig.task_queue)
        session = client.session("s", agent="support")
        await session.send('[[tool wait {"seconds": 60}]]', event_id="runs")

        async def running() -> bool:
            return (await session.status()).turn is not None

        await until(running)

        async def refused() -> bool:
            taken = await handle.start_update("submit", copy, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
            try:
                await taken.result()
            except WorkflowUpdateFailedError as error:
                return getattr(error.cause, "type", None) == names.BACKPRESSURE
            return False

        await until(refused, within=60)
        described = (await handle.describe()).raw_description.workflow_execution_info
        assert described.history_size_bytes < 1_000_000
        assert await session.interrupt()
        assert (await session.wait("runs", timeout=20)).stop_reason == "interrupted"
        assert (await session.ask("hi", timeout=20)).stop_reason == "end_turn"
