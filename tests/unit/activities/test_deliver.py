"""Deliveries and decisions: each once, in the journal, and never in another's way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.errors import JournalUnavailable, Retry, ToolError
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.tools.context import ToolContext, current
from inturn.values import Approval, Notice, Turn
from inturn_activities.bounds import Bounds
from inturn_activities.messages import Decision
from tests.support.steps import SESSION, rig

EVENT = {"event_id": "e1", "content": "hi", "source": "slack", "metadata": {"channel": "C1"}}


class Mailbox:
    """An agent's `deliver`, and what came out."""

    def __init__(self, *failures: BaseException) -> None:
        self.got: list[tuple[Any, ToolContext]] = []
        self.failures = list(failures)

    async def __call__(self, out: Turn | Approval | Notice, ctx: ToolContext) -> None:
        assert current() is ctx
        if self.failures:
            raise self.failures.pop(0)
        self.got.append((out, ctx))


@pytest.mark.promise("ACC-12")
async def test_an_answer_is_brought_out_once_with_the_address_it_goes_to(tmp_path: Path) -> None:
    box = Mailbox()
    async with rig(tmp_path, ["hello"], deliver=box) as r:
        await r.ask(event=EVENT)
        await r.deliver()
        await r.deliver()
        [(out, ctx)] = box.got
        assert isinstance(out, Turn)
        assert (out.event_id, out.text, out.stop_reason) == ("e1", "hello", "end_turn")
        assert ctx.event.metadata == {"channel": "C1"}
        assert ctx.key == "acme/s1/e1/deliver"
        [entry] = await r.entries("event.delivered")
        assert (entry.event_id, entry.body) == ("e1", {"kind": "turn", "turn": "e1"})


async def test_a_plain_function_may_deliver_too(tmp_path: Path) -> None:
    got: list[Any] = []

    def write(out: Any, ctx: ToolContext) -> None:
        got.append((out.text, current().key))

    async with rig(tmp_path, ["hello"], deliver=write) as r:
        await r.ask()
        await r.deliver()
    assert got == [("hello", "acme/s1/e1/deliver")]


async def test_an_approval_is_brought_out_with_the_arguments_from_the_journal(tmp_path: Path) -> None:
    @tool(approval=True)
    async def pay(cents: int) -> str:
        """Pay."""
        return "paid"

    box = Mailbox()
    async with rig(tmp_path, [ToolCall("pay", cents=9)], tools=[pay], deliver=box) as r:
        [call] = (await r.ask()).calls
        asked = {"approval_id": f"{call.id}:{call.hash}", "call_id": call.id, "tool": "pay"}
        for step in ("ask-0-0", "ask-0-0~1"):  # as it is, and redriven
            await r.deliver(step=step, kind="approval", approval=asked)
            out, ctx = box.got.pop()
            assert isinstance(out, Approval)
            assert (out.tool, out.args) == ("pay", {"cents": 9})
            assert ctx.key == f"acme/s1/e1/{step}"


async def test_a_notice_belongs_to_no_turn(tmp_path: Path) -> None:
    box = Mailbox()
    async with rig(tmp_path, [], deliver=box) as r:
        notice = {"kind": "rejected", "source": "slack", "count": 2, "event_ids": ["a", "b"], "reason": "full"}
        await r.deliver("~notice", "1", kind="notice", notice=notice)
        [(out, _)] = box.got
        assert isinstance(out, Notice)
        assert out.count == 2
        [entry] = await r.entries("event.delivered")
        assert entry.event_id is None


@pytest.mark.promise("ACC-12")
async def test_a_delivery_that_fails_for_good_says_so_and_a_new_one_may_work(tmp_path: Path) -> None:
    box = Mailbox(ToolError("no such channel"))
    async with rig(tmp_path, ["hello"], deliver=box) as r:
        await r.ask()
        for _ in range(2):  # a worker that died after recording the failure changes nothing
            with pytest.raises(ApplicationError, match="delivery failed: no such channel") as failed:
                await r.deliver()
            assert (failed.value.type, failed.value.non_retryable) == (names.OWN_FAILURE, True)
        await r.deliver(step="deliver~1")
        assert [out.text for out, _ in box.got] == ["hello"]


