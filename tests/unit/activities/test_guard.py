"""A user's model: whatever it returns or raises costs at most the turn of the event that asked it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import names
from inturn.errors import ModelError
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.facts import facts
from inturn.testing import ScriptedModel
from inturn.values import Usage
from inturn_activities.model import guard
from inturn_activities.model.guard import GuardedModel
from tests.support.steps import StepRunner, rig

TEXT = [{"type": "text", "text": "fine"}]


class Returning:
    """A model that gives whatever it was made with, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


class Sync:
    """A model whose author forgot `async`."""

    def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        return ModelMessage(TEXT, "end_turn", Usage(), "m")


def answer(content: Any = TEXT, stop: Any = "end_turn", usage: Any = None, model: Any = "m", **more: Any) -> Any:
    return ModelMessage(content, stop, Usage() if usage is None else usage, model, **more)


GARBAGE = [
    None,
    "fine",
    {"content": TEXT},
    answer(None),
    answer("text"),
    answer({"type": "text"}),
    answer([None]),
    answer(["text"]),
    answer([{"text": "no type"}]),
    answer([{"type": 7}]),
    RuntimeError("\ud800 boom"),
    SystemExit(3),
    asyncio.CancelledError(),
    RecursionError(),
    StopAsyncIteration(),
    ExceptionGroup("many", [ValueError("x")]),
]


@pytest.mark.promise("SUR-3", "MOD-9")
@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda g: repr(g).encode("ascii", "replace").decode()[:60])
async def test_what_is_no_answer_is_a_clear_error_three_times_and_costs_one_turn(tmp_path: Path, garbage: Any) -> None:
    async with rig(tmp_path, model=Returning(garbage)) as r:
        ends: list[tuple[str | None, bool]] = []
        for attempt in (1, 2, 3):
            with pytest.raises(ApplicationError) as failed:
                await r.ask(attempt=attempt)
            failed.value.message.encode()
            ends.append((failed.value.type, failed.value.non_retryable))
        assert ends == [(names.UNKNOWN_FAILURE, False)] * 2 + [(names.UNKNOWN_FAILURE, True)]
        other = StepRunner(r.journal, ScriptedModel(["fine"]), r.agents)
        assert (await other.ask("e2")).stop == "end_turn"


async def test_a_model_that_is_not_async_is_told_so(tmp_path: Path) -> None:
    async with rig(tmp_path, model=Sync()) as r:  # type: ignore[arg-type]
        with pytest.raises(ApplicationError, match=r"Sync\.respond must be async: it gave ModelMessage"):
            await r.ask()


async def test_an_answer_that_is_too_large_is_named_with_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_ANSWER", 1_000)
    async with rig(tmp_path, model=Returning(answer([{"type": "text", "text": "\x01" * 300}]))) as r:
        with pytest.raises(ApplicationError, match=r"gave an answer of 1,8\d\d bytes: 1,000 are the most"):
            await r.ask()


ODD_USAGE: list[dict[str, Any]] = [
    {"usd_nanos": float("nan")},
    {"usd_nanos": float("inf")},
    {"usd_nanos": -1.0},
    {"input_tokens": -5, "output_tokens": 7},
    {"input_tokens": 10**30, "output_tokens": 7},
    {"input_tokens": 10**400, "output_tokens": 7},
    {"usd": -(10**400), "output_tokens": 7},
    {"input_tokens": "many", "output_tokens": 7},
    {"new_count": float("nan"), "output_tokens": 7},
    {"input_tokens": None, "output_tokens": 7.9},
]


@pytest.mark.parametrize("odd", ODD_USAGE, ids=str)
async def test_a_usage_that_counts_nothing_is_cleaned_and_its_numbers_that_do_are_kept(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    async with rig(tmp_path, model=Returning(answer(usage=Usage.model_construct(**odd)))) as r:
        result = await r.ask()
        assert result.stop == "end_turn"
        kept = {"output_tokens": 7} if "output_tokens" in odd else {}
        assert result.usage == {"steps": 1, **kept}


async def test_what_json_cannot_say_is_recorded_as_what_it_can(tmp_path: Path) -> None:
    deep: Any = "bottom"
    for _ in range(500):
        deep = [deep]
    odd = [{"type": "text", "text": "half \ud83d"}, {"type": "note", "deep": deep, "set": {1}, "what": object()}]
    more = {"stop_details": object(), "raw_usage": {"n": float("nan")}, "id": 7, "request_id": "\ud800"}
    async with rig(tmp_path, model=Returning(answer(odd, model=None, **more))) as r:
        assert (await r.ask()).stop == "end_turn"
        [body] = await r.bodies("agent.message")
        assert body["content"][0]["text"].startswith("half ")


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


BESIDE: list[dict[str, Any]] = [
    {"raw_usage": {"n": 10**5_000}},
    {"stop_details": [-(10**5_000)]},
    {"id": Unspeakable(), "request_id": Unspeakable()},
    {"model": Unspeakable(), "stop_details": Unspeakable()},
]


@pytest.mark.promise("MOD-9")
@pytest.mark.parametrize("odd", BESIDE, ids=lambda odd: ",".join(odd))
async def test_what_stands_beside_an_answer_costs_it_nothing(tmp_path: Path, odd: dict[str, Any]) -> None:
    async with rig(tmp_path, model=Returning(answer(**odd))) as r:
        assert (await r.ask()).stop == "end_turn"


@pytest.mark.promise("MOD-9")
@pytest.mark.parametrize("stop", [Unspeakable(), 10**5_000], ids=["unspeakable", "long"])
async def test_a_reason_to_stop_that_has_no_text_is_none(tmp_path: Path, stop: Any) -> None:
    async with rig(tmp_path, model=Returning(answer(stop=stop))) as r:
        await r.ask()
        assert (await r.bodies("agent.message"))[0]["content"] == TEXT


@pytest.mark.promise("MOD-9", "SUR-5")
@pytest.mark.parametrize("after", [10**400, float("nan"), float("-inf"), "soon"])
async def test_whatever_a_model_asks_to_be_waited_for_an_outage_is_one(tmp_path: Path, after: Any) -> None:
    async with rig(tmp_path, model=Returning(ModelError("away", kind="outage", retry_after=after))) as r:
        with pytest.raises(ApplicationError, match="away") as failed:
            await r.ask()
        assert failed.value.type == names.OUTAGE
        assert failed.value.next_retry_delay is not None
        assert 0 < failed.value.next_retry_delay.total_seconds() <= 60


def test_the_facts_are_the_providers_own_or_those_of_the_table() -> None:
    class Knowing(Sync):
        def facts(self, model: str) -> Any:
            return facts("claude-opus-5-5") if model == "mine" else None

    assert GuardedModel(Knowing()).facts("mine").known  # type: ignore[arg-type]
    assert not GuardedModel(Knowing()).facts("other").known  # type: ignore[arg-type]
    assert GuardedModel(Returning(None)).facts("claude-sonnet-5-5") == facts("claude-sonnet-5-5")
