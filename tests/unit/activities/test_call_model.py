"""The model step: opened once, paid once, recorded before anybody hears of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.agents import Agent
from inturn.amounts import nanos
from inturn.errors import JournalUnavailable
from inturn.journal import Position, retries
from inturn.journal.views.turns import own_turn
from inturn.keys import SessionKey, StepKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.policy import InboxPolicy
from inturn.testing import Answer, ScriptedModel, ToolCall
from inturn.tools import tool
from inturn.turns.budget import Budget
from inturn.values import Usage
from inturn_activities.bounds import Bounds
from inturn_activities.failures import OwnFailure
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import Decision, ModelInput
from inturn_activities.model import inline_answers as answers
from tests.support.frozen import freeze_next_claim
from tests.support.steps import SESSION, SHUTDOWN, WAIT, StepRunner, environment, rig


@tool(timeout=7, retries=1, approval=lambda a: a["cents"] > 100, locks=["order:{order}"])
async def refund(order: str, cents: int) -> str:
    """Refund an order."""
    return f"{order} {cents}"


WRITES = ("claim_model", "claim_call", "begin", "renew_all", "keep", "append", "finish", "fail", "release", "record")


async def test_a_plain_turn_is_five_entries_in_two_transactions(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:
        commits = counted(r)
        result = await r.ask(n=1)
        assert result.stop == "end_turn"
        assert [e.type for e in await r.entries()] == [
            "session.started",
            "user.message",
            "turn.started",
            "agent.message",
            "turn.completed",
        ]
        on_time = [
            name for name in commits if name != "renew_all"
        ]  # a busy machine may take longer than a lease allows
        assert on_time == ["claim_model", "finish"]
        outcome = await r.journal.outcome(SESSION, "e1")
        assert outcome is not None
        assert (outcome.disposition, outcome.stop) == ("applied", "end_turn")


@pytest.mark.promise("EFF-3")
async def test_an_answer_that_was_recorded_is_given_again_and_not_paid_again(tmp_path: Path) -> None:
    model = ScriptedModel([[ToolCall("refund", order="o1", cents=5)], "done"])
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        first = await r.ask()
        head = await r.journal.head(SESSION)
        assert await r.ask(attempt=2) == first.model_copy(update={"seal": None, "recorded": True})
        await r.tools(first)
        last = await r.ask(step=1)
        assert await r.ask(step=1, attempt=2) == last.model_copy(update={"seal": None, "recorded": True})
        assert len(model.requests) == 2
        assert await r.journal.head(SESSION) == head + 3


@pytest.mark.promise("EFF-3")
async def test_an_answer_recorded_by_an_attempt_that_died_is_given_by_the_next_worker(tmp_path: Path) -> None:
    model = ScriptedModel(["hello"])
    async with rig(tmp_path, model=model) as r:
        await r.ask()
        other = StepRunner(r.journal, model, r.agents)
        again = await other.ask(attempt=2, inline=True)
        assert again.stop == "end_turn"
        assert again.turn is not None
        assert again.turn["text"] == "hello"
        assert len(model.requests) == 1


async def test_a_duplicate_of_an_ended_event_is_answered_with_its_end(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:
        await r.ask()
        again = await r.ask(inline=True)
        assert again.stop == "ended"
        assert again.ended is not None
        assert (again.ended.disposition, again.ended.stop) == ("applied", "end_turn")
        assert again.turn is not None
        assert again.turn["text"] == "hello"


async def test_a_closed_session_answers_closed(tmp_path: Path) -> None:
    async with rig(tmp_path, []) as r:
        await r.record(close=True)
        assert (await r.ask()).stop == "closed"


async def test_the_text_comes_back_only_when_it_is_wanted_and_never_more_than_4_kb(tmp_path: Path) -> None:
    async with rig(tmp_path, ["ä" * 5_000, "plain"]) as r:
        long = (await r.ask(inline=True)).turn
        assert long is not None
        assert long["truncated"] is True
        assert long["text"] == "ä" * 2_048
        assert (await r.ask("e2")).turn is None


async def test_a_backlogged_session_that_waits_for_others_holds_nothing_and_can_be_stopped(tmp_path: Path) -> None:
    other = SessionKey("acme", "s2").turn("o1").step(0)
    async with rig(
        tmp_path, ["one", "other", "two"], limits=Limits(backlog_spacing=60.0), bounds=Bounds(beat=0.01)
    ) as r:
        await r.ask("e1", backlogged=True)
        await environment(other).run(r.steps.call_model, ModelInput(event={"event_id": "o1", "content": "hi"}))
        head = await r.journal.head(SESSION)
        beats: list[Any] = []
        made = environment(SESSION.turn("e2").step(0))
        made.on_heartbeat = lambda *details: beats.append(details)
        waiting = ModelInput(event={"event_id": "e2", "content": "hi"}, backlogged=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await made.run(r.steps.call_model, waiting)
        assert len(beats) >= 2, "longer than a heartbeat's timeout it would be taken for dead"
        assert await r.journal.head(SESSION) == head
        async with asyncio.timeout(WAIT):
            assert (await r.ask("e2")).stop == "end_turn"


async def test_an_inline_answer_is_what_the_journal_tells_and_costs_no_read_on_a_warm_worker(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"] + ["again"] * 4, tools=[refund]) as r:
        await r.ask()
        reads = counted(r, "read")
        joined = [{"event_id": "e3", "content": "and this", "source": "b"}]
        answered = {
            "e2": await r.ask("e2", inline=True),
            "e4": await r.ask("e4", inline=True, joined=joined),
        }
        assert reads == []
        other = StepRunner(r.journal, ScriptedModel(["cold"]), r.agents)
        answered["e5"] = await other.ask("e5", inline=True)
        assert reads, "a cold worker cannot know the whole turn"
        for event_id, result in answered.items():
            turn = await own_turn(r.journal, SESSION, event_id)
            assert turn is not None
            assert turn.seqs is not None
            assert result.turn == answers.inline(turn, 4_096)


async def test_an_inline_answer_is_read_where_somebody_wrote_in_the_middle_of_the_turn(tmp_path: Path) -> None:
    async with rig(tmp_path, model=(model := Waiting())) as r:
        model.go.set()
        await r.ask()
        model.go.clear()
        model.asked.clear()
        asked = asyncio.create_task(r.ask("e2", inline=True))
        await model.asked.wait()
        await r.record(Decision(type="event.rejected", turn="e9", body={"reason": "full"}, key="k"))
        model.go.set()
        answered = (await asked).turn
        turn = await own_turn(r.journal, SESSION, "e2")
        assert turn is not None
        assert answered == answers.inline(turn, 4_096)


class Choosy:
    """A model that refuses every request that holds a bad word."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        text = str(request.messages)
        self.requests.append(text)
        if "bad" in text:
            raise OwnFailure("400 invalid_request_error: bad")
        return ModelMessage([{"type": "text", "text": "fine"}], "end_turn", Usage(), "m")


