"""Controls act out of band, at once, and only on what they name."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from inturn import Client, Session, SessionBusy, SessionClosed, SessionNotFound, TurnFailed
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Usage
from inturn_activities.failures import OwnFailure
from tests.support.histories import settled
from tests.support.measuring import usual
from tests.support.rig import Rig
from tests.support.waiting import until


async def _running(session: Session, event_id: str) -> None:
    """Wait until a worker is at an event's turn: by the status alone it may still be on its way to one."""

    async def running() -> bool:
        with contextlib.suppress(SessionNotFound):  # it is being started
            turn = (await session.status()).turn
            if turn is not None and turn.event_id == event_id:
                return any([e.type == "turn.started" async for e in session.entries(event_id=event_id)])
        return False

    await until(running, within=10)


@pytest.mark.promise("EFF-8", "MOD-2")
async def test_interrupt_stops_the_model_within_a_second_and_keeps_the_queue(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        asked = asyncio.create_task(session.ask("[[delay 30]] a long story of many words", event_id="long"))
        await _running(session, "long")
        await claude.until_streaming("long story")
        await session.send("next", event_id="next")
        began = time.monotonic()
        assert await session.interrupt(reason="enough")
        turn = await asked
        assert turn.disposition == "cancelled"
        assert turn.stop_reason == "interrupted"
        await claude.until_closed("long story", within=2)
        assert time.monotonic() - began < 1.5
        assert (await session.wait("next")).text.endswith("next")


@pytest.mark.promise("EFF-8", "MOD-2")
async def test_interrupt_stops_running_tools_and_leaves_a_valid_transcript(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        calls = '[[tool wait {"seconds": 25}]] [[tool add {"a": 1, "b": 1}]]'
        asked = asyncio.create_task(session.ask(calls, event_id="calls"))

        async def one_is_done() -> bool:
            return any([e.type == "agent.tool_result" async for e in session.entries(event_id="calls")])

        await until(one_is_done)
        began = time.monotonic()
        assert await session.interrupt(event_id="calls")
        turn = await asked
        assert time.monotonic() - began < 1.5
        assert [call.status for call in turn.tool_calls] == ["interrupted", "ok"]
        after = await session.ask("go on", event_id="after")
        assert after.disposition == "applied"


@pytest.mark.promise("EFF-8")
async def test_an_interrupt_never_hits_another_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("one", event_id="one")
        assert not await session.interrupt()
        assert not await session.interrupt(event_id="one")
        for n in range(10):
            asked = asyncio.create_task(session.ask("hi", event_id=f"racing{n}"))
            await session.interrupt(event_id=f"racing{n}")
            await asked
            assert (await session.ask("hi", event_id=f"next{n}")).disposition == "applied"


async def test_an_interrupting_event_stops_the_running_turn_and_goes_first(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 20]] a b", event_id="slow")
        await _running(session, "slow")
        await session.submit("in line", event_id="in-line")
        urgent = await session.ask("now", event_id="urgent", when_busy="interrupt")
        assert urgent.text.endswith("now")
        assert (await session.wait("slow")).stop_reason == "interrupted"
        assert (await session.wait("in-line")).disposition == "applied"
        started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
        assert started == ["slow", "urgent", "in-line"]
        audit = await session.audit()
        assert audit.ok, audit.differences


async def test_an_event_that_interrupts_stops_the_turn_that_runs_when_it_comes_and_no_later_one(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 20]] a b", event_id="slow")
        await _running(session, "slow")
        await session.pause()
        for event_id in ("first", "second"):
            await session.submit(f"[[delay 0.7]] {event_id} it is", event_id=event_id, when_busy="interrupt")
        await session.resume()
        await _running(session, "second")
        await session.submit("in line", event_id="in-line")
        turns = [await session.wait(event_id) for event_id in ("second", "first", "in-line")]
        assert [turn.disposition for turn in turns] == ["applied"] * 3
        started = [e.event_id async for e in session.entries() if e.type == "turn.started"]
        assert started == ["slow", "second", "first", "in-line"]


