"""Attempts that give no answer: they are paid, so they are counted, and none is repeated without bound."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.errors import ModelError
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.turns.budget import Budget
from inturn.values import Usage
from inturn_activities.messages import ModelInput
from inturn_activities.model import lease
from tests.support.steps import SESSION, SHUTDOWN, WAIT, StepRunner, environment, rig

TIMED_OUT = ActivityCancellationDetails(timed_out=True)
INPUT = ModelInput(event={"event_id": "e1", "content": "hi"})


@tool
async def add(a: int) -> int:
    """Add one."""
    return a + 1


class Breaking:
    """A model that uses 100 tokens each time, and breaks off at these places before it answers."""

    def __init__(self, *places: int | None, kind: Any = "outage") -> None:
        self.places = list(places)
        self.kind = kind
        self.asked = 0

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.asked += 1
        request.on_usage(Usage(input_tokens=90, output_tokens=1))
        request.on_usage(Usage(input_tokens=90, output_tokens=10))
        if self.places:
            raise ModelError("broken", kind=self.kind, place=self.places.pop(0))
        usage = Usage(input_tokens=90, output_tokens=20)
        raw = {"input_tokens": 90, "cache_creation": {"ephemeral_5m_input_tokens": 3}}
        text = [{"type": "text", "text": "fine"}]
        return ModelMessage(text, "end_turn", usage, "m", "req_1", "msg_1", {"type": "x"}, raw)


class Slow:
    """A model that has used 100 tokens and does not come to an end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        request.on_usage(Usage(input_tokens=90, output_tokens=10))
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def failing(r: StepRunner, times: int, first: int = 1) -> list[ApplicationError]:
    """Run so many attempts that all fail."""
    raised: list[ApplicationError] = []
    for attempt in range(first, first + times):
        with pytest.raises(ApplicationError) as failed:
            await r.ask(attempt=attempt)
        raised.append(failed.value)
    return raised


@pytest.mark.promise("EFF-3")
async def test_what_failed_attempts_used_counts_for_the_turn_and_for_its_session(tmp_path: Path) -> None:
    async with rig(tmp_path, model=Breaking(None, 10, 900)) as r:
        await failing(r, 3)
        result = await r.ask(attempt=4)
        spent = {"input_tokens": 360, "output_tokens": 50, "steps": 1}
        assert result.usage == spent
        [ended] = await r.bodies("turn.completed")
        assert ended["usage"] == spent
        [answer] = await r.bodies("agent.message")
        assert answer["failed"] == {"input_tokens": 270, "output_tokens": 30}
        assert (answer["id"], answer["request_id"], answer["stop_details"]) == ("msg_1", "req_1", {"type": "x"})
        assert answer["raw_usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 3}


async def test_a_budget_ends_the_repeating_of_attempts_that_break(tmp_path: Path) -> None:
    model = Breaking(*range(0, 100_000, 1_000))
    async with rig(tmp_path, model=model, budget=Budget(tokens=300)) as r:
        await failing(r, 3)
        assert (await r.ask(attempt=4)).stop == "budget_reached"
        assert model.asked == 3


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("places", [[500] * 5, [500, 520, 480, 510, 500], [40_000, 41_000, 39_500, 40_100, 41_900]])
async def test_an_answer_that_breaks_off_at_one_place_is_no_outage(tmp_path: Path, places: list[int]) -> None:
    async with rig(tmp_path, model=Breaking(*places)) as r:
        raised = await failing(r, 5)
        assert [error.non_retryable for error in raised] == [False] * 4 + [True]
        assert raised[-1].type == names.UNKNOWN_FAILURE


@pytest.mark.promise("SUR-4")
@pytest.mark.parametrize("places", [[None] * 12, list(range(0, 12_000, 1_000)), [500, 500, 500, 500, 9_000] * 2 + [1]])
async def test_a_connection_that_breaks_here_and_there_is_one(tmp_path: Path, places: list[int | None]) -> None:
    async with rig(tmp_path, model=Breaking(*places)) as r:
        raised = await failing(r, len(places))
        assert {(error.type, error.non_retryable) for error in raised} == {(names.OUTAGE, False)}
        assert (await r.ask(attempt=len(places) + 1)).stop == "end_turn"


async def cancelled(r: StepRunner, model: Slow, attempt: int, details: ActivityCancellationDetails) -> None:
    """Run an attempt, and cancel it while the model answers."""
    model.asked.clear()
    made = environment(SESSION.turn("e1").step(0), attempt)
    task = asyncio.create_task(made.run(r.steps.call_model, INPUT))
    async with asyncio.timeout(WAIT):
        await model.asked.wait()
        made.cancel(details)
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.promise("EFF-3")
async def test_an_answer_that_twice_took_all_the_time_there_is_is_not_begun_again(tmp_path: Path) -> None:
    async with rig(tmp_path, model=(model := Slow())) as r:
        for attempt in (1, 2):
            await cancelled(r, model, attempt, TIMED_OUT)
        with pytest.raises(ApplicationError, match="longer than a step may, 2 times") as failed:
            await asyncio.wait_for(r.ask(attempt=3), WAIT)
        assert failed.value.non_retryable


async def test_an_attempt_that_is_stopped_keeps_what_it_used(tmp_path: Path) -> None:
    async with rig(tmp_path, model=(model := Slow())) as r:
        for attempt in (1, 2, 3):
            await cancelled(r, model, attempt, SHUTDOWN)
        other = StepRunner(r.journal, Breaking(), r.agents)
        assert (await other.ask(attempt=4)).usage == {"input_tokens": 360, "output_tokens": 50, "steps": 1}


async def test_an_attempt_ends_itself_before_temporal_takes_it_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_SHORTEST", 0.0)
    monkeypatch.setattr(lease, "_MARGIN", 0.9)
    async with rig(tmp_path, model=Slow()) as r:
        ends: list[tuple[str | None, bool]] = []
        for attempt in (1, 2):
            made = environment(SESSION.turn("e1").step(0), attempt)
            made.info = dataclasses.replace(made.info, start_to_close_timeout=timedelta(seconds=1))
            with pytest.raises(ApplicationError, match="longer than a step may") as failed:
                await made.run(r.steps.call_model, INPUT)
            ends.append((failed.value.type, failed.value.non_retryable))
        assert ends == [(names.OUTAGE, False), (names.UNKNOWN_FAILURE, True)]


async def test_a_later_step_counts_what_failed_in_an_earlier_one(tmp_path: Path) -> None:
    class Twice(Breaking):
        async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
            made = await super().respond(request, on_delta)
            if len(request.messages) > 1:
                return made
            use = {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}
            return dataclasses.replace(made, content=[use], stop_reason="tool_use")

    async with rig(tmp_path, model=Twice(None), tools=[add], budget=Budget(tokens=250)) as r:
        await failing(r, 1)
        await r.tools(await r.ask(attempt=2))
        assert ToolCall("add", a=1).name == "add"
        assert (await r.ask(step=1)).stop == "end_turn"
        [ended] = await r.bodies("turn.completed")
        assert ended["usage"]["input_tokens"] == 270
