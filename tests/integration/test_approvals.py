"""A call that asks for approval waits for a person, holds nothing meanwhile, and takes one answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from inturn import Agent, Approval, ApprovalConflict, Budget, Client, InvalidEvent, Session
from inturn.cli.app import app
from inturn.tools import tool
from inturn.tools.context import ToolContext
from tests.support.agents import agents as test_agents
from tests.support.histories import events
from tests.support.rig import Rig
from tests.support.waiting import until

LARGE = '[[tool refund {"cents": 9000}]]'


async def _asked(session: Session) -> list[Approval]:
    async def asked() -> Sequence[Approval]:
        return (await session.status()).approvals

    return list(await until(asked))


async def _begin(client: Client, session_id: str, content: str = LARGE, **more: Any) -> tuple[Session, Approval]:
    session = client.session(session_id, agent="support")
    await session.submit(content, event_id="e1", **more)
    [approval] = await _asked(session)
    return session, approval


async def _answers(session: Session) -> list[dict[str, Any]]:
    return [e.body async for e in session.entries() if e.type == "approval.answered"]


async def _listed(client: Client, count: int) -> list[Any]:
    """Wait for the server's visibility, which is a moment behind."""

    found: list[Any] = []

    async def listed() -> bool:
        found[:] = [a async for a in client.approvals()]
        return len(found) == count

    await until(listed)
    return sorted(found, key=lambda a: (a.session_id, str(a.args)))


@pytest.mark.promise("EFF-7")
async def test_every_pending_approval_is_listed_with_its_arguments_also_without_a_worker(rig: Rig) -> None:
    async with rig.client() as client:
        async with rig.worker():
            two = '[[tool refund {"cents": 6000}]] [[tool refund {"cents": 7000}]] [[tool refund {"cents": 1}]]'
            session = client.session("a", agent="support")
            await session.submit(two, event_id="e1")
            await _begin(client, "b")
            paused, _ = await _begin(client, "c")
            await paused.pause()
            await client.session("d", agent="support").ask("hello")
            seen = [(a.session_id, a.args) for a in await _listed(client, 4)]
            assert seen == [
                ("a", {"cents": 6000}),
                ("a", {"cents": 7000}),
                ("b", {"cents": 9000}),
                ("c", {"cents": 9000}),
            ]
            own = (await session.status()).approvals
            assert [a.args for a in own] == [{"cents": 6000}, {"cents": 7000}]
            assert all(a.expires_at == a.asked_at + timedelta(days=1) for a in own if a.asked_at and a.expires_at)
            await session.approve(own[0].approval_id)
            await _listed(client, 3)
        found = await _listed(client, 3)
        assert [a.session_id for a in found] == ["a", "b", "c"]
        assert {a.tenant for a in found} == {rig.tenant}
        status = await session.status()
        assert status.source == "fallback"
        assert [a.args for a in status.approvals] == [{"cents": 7000}]
        assert [a async for a in client.with_options(tenant="other").approvals()] == []


@pytest.mark.promise("EFF-7")
async def test_the_command_line_lists_them_and_answers(rig: Rig) -> None:
    env = {"TEMPORAL_ADDRESS": rig.address, "INTURN_TENANT": rig.tenant, "INTURN_JOURNAL": rig.journal}
    async with rig.worker(), rig.client() as client:
        session, approval = await _begin(client, "s")
        await _listed(client, 1)
        ended = await asyncio.to_thread(CliRunner().invoke, app, ["approvals"], env=env)
        assert ended.exit_code == 0, ended.output
        assert '{"cents":9000}' in ended.stdout
        arguments = ["deny", "s", approval.approval_id, "--by", "ann", "--reason", "too much"]
        ended = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)
        assert ended.exit_code == 0, ended.output
        turn = await session.wait("e1")
        assert "denied by ann: too much" in str(turn.tool_calls[0].result)
        assert rig.attempts("refund") == []