@pytest.mark.promise("SUR-3")
async def test_an_event_is_answered_though_a_stopped_turn_before_it_said_what_the_model_refuses(tmp_path: Path) -> None:
    async with rig(tmp_path, model=(model := Choosy())) as r:
        with pytest.raises(ApplicationError, match="bad"):
            await r.ask("e1", "bad")
        await r.record(Decision(type="turn.interrupted", turn="e1", disposition="cancelled", key="e1/stopped"))
        assert (await r.ask("e2", "good")).stop == "end_turn"
        assert (await r.ask("e3", "more")).stop == "end_turn"
        assert ["bad" in text for text in model.requests] == [True, True, False, False]
        bodies = await r.bodies("agent.message")
        assert [body.get("without") for body in bodies] == [["e1"], None]


@pytest.mark.promise("SUR-3")
async def test_an_event_that_the_model_refuses_by_itself_costs_its_own_turn_alone(tmp_path: Path) -> None:
    async with rig(tmp_path, model=(model := Choosy())) as r:
        with pytest.raises(ApplicationError, match="bad"):
            await r.ask("e1", "bad one")
        await r.record(Decision(type="turn.interrupted", turn="e1", disposition="cancelled", key="e1/stopped"))
        with pytest.raises(ApplicationError, match="bad"):
            await r.ask("e2", "bad too")
        await r.record(Decision(type="turn.failed", turn="e2", disposition="parked", key="e2/failed"))
        assert (await r.ask("e3", "good")).stop == "end_turn"
        assert len(model.requests) == 5, "each tried once with what was said before, and once without"