async def test_a_delivery_is_tried_again_where_that_is_safe(tmp_path: Path) -> None:
    box = Mailbox(Retry("slack is busy", after=3))
    async with rig(tmp_path, ["hello"], deliver=box) as r:
        await r.ask()
        with pytest.raises(ApplicationError, match="slack is busy") as failed:
            await r.deliver()
        assert failed.value.type == names.NOT_YET
        await r.deliver()
        assert len(box.got) == 1


async def test_a_delivery_whose_worker_was_killed_is_not_repeated_unless_it_may_be(tmp_path: Path) -> None:
    box = Mailbox()
    async with rig(tmp_path, ["hello"], deliver=box, bounds=Bounds(lease=0.05)) as r:
        await r.ask()
        await r.journal.claim_call(SESSION.turn("e1").step("deliver"), lease=0.01)
        with pytest.raises(ApplicationError, match="outcome is unknown"):
            await r.deliver()
        assert box.got == []


async def test_an_idempotent_delivery_is_repeated(tmp_path: Path) -> None:
    got: list[str] = []

    @tool(idempotent=True)
    async def post(out: Any, ctx: ToolContext) -> None:
        """Post."""
        got.append(ctx.key)

    async with rig(tmp_path, ["hello"], deliver=post) as r:
        await r.ask()
        await r.journal.claim_call(SESSION.turn("e1").step("deliver"), lease=0.01)
        await r.deliver()
    assert got == ["acme/s1/e1/deliver"]


async def test_an_agent_that_delivers_no_more_lets_the_session_go_on(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:
        await r.ask()
        await r.deliver()
        assert await r.entries("event.delivered") == []


async def test_decisions_are_written_in_order_each_once_at_their_time(tmp_path: Path) -> None:
    async with rig(tmp_path, []) as r:
        at = time.time() - 60
        expired = Decision(
            type="event.expired",
            turn="e1",
            key="e1/disposition",
            disposition="expired",
            body={"reason": "too old", "preview": "hi"},
            at=at,
        )
        merged = Decision(
            type="event.merged", turn="e2", key="e2/disposition", disposition="merged", body={"into": "e3"}, at=at
        )
        gap = Decision(type="session.gap", key="gap/slack/7", body={"source": "slack"})
        first = await r.record(expired, merged, gap)
        assert await r.record(expired, merged, gap) == first
        entries = await r.entries()
        assert [e.type for e in entries] == ["event.expired", "event.merged", "session.gap"]
        assert [e.event_id for e in entries] == ["e1", "e2", None]
        assert entries[0].at.timestamp() == pytest.approx(at, abs=0.001)
        ends = [await r.journal.outcome(SESSION, event) for event in ("e1", "e2")]
        assert [(e.disposition, e.reason, e.into) for e in ends if e] == [
            ("expired", "too old", None),
            ("merged", None, "e3"),
        ]


@pytest.mark.promise("MOD-2")
async def test_an_interrupted_turn_keeps_what_is_done_and_answers_every_open_call(tmp_path: Path) -> None:
    @tool
    async def add(a: int) -> int:
        """Add."""
        return a

    calls = [ToolCall("add", a=n) for n in range(3)]
    async with rig(tmp_path, [calls], tools=[add]) as r:
        result = await r.ask()
        await r.tool(call=result.calls[1].id, index=1)
        end = Decision(
            type="turn.interrupted",
            turn="e1",
            key="e1/end",
            disposition="cancelled",
            body={"reason": "stop", "turn": "e1"},
        )
        await r.record(end, settle=["e1"], close=True)
        status = {b["call_id"]: b["status"] for b in await r.bodies("agent.tool_result")}
        assert [status[c.id] for c in result.calls] == ["interrupted", "ok", "interrupted"]
        outcome = await r.journal.outcome(SESSION, "e1")
        assert outcome is not None
        assert (outcome.disposition, outcome.stop, outcome.reason) == ("cancelled", "interrupted", "stop")
        assert [e.type for e in await r.entries()][-1] == "session.closed"


async def test_a_journal_that_is_away_keeps_decisions_waiting_for_ever(tmp_path: Path) -> None:
    async with rig(tmp_path, []) as r:
        for error in (JournalUnavailable("away"), KeyError("a bug")):

            async def broken(*args: Any, error: BaseException = error, **options: Any) -> Any:
                raise error

            r.journal.record = broken  # type: ignore[method-assign]
            with pytest.raises(ApplicationError) as failed:
                await r.record()
            assert not failed.value.non_retryable