class Choosy:
    """A model that thinks long about a bad word, and refuses it wherever it comes from."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        if "bad" in str(request.messages[-1]):
            if "good" not in str(request.messages[-1]):
                await asyncio.sleep(60)
            raise OwnFailure("400 invalid_request_error")
        return ModelMessage([{"type": "text", "text": "fine"}], "end_turn", Usage(), "m")


@pytest.mark.promise("SUR-3")
async def test_a_stopped_turn_with_bad_content_costs_no_later_event_its_turn(rig: Rig) -> None:
    async with rig.worker(model=Choosy()), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("bad", event_id="bad")
        await _running(session, "bad")
        await session.interrupt(event_id="bad")
        for n in range(3):
            assert (await session.ask("good", event_id=f"e{n}")).text == "fine"
        assert (await session.status()).counts == {"accepted": 4, "applied": 3, "cancelled": 1}
        assert "bad" not in str(await session.transcript())
        assert (await session.audit(deep=True)).ok


async def test_an_event_can_be_refused_while_the_session_is_busy(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 2]] a b", event_id="slow")
        await _running(session, "slow")
        with pytest.raises(SessionBusy):
            await session.submit("only if idle", event_id="picky", when_busy="reject")
        await session.wait("slow")  # by the journal: the session itself learns of it a moment later

        async def idle() -> bool:
            return (await session.status()).state == "idle"

        await until(idle)
        assert (await session.ask("only if idle", event_id="picky", when_busy="reject")).disposition == "applied"


async def test_cancel_takes_out_a_queued_event_and_only_that_one(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 2]] a b", event_id="running")
        await _running(session, "running")
        await session.submit("two", event_id="two")
        await session.submit("three", event_id="three")
        assert await session.cancel("two", reason="changed my mind")
        assert not await session.cancel("unknown")
        with pytest.raises(TurnFailed, match="cancelled"):
            await session.wait("two")
        assert (await session.wait("three")).disposition == "applied"
        assert (await session.wait("running")).disposition == "applied"


async def test_cancelling_an_ask_can_cancel_its_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        asked = asyncio.create_task(session.ask("[[delay 30]] a b", event_id="gone", cancel_on_exit=True))
        await _running(session, "gone")
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (await session.ask("hi", event_id="after")).disposition == "applied"
        assert (await session.status()).counts["cancelled"] == 1


async def test_pause_lets_the_running_turn_finish_and_holds_the_next(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1]] a b", event_id="running")
        await _running(session, "running")
        await session.pause()
        await session.send("later", event_id="later")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))

        async def paused() -> bool:
            status = await session.status()
            return status.state == "paused" and len(status.queue) == 1

        await until(paused)
        assert (await session.wait("running")).disposition == "applied"
        await session.resume()
        assert (await session.wait("later")).disposition == "applied"
        await settled(handle)


@pytest.mark.promise("SUR-11")
async def test_close_parks_what_waits_and_is_final(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        await session.send("[[delay 1]] a b", event_id="running")
        await _running(session, "running")
        await session.submit("waiting", event_id="waiting")
        await session.close()
        with pytest.raises(SessionClosed):
            await session.send("too late", event_id="late")
        with pytest.raises(SessionClosed):
            await session.ask("too late", event_id="late")
        ends = {e.type: e async for e in session.entries()}
        assert ends["session.closed"].seq == max(e.seq for e in ends.values())
        assert (await session.status()).state == "closed"
        assert [parked.event_id for parked in await session.parked()] == ["waiting"]


@pytest.mark.promise("SUR-11")
async def test_a_close_lets_a_running_call_end_and_begins_no_further_model_call(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send('[[tool mail {"to": "ann", "delay": 1}]]', event_id="e1")

        async def called() -> bool:
            return bool(rig.attempts("mail"))

        await until(called)
        await session.close()
        turn = await session.wait("e1")
        assert (turn.stop_reason, [call.status for call in turn.tool_calls]) == ("interrupted", ["ok"])
        types = [entry.type async for entry in session.entries()]
        assert types.count("agent.message") == 1
        assert types[-1] == "session.closed"
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
async def test_a_close_lets_a_running_model_call_end_and_runs_no_call_that_it_asks_for(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker(model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        calls = '[[delay 1]] a story first [[tool charge {"cents": 1}]] [[tool add {"a": 1, "b": 1}]]'
        await session.send(calls, event_id="e1")
        await _running(session, "e1")
        await claude.until_streaming("story first")
        await session.close(timeout=20)
        turn = await session.wait("e1")
        assert turn.stop_reason == "interrupted"
        assert [(call.status, call.result) for call in turn.tool_calls] == [("cancelled", "the session was closed")] * 2
        assert rig.attempts() == []
        types = [entry.type async for entry in session.entries()]
        assert types.count("agent.message") == 1
        assert types[-1] == "session.closed"
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences


@pytest.mark.promise("SUR-11")
async def test_a_close_ends_a_call_that_waits_for_a_person_at_once_and_says_why(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send('[[tool refund {"cents": 9000}]]', event_id="e1")

        async def asked() -> bool:
            return (await session.status()).state == "requires_action"

        await until(asked)
        await session.close(timeout=20)
        [call] = (await session.wait("e1")).tool_calls
        assert (call.status, call.result) == ("cancelled", "the session was closed")
        with pytest.raises(SessionClosed):
            await session.send("too late")


@pytest.mark.alone
@pytest.mark.promise("ACC-11")
async def test_fifty_waiting_asks_do_not_lock_out_controls(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:

        async def let_in(number: int) -> float:
            return await _let_in_beside_asks(client, f"s{number}", 50)

        assert await usual(let_in, most=1.0) <= 1.0


async def _let_in_beside_asks(client: Client, session_id: str, count: int) -> float:
    """Return how long an event and an interrupt take to get in, the slower of them, while so many asks wait."""
    session = client.session(session_id, agent="support")
    await session.ask("hi", event_id="first")
    await session.send("[[delay 20]] a b c d", event_id="long")
    await _running(session, "long")
    asks = [asyncio.create_task(client.session(session_id).ask("hi", event_id=f"ask{n}")) for n in range(count)]

    async def queued() -> bool:
        return len((await session.status()).queue) == count

    await until(queued)
    began = time.monotonic()
    await client.session(session_id).submit("one more", event_id="more")
    submitted = time.monotonic()
    assert await client.session(session_id).interrupt(event_id="long")
    interrupted = time.monotonic()
    assert {turn.disposition for turn in await asyncio.gather(*asks)} == {"applied"}
    return max(submitted - began, interrupted - submitted)


async def test_a_control_sent_twice_acts_once(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hi", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        for _ in range(2):
            assert await handle.execute_update("control", {"control_id": "c1", "op": "pause"}) == {"ok": True}
        await session.resume()
        assert await handle.execute_update("control", {"control_id": "c1", "op": "pause"}) == {"ok": True}
        assert (await session.status()).state == "idle"