async def test_calls_come_back_planned_without_their_arguments(tmp_path: Path) -> None:
    long = "x" * 1_000
    calls = [
        ToolCall("refund", order="o1", cents=500),
        ToolCall("refund", order=long, cents=1),
        ToolCall("refund", order="o1", cents="many"),
        ToolCall("unheard_of", a=1),
    ]
    async with rig(tmp_path, [calls], tools=[refund]) as r:
        result = await r.ask()
        asked, quiet, bad, unknown = result.calls
        assert result.stop == "tool_use"
        assert (asked.tool, asked.timeout, asked.retries, asked.approval, asked.locks) == (
            "refund",
            7,
            1,
            True,
            ["order:o1"],
        )
        assert asked.preview == '{"order":"o1","cents":500}'
        assert len(asked.hash) == 12
        assert not quiet.approval
        assert len(quiet.preview) == 200
        assert not bad.approval
        assert unknown.tool == "unheard_of"
        assert long not in result.model_dump_json()
        assert [b["args"] for b in await r.bodies("agent.tool_use")] == [c.args for c in calls]


@pytest.mark.parametrize(
    ("stop", "meant"),
    [
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "max_tokens"),
        ("stop_sequence", "end_turn"),
        ("something_new", "unknown"),
    ],
)
async def test_tools_of_an_answer_that_did_not_stop_for_them_never_run(tmp_path: Path, stop: str, meant: str) -> None:
    answer = Answer("partly", (ToolCall("refund", order="o1", cents=5),), stop)
    model = ScriptedModel([answer, "next"])
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        result = await r.ask()
        assert (result.stop, result.calls) == (meant, [])
        assert await r.entries("agent.tool_use") == []
        await r.ask("e2", "go on")
        [result_block] = [b for b in model.requests[1].messages[-1]["content"] if b["type"] == "tool_result"]
        assert result_block["is_error"]


async def test_pause_turn_goes_on_without_anything_new(tmp_path: Path) -> None:
    model = ScriptedModel([Answer("thinking", stop="pause_turn"), "done"])
    async with rig(tmp_path, model=model) as r:
        assert (await r.ask()).stop == "pause_turn"
        assert await r.journal.outcome(SESSION, "e1") is None
        assert (await r.ask(step=1)).stop == "end_turn"
        assert model.requests[1].messages[:1] == model.requests[0].messages
        assert [m["role"] for m in model.requests[1].messages] == ["user", "assistant"]


async def test_a_tool_use_stop_without_calls_ends_the_turn(tmp_path: Path) -> None:
    async with rig(tmp_path, [Answer("nothing to do", stop="tool_use")]) as r:
        assert (await r.ask()).stop == "end_turn"


@pytest.mark.promise("MOD-4")
@pytest.mark.parametrize("budget", [Budget(steps=1), Budget(tokens=20)], ids=["steps", "tokens"])
async def test_a_budget_is_checked_before_every_call(tmp_path: Path, budget: Budget) -> None:
    model = ScriptedModel([[ToolCall("refund", order="o1", cents=5)], "never said"])
    async with rig(tmp_path, model=model, tools=[refund], budget=budget) as r:
        await r.tools(await r.ask())
        result = await r.ask(step=1, inline=True)
        assert result.stop == "budget_reached"
        assert len(model.requests) == 1
        [ended] = await r.bodies("turn.completed")
        assert (ended["stop"], ended["usage"]["steps"]) == ("budget_reached", 1)
        outcome = await r.journal.outcome(SESSION, "e1")
        assert outcome is not None
        assert outcome.stop == "budget_reached"


async def test_a_budget_counts_one_turn_and_a_redrive_starts_anew(tmp_path: Path) -> None:
    script = [[ToolCall("refund", order="o1", cents=5)], [ToolCall("refund", order="o1", cents=5)], "done"]
    async with rig(tmp_path, script, tools=[refund], budget=Budget(steps=2)) as r:
        await r.tools(await r.ask())
        await park(r)
        key = SESSION.turn("e1", 1)
        again = await environment(key.step(0)).run(r.steps.call_model, ModelInput(n=1))
        assert again.stop == "tool_use"
        last = await environment(key.step(1)).run(r.steps.call_model, ModelInput())
        assert last.stop == "end_turn"
        assert (await r.bodies("turn.completed"))[0]["usage"]["steps"] == 2