@pytest.mark.promise("EFF-7")
async def test_waiting_holds_no_slot_and_blocks_no_inbox(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        sessions = [(await _begin(client, f"s{n}"))[0] for n in range(3)]
        for session in sessions:
            described = await rig.temporal.get_workflow_handle(str(rig.key(session.session_id))).describe()
            assert not described.raw_description.pending_activities
        began = time.monotonic()
        receipt = await sessions[0].submit("behind it", event_id="e2")
        assert receipt.status == "accepted"
        assert time.monotonic() - began < 1.0
        before = await events(rig.temporal, str(rig.key("s1")))
        [approval] = (await sessions[0].status()).approvals
        await sessions[0].approve(approval.approval_id)
        assert (await sessions[0].wait("e2")).disposition == "applied"
        # A question that waits adds nothing to the history: three steps, the state shown, one timer.
        assert await events(rig.temporal, str(rig.key("s1"))) == before
        assert before.count("ActivityTaskScheduled") == 1
        done = await events(rig.temporal, str(rig.key("s0")))
        assert done.count("ActivityTaskScheduled") == 4
        assert done.count("TimerStarted") == 1


@pytest.mark.promise("EFF-7")
async def test_of_an_approve_and_a_deny_at_once_one_wins_and_the_other_learns_of_it(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:

        async def race(n: int) -> str:
            session, approval = await _begin(client, f"s{n}")
            calls = [("approved", session.approve, "ann"), ("denied", session.deny, "eve")]
            calls = calls if n % 2 else calls[::-1]
            answers = [answer(approval.approval_id, by=by) for _, answer, by in calls]
            ends = await asyncio.gather(*answers, return_exceptions=True)
            [lost] = [end for end in ends if end is not None]
            assert isinstance(lost, ApprovalConflict)
            name, answer, by = calls[ends.index(None)]
            assert (lost.answer, lost.by) == (name, by)
            await answer(approval.approval_id, by="somebody else")  # the same answer again is fine
            turn = await session.wait("e1")
            assert turn.tool_calls[0].status == ("ok" if name == "approved" else "denied")
            await answer(approval.approval_id)
            with pytest.raises(ApprovalConflict):
                await (session.deny if name == "approved" else session.approve)(approval.approval_id)
            [entry] = await _answers(session)
            assert (entry["answer"], entry["by"], entry["approval_id"]) == (name, by, approval.approval_id)
            return name

        names = await asyncio.gather(*(race(n) for n in range(6)))
        assert len(rig.attempts("refund")) == names.count("approved")


@pytest.mark.promise("EFF-7")
async def test_an_approval_expires_as_its_agent_says_and_a_late_answer_is_a_conflict(rig: Rig) -> None:
    hasty = Agent("support", model="m", instructions="", tools=test_agents.tools, budget=Budget(approval_timeout=1.0))
    async with rig.worker([hasty]), rig.client() as client:
        session, approval = await _begin(client, "s")
        turn = await session.wait("e1")
        assert turn.disposition == "applied"
        assert turn.tool_calls[0].status == "denied"
        assert "nobody answered in time" in str(turn.tool_calls[0].result)
        for answer in (session.approve, session.deny):
            with pytest.raises(ApprovalConflict) as late:
                await answer(approval.approval_id)
            assert late.value.answer == "expired"
        assert [e["answer"] for e in await _answers(session)] == ["expired"]
        assert rig.attempts("refund") == []


@pytest.mark.promise("EFF-7")
async def test_without_a_worker_an_answer_counts_by_when_it_was_given(rig: Rig) -> None:
    hasty = Agent("support", model="m", instructions="", tools=test_agents.tools, budget=Budget(approval_timeout=4.0))
    names = ("in-time", "late", "unsaid")
    async with rig.client() as client:
        async with rig.worker([hasty]):
            begun = await asyncio.gather(*(_begin(client, name) for name in names))
        in_time, late, _ = (approval for _, approval in begun)
        assert in_time.asked_at
        assert late.expires_at
        over = late.expires_at.timestamp() + 1  # all were asked within a moment

        async def passed() -> bool:
            return time.time() > over

        await until(passed)
        given = [{"at": in_time.asked_at.timestamp() + 0.1}, {"at": late.expires_at.timestamp() + 0.1}, {}]
        for (session, approval), at in zip(begun, given, strict=True):
            control = {"control_id": "c", "op": "approve", "approval_id": approval.approval_id, **at}
            await rig.temporal.get_workflow_handle(str(rig.key(session.session_id))).signal("control", control)
        async with rig.worker([hasty]):
            ends = [(await session.wait("e1")).tool_calls[0].status for session, _ in begun]
    assert ends == ["ok", "denied", "denied"]
    assert len(rig.attempts("refund")) == 1


@pytest.mark.promise("EFF-7")
async def test_an_answer_with_another_hash_is_refused_and_decides_nothing(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, approval = await _begin(client, "s", f'{LARGE} [[tool add {{"a": 1, "b": 2}}]]')
        with pytest.raises(InvalidEvent, match="other arguments"):
            await session.approve(f"{approval.call_id}:000000000000")
        calls = [e.body["call_id"] async for e in session.entries() if e.type == "agent.tool_use"]
        with pytest.raises(InvalidEvent, match="asks for no approval"):
            await session.approve(f"{calls[1]}:000000000000")
        await session.approve("toolu_unknown:000000000000")  # of a call that may come yet
        assert [a.approval_id for a in (await session.status()).approvals] == [approval.approval_id]
        assert rig.attempts("refund") == []
        await session.deny(approval.approval_id)
        assert [call.status for call in (await session.wait("e1")).tool_calls] == ["denied", "ok"]


@pytest.mark.promise("EFF-7")
async def test_an_interrupt_withdraws_the_question_and_says_so(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, approval = await _begin(client, "s")
        await session.interrupt(reason="stop")
        assert (await session.wait("e1")).stop_reason == "interrupted"
        with pytest.raises(ApprovalConflict) as late:
            await session.approve(approval.approval_id, by="ann")
        assert (late.value.answer, late.value.by) == ("expired", None)
        [entry] = await _answers(session)
        assert (entry["answer"], entry["reason"]) == ("expired", "the turn was stopped")
        [asked, answered] = [e async for e in session.entries() if e.type.startswith("approval.")]
        assert asked.step == answered.step
        await _listed(client, 0)
        assert (await session.ask("go on")).disposition == "applied"


@pytest.mark.promise("EFF-7")
async def test_an_answer_before_the_question_is_kept_for_exactly_that_call(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        _, known = await _begin(client, "first")  # the scripted model names equal calls equally
        for session_id, name, status in (("yes", "approve", "ok"), ("no", "deny", "denied")):
            session = client.session(session_id, agent="support")
            await rig.temporal.start_workflow("Session", id=str(rig.key(session_id)), task_queue=rig.task_queue)
            await getattr(session, name)(known.approval_id, by="ann", reason="known before")
            turn = await session.ask(LARGE, event_id="e1")
            assert turn.tool_calls[0].status == status
            [entry] = await _answers(session)
            assert (entry["by"], entry["reason"]) == ("ann", "known before")
            with pytest.raises(ApprovalConflict):
                await getattr(session, "deny" if name == "approve" else "approve")(known.approval_id)
        assert len(rig.attempts("refund")) == 1


@pytest.mark.promise("EFF-7")
async def test_a_paused_session_takes_an_answer_and_a_closing_one_withdraws_the_question(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, approval = await _begin(client, "s")
        await session.pause()
        await session.approve(approval.approval_id)
        assert (await session.wait("e1")).tool_calls[0].status == "ok"
        await session.resume()
        await session.submit(LARGE, event_id="e2")
        await _asked(session)
        await session.close()
        assert (await session.wait("e2")).stop_reason == "interrupted"
        assert [e["answer"] for e in await _answers(session)] == ["approved", "expired"]
        assert (await session.status()).approvals == ()
        assert len(rig.attempts("refund")) == 1


@tool(approval=True)
async def slowly(ctx: ToolContext) -> str:
    """Take long."""
    await asyncio.sleep(3600)
    return "done"


@pytest.mark.promise("EFF-7", "MOD-2")
async def test_a_call_that_was_approved_and_then_interrupted_keeps_its_one_answer(rig: Rig) -> None:
    agent = Agent("support", model="m", instructions="", tools=[slowly])
    async with rig.worker([agent]), rig.client() as client:
        for event_id, running in (("running", True), ("raced", False)):
            session = client.session("s", agent="support")
            await session.submit("[[tool slowly {}]]", event_id=event_id)
            [approval] = await _asked(session)
            approving = asyncio.create_task(session.approve(approval.approval_id, by="ann"))

            async def answered(event_id: str = event_id) -> bool:
                types = [e.type async for e in client.session("s").entries(event_id=event_id)]
                return "approval.answered" in types

            if running:
                await until(answered)
            await session.interrupt(event_id=event_id)
            await asyncio.gather(approving, return_exceptions=True)
            turn = await session.wait(event_id)
            assert (turn.stop_reason, turn.tool_calls[0].status) == ("interrupted", "interrupted")
        first, second = await _answers(session)
        assert (first["answer"], first["by"]) == ("approved", "ann")
        assert second["answer"] in ("approved", "expired")  # whichever came first
        audit = await session.audit()
        assert audit.ok, audit.differences


@pytest.mark.promise("EFF-7")
async def test_an_interrupting_event_withdraws_the_question_and_goes_first(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session, approval = await _begin(client, "s")
        await session.submit("in line", event_id="e2")
        assert (await session.ask("now", event_id="e3", when_busy="interrupt")).disposition == "applied"
        with pytest.raises(ApprovalConflict):
            await session.deny(approval.approval_id)
        assert [e["answer"] for e in await _answers(session)] == ["expired"]
        await session.wait("e2")
        assert [e.event_id async for e in session.entries() if e.type == "turn.started"] == ["e1", "e3", "e2"]


@pytest.mark.promise("EFF-2", "MOD-1")
async def test_an_operator_settles_a_call_that_was_cut_off_and_the_model_learns_of_it(rig: Rig) -> None:
    begun: list[str] = []

    @tool
    async def publish(text: str, ctx: ToolContext) -> str:
        """Publish, and never come back."""
        begun.append(text)
        await asyncio.sleep(3600)
        return text

    agent = Agent("support", model="claude-sonnet-5-5", instructions="", tools=[publish])
    async with rig.claude() as claude, rig.worker([agent], model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        await session.submit('[[tool publish {"text": "news"}]]', event_id="e1")

        async def publishes() -> bool:
            return bool(begun)  # by the status alone the call may wait for a worker, and surely did nothing

        await until(publishes)
        await session.interrupt()
        await session.wait("e1")
        audit = await session.audit()
        assert audit.ok, audit.differences
        [call] = audit.unknown
        assert (call.tool, call.args, call.status) == ("publish", {"text": "news"}, "interrupted")
        env = {"TEMPORAL_ADDRESS": rig.address, "INTURN_TENANT": rig.tenant, "INTURN_JOURNAL": rig.journal}
        arguments = ["settle", call.key, "--done", "published as 7", "--by", "ann"]
        ended = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)
        assert ended.exit_code == 0, ended.output
        assert (await session.audit()).unknown == ()
        with pytest.raises(InvalidEvent, match="otherwise before"):
            await session.settle(call.key, done=False)
        assert (await session.ask("what became of it?", event_id="e2")).disposition == "applied"
        sent = claude.requests[-1].body["messages"]
        assert [m["role"] for m in sent] == ["user", "assistant", "user", "system"]
        assert "it was done. Its result: published as 7" in str(sent[-1])


@pytest.mark.promise("EFF-7", "SEC-4")
@pytest.mark.parametrize("approves", [True, False])
async def test_a_call_that_only_the_step_that_runs_it_can_judge_waits_for_a_person_all_the_same(
    rig: Rig, approves: bool
) -> None:
    paid: list[int] = []
    judged: list[int] = []

    def asks(arguments: Any) -> bool:
        judged.append(arguments["cents"])
        return len(judged) > 1  # not when the call is planned

    @tool(approval=asks)
    async def pay(cents: int) -> str:
        """Pay."""
        paid.append(cents)
        return f"paid {cents}"

    agent = Agent("support", model="scripted", instructions="", tools=[pay])
    async with rig.worker(agents=[agent]), rig.client() as client:
        session = client.session("late", agent="support")
        await session.submit('[[tool pay {"cents": 500}]]', event_id="e1")
        [approval] = await _asked(session)
        assert (approval.args, paid) == ({"cents": 500}, [])
        await (session.approve if approves else session.deny)(approval.approval_id)
        turn = await session.wait("e1")
        assert [call.status for call in turn.tool_calls] == ["ok" if approves else "denied"]
        assert paid == ([500] if approves else [])