async def test_the_usage_of_a_turn_is_the_sum_of_its_steps(tmp_path: Path) -> None:
    class Model:
        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            usage = Usage(
                input_tokens=10, output_tokens=2, cache_read_tokens=5, cache_write_tokens=1, usd_nanos=nanos(0.5)
            )
            done = len(request.messages) > 1
            block = {"type": "tool_use", "id": "c1", "name": "refund", "input": {"order": "o", "cents": 1}}
            content = [{"type": "text", "text": "done"}] if done else [block]
            return ModelMessage(content, "end_turn" if done else "tool_use", usage, "m", "req_7")

    async with rig(tmp_path, model=Model(), tools=[refund]) as r:
        await r.tools(await r.ask())
        await r.ask(step=1)
        [ended] = await r.bodies("turn.completed")
        assert ended["usage"] == {
            "input_tokens": 20,
            "output_tokens": 4,
            "cache_read_tokens": 10,
            "cache_write_tokens": 2,
            "usd_nanos": nanos(1),
            "usd": 1.0,
            "steps": 2,
        }
        assert {b["request_id"] for b in await r.bodies("agent.message")} == {"req_7"}


@pytest.mark.promise("MOD-1")
async def test_a_changed_agent_is_said_once_and_the_prefix_stays(tmp_path: Path) -> None:
    model = ScriptedModel(["one", "two", "three", "four"])
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        await r.ask("e1")
        changed = Agent("support", model="m", instructions="Be long.")
        later = StepRunner(r.journal, model, [changed])
        await later.ask("e2")
        await later.ask("e3")
        await StepRunner(r.journal, model, r.agents).ask("e4")
        texts = [b["text"] for b in await r.bodies("system.message")]
        assert len(texts) == 2
        assert "Be long." in texts[0]
        assert "you may use: none" in texts[0]
        assert "Be brief." in texts[1]
        assert "you may use: read_result, refund" in texts[1]
        first, *rest = model.requests
        for request in rest:
            assert (request.system, request.tools) == (first.system, first.tools)
        shared = [len(request.messages) for request in model.requests]
        for before, request in zip(model.requests, rest, strict=False):
            assert request.messages[: len(before.messages)] == before.messages
        assert shared == sorted(shared)


async def test_the_policy_comes_back_until_the_workflow_has_it(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"], inbox=InboxPolicy(capacity=7), deliver=lambda out, ctx: None) as r:
        first = await r.ask()
        assert first.agent == "support"
        assert first.policy is not None
        assert (first.policy.inbox, first.policy.deliver) == ({"capacity": 7}, True)
        second = await r.ask("e2", agent="support", policy=first.policy.hash)
        assert (second.agent, second.policy) == (None, None)


async def test_an_agent_that_nobody_has_fails_at_last_and_says_which_there_are(tmp_path: Path) -> None:
    agents = [Agent(name, model="m", instructions="") for name in ("sales", "support")]
    bounds = Bounds(beat=0.01, lease=0.1, lacking_named=0)
    async with rig(tmp_path, ["hi", "hi"], agents=agents, bounds=bounds) as r:
        for asked, reason in (("legal", "unknown agent 'legal'"), (None, "names no agent")):
            with pytest.raises(ApplicationError, match=f"{reason}; this worker has: sales, support") as failed:
                await r.ask(agent=asked)
            assert failed.value.non_retryable
            assert failed.value.type == names.OWN_FAILURE
        await r.ask(agent="sales")
        assert (await r.ask("e2")).agent == "sales"
        with pytest.raises(ApplicationError, match="the session's agent is 'sales', not 'support'"):
            await r.ask("e3", agent="support")


async def test_a_redriven_event_says_again_what_the_journal_holds(tmp_path: Path) -> None:
    model = ScriptedModel([ValueError("400"), "better"])
    async with rig(tmp_path, model=model) as r:
        with pytest.raises(ApplicationError):
            await r.ask(event={"event_id": "e1", "content": "hi", "metadata": {"a": 1}}, n=3)
        await park(r)
        key = SESSION.turn("e1", 1).step(0)
        result = await environment(key).run(r.steps.call_model, ModelInput(n=3))
        assert result.stop == "end_turn"
        assert model.requests[1].messages == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
        assert [b["metadata"] for b in await r.bodies("user.message")] == [{"a": 1}, {"a": 1}]


async def test_an_event_parked_before_it_ran_is_redriven_from_its_parked_entry(tmp_path: Path) -> None:
    async with rig(tmp_path, None) as r:
        body = {"error": "late", "event": {"event_id": "e1", "content": "held"}, "turn": "e1"}
        decision = Decision(type="event.parked", turn="e1", key="e1/parked", disposition="parked", body=body)
        await r.record(decision)
        key = SESSION.turn("e1", 1).step(0)
        await environment(key).run(r.steps.call_model, ModelInput())
        assert (await r.bodies("agent.message"))[0]["content"][0]["text"] == "You said: held"
        with pytest.raises(ApplicationError, match="no content of event e9"):
            await environment(SESSION.turn("e9", 1).step(0)).run(r.steps.call_model, ModelInput())


async def test_events_that_join_a_turn_are_said_after_the_results(tmp_path: Path) -> None:
    model = ScriptedModel([[ToolCall("refund", order="o1", cents=5)], "done"])
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        await r.tools(await r.ask(joined=[{"event_id": "e2", "content": "and this"}]))
        await r.ask(step=1, joined=[{"event_id": "e3", "content": "wait"}])
        assert [b.get("text") for b in model.requests[0].messages[0]["content"]] == ["hi", "and this"]
        assert [b["type"] for b in model.requests[1].messages[-1]["content"]] == ["tool_result", "text"]
        assert [b.get("joined") for b in await r.bodies("user.message")] == [None, "e2", "e3"]


@pytest.mark.promise("ACC-2")
@pytest.mark.parametrize("step", [0, 1])
async def test_an_event_that_ended_before_is_not_said_again_where_it_joins(tmp_path: Path, step: int) -> None:
    model = ScriptedModel(["refunded", [ToolCall("refund", order="o1", cents=5)], "done"])
    again = [{"event_id": "old", "content": "refund"}, {"event_id": "new", "content": "and this"}]
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        await r.ask("old", "refund")
        result = await r.ask(joined=again if step == 0 else [])
        if step == 1:
            await r.tools(result)
            result = await r.ask(step=1, joined=again)
        assert result.apart == ["old"]
        assert [b.get("joined") for b in await r.bodies("user.message")] == [None, None, "new"]


@pytest.mark.promise("SUR-11", "ACC-8")
async def test_an_event_that_joined_a_step_recorded_without_it_is_left_to_the_next(tmp_path: Path) -> None:
    model = ScriptedModel([[ToolCall("refund", order="o1", cents=5)], "done"])
    joined = [{"event_id": "late", "content": "and this"}]
    async with rig(tmp_path, model=model, tools=[refund]) as r:
        await r.tools(await r.ask())
        assert (await r.ask(joined=joined)).apart == ["late"], "after a reset it came with the host"
        assert (await r.ask(step=1, joined=joined)).apart == []
        assert (await r.ask(step=1, joined=joined)).apart == [], "told again"
        assert [b.get("joined") for b in await r.bodies("user.message")] == [None, "late"]


@pytest.mark.promise("SUR-4")
async def test_failed_attempts_are_counted_in_the_ledger_whatever_worker_made_them(tmp_path: Path) -> None:
    model = ScriptedModel([RuntimeError("x"), JournalUnavailable("not counted"), RuntimeError("x"), RuntimeError("x")])
    async with rig(tmp_path, model=model) as r:
        final = []
        for attempt in range(1, 5):
            with pytest.raises(ApplicationError) as failed:
                await StepRunner(r.journal, model, r.agents).ask(attempt=attempt)
            final.append(failed.value.non_retryable)
        assert final == [False, False, False, True]


async def test_what_failed_leaves_only_its_opening(tmp_path: Path) -> None:
    async with rig(tmp_path, [RuntimeError("x"), "fine"]) as r:
        with pytest.raises(ApplicationError):
            await r.ask()
        await r.ask(attempt=2)
        assert [e.type for e in await r.entries()].count("user.message") == 1


@pytest.mark.promise("EFF-8")
async def test_a_cancelled_call_records_nothing(tmp_path: Path) -> None:
    model = Waiting()
    async with rig(tmp_path, model=model) as r:
        made = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(made.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            await model.asked.wait()
            made.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert model.stopped
        assert [e.type for e in await r.entries()][-1] == "turn.started"


async def test_an_answer_whose_record_began_is_given_even_when_cancelled(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:
        made = environment(SESSION.turn("e1").step(0))
        finish = r.journal.finish

        async def cancelled_meanwhile(*args: Any, **options: Any) -> Position:
            made.cancel()
            await asyncio.sleep(0)
            return await finish(*args, **options)

        r.journal.finish = cancelled_meanwhile  # type: ignore[method-assign]
        result = await made.run(r.steps.call_model, ModelInput(event={"content": "hi"}))
        assert result.stop == "end_turn"
        assert await r.entries("turn.completed")


async def test_an_attempt_that_was_outlived_commits_nothing_and_stops(tmp_path: Path) -> None:
    frozen, model = Waiting(), ScriptedModel(["from the second"])
    async with rig(tmp_path, model=frozen) as r:
        made = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(made.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            await frozen.asked.wait()
            await StepRunner(r.journal, model, r.agents).ask(attempt=2)
            with pytest.raises(ApplicationError) as failed:
                await task
        assert failed.value.type == names.NOT_YET
        assert not failed.value.non_retryable
        assert frozen.stopped
        assert [b["content"][0]["text"] for b in await r.bodies("agent.message")] == ["from the second"]


@pytest.mark.promise("EFF-3")
async def test_an_attempt_that_froze_behind_its_claim_pays_for_nothing(tmp_path: Path) -> None:
    unpaid, streams = ScriptedModel(["never asked"]), Waiting()
    async with rig(tmp_path, model=unpaid, bounds=Bounds(beat=5, lease=0.1)) as r:
        frozen = freeze_next_claim(r.journal, "claim_model")
        step = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(step.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            await frozen.reached.wait()
            await asyncio.sleep(0.1)
            second = asyncio.create_task(StepRunner(r.journal, streams, r.agents).ask(attempt=2))
            await streams.asked.wait()
            frozen.thawed.set()
            with pytest.raises(ApplicationError) as failed:
                await task
            second.cancel()
            await asyncio.wait([second])
        assert failed.value.type == names.NOT_YET
        assert not unpaid.requests


@pytest.mark.promise("ACC-8", "EFF-3")
async def test_an_attempt_whose_claim_went_to_another_does_not_say_how_the_step_ended(tmp_path: Path) -> None:
    class RefusesTheFirst:
        asked = 0

        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            self.asked += 1
            if self.asked == 1:
                await r.ask(attempt=1)  # held up on its way, and now it takes the claim and is answered
                raise OwnFailure("400: too late")
            return await ScriptedModel(["hello"]).respond(request, on_delta)

    async with rig(tmp_path, model=RefusesTheFirst()) as r:
        with pytest.raises(ApplicationError, match="another attempt holds the claim") as raised:
            await r.ask(attempt=2)
        assert not raised.value.non_retryable
        assert (await r.ask(attempt=3)).stop == "end_turn"
        assert len(await r.bodies("agent.message")) == 1


async def test_a_step_that_was_settled_is_never_answered(tmp_path: Path) -> None:
    model = Waiting()
    async with rig(tmp_path, model=model) as r:
        made = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(made.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            await model.asked.wait()
            await r.record(settle=["e1"])
            with pytest.raises(ApplicationError):
                await task
        with pytest.raises(ApplicationError) as failed:
            await r.ask(attempt=2)
        assert failed.value.type == names.SUPERSEDED


@pytest.mark.promise("SUR-2")
async def test_a_worker_that_stops_hands_the_call_back(tmp_path: Path) -> None:
    waiting = Waiting()
    async with rig(tmp_path, model=waiting) as r:
        made = environment(SESSION.turn("e1").step(0))
        task = asyncio.create_task(made.run(r.steps.call_model, ModelInput(event={"content": "hi"})))
        async with asyncio.timeout(WAIT):
            await waiting.asked.wait()
            made.cancel(SHUTDOWN)
            with pytest.raises(asyncio.CancelledError):
                await task
        result = await StepRunner(r.journal, ScriptedModel(["here"]), r.agents).ask(attempt=2)
        assert result.stop == "end_turn"


async def test_an_unreachable_journal_is_an_outage_without_end(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:

        async def away(*args: Any, **options: Any) -> Any:
            raise JournalUnavailable("database is locked")

        r.journal.claim_model = away  # type: ignore[method-assign]
        with pytest.raises(ApplicationError) as failed:
            await r.ask(attempt=5_000)
        assert failed.value.type == names.OUTAGE
        assert not failed.value.non_retryable


async def test_a_journal_that_goes_away_for_a_moment_behind_each_claim_never_costs_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY", 0.001)
    times = Bounds().losses + 1
    away = JournalUnavailable("database is locked")
    async with rig(tmp_path, model=ScriptedModel([*[away] * times, "hello"])) as r:
        release, refused = r.journal.release, set[int]()

        async def releasing(step: StepKey, token: str) -> None:
            if attempt not in refused:
                refused.add(attempt)
                raise away
            await release(step, token)

        r.journal.release = releasing  # type: ignore[method-assign, assignment]
        for attempt in range(1, times + 1):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(attempt=attempt)
            assert failed.value.type == names.OUTAGE
        assert (await r.ask(attempt=times + 1)).stop == "end_turn"


async def test_a_fault_of_our_own_costs_the_turn_and_not_the_session(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:

        async def broken(*args: Any, **options: Any) -> Any:
            raise KeyError("a bug")

        r.journal.claim_model = broken  # type: ignore[method-assign]
        final = []
        for attempt in (1, 2, 3):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(attempt=attempt)
            final.append(failed.value.non_retryable)
        assert final == [False, False, True]


async def test_the_chain_of_counts_goes_into_the_journal_once(tmp_path: Path) -> None:
    async with rig(tmp_path, ["one", "two"]) as r:
        await r.ask(n=1, chain="c1")
        await r.ask("e2", n=2)
        assert await r.bodies("turn.started") == [{"n": 1, "turn": "e1", "chain": "c1"}, {"n": 2, "turn": "e2"}]


@pytest.mark.promise("ORD-1", "SUR-11")
async def test_a_step_that_was_done_before_says_so_and_names_no_chain(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello", "and now"]) as r:
        assert not (await r.ask(n=1, chain="c1")).recorded
        assert (await r.ask(n=1, chain="c2")).recorded, "of a run that was terminated since"
        assert [body.get("chain") for body in await r.bodies("turn.started")] == ["c1"]
        assert not (await r.ask("e2", n=2, chain="c2")).recorded
        assert [body.get("chain") for body in await r.bodies("turn.started")] == ["c1", "c2"]


async def test_a_step_beats_while_the_model_thinks(tmp_path: Path) -> None:
    model = Waiting()
    async with rig(tmp_path, model=model, bounds=Bounds(beat=0.01)) as r:
        made = environment(SESSION.turn("e1").step(0))
        beats: list[Any] = []

        def beat(*details: Any) -> None:
            beats.append(details)
            if len(beats) == 3:
                model.go.set()

        made.on_heartbeat = beat
        async with asyncio.timeout(WAIT):
            await made.run(r.steps.call_model, ModelInput(event={"content": "hi"}))
        assert len(beats) >= 3


class Waiting:
    """A model that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = False

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return ModelMessage([{"type": "text", "text": "late"}], "end_turn", Usage(), "m")


def counted(r: StepRunner, *names: str) -> list[str]:
    """Note the journal's calls of these names from here on; without names, its transactions."""
    seen: list[str] = []
    for name in names or WRITES:

        def noting(method: Any, name: str) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                seen.append(name)
                return method(*args, **options)

            return call

        setattr(r.journal, name, noting(getattr(r.journal, name), name))
    return seen


async def park(r: StepRunner) -> None:
    """Fail the turn of e1 as the workflow does."""
    body = {"error": "it failed", "attempts": 1, "turn": "e1"}
    end = Decision(type="turn.failed", turn="e1", key="e1/end", disposition="parked", body=body)
    await r.record(end, end.model_copy(update={"type": "event.parked", "key": "e1/parked"}), settle=["e1"])
