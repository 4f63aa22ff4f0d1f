"""Budgets in money: before the strict Claude, whose counts and the price list say what was really paid."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from inturn import Agent, names
from inturn.amounts import nanos
from inturn.errors import ModelError
from inturn.journal.store.store import Transaction
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.prices import known_prices
from inturn.testing import StrictClaude, ToolCall
from inturn.tools import tool
from inturn.turns.budget import Budget
from inturn.values import Usage
from inturn_activities.bounds import Bounds
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import ModelInput
from inturn_worker.settings import read_settings
from tests.support.steps import SESSION, StepRunner, environment, rig
from tests.support.strict import BOUNDS, MODEL, strict
from tests.support.usage import counted


@tool
async def look(page: int) -> str:
    """Read a page."""
    return f"page {page}: " + "words " * 400


def true_cost(server: StrictClaude) -> int:
    """What the server's counts come to by the price list."""
    price = known_prices().find(MODEL)
    assert price is not None
    return sum(price.of(counted(e.usage)) for e in server.requests if e.usage)


def looping(server: StrictClaude, steps: int = 100) -> None:
    for page in range(steps):
        server.script(["let me see " * 20, ToolCall("look", page=page)])


@pytest.mark.promise("MOD-4")
async def test_a_loop_of_calls_ends_within_its_budget_and_the_session_answers_on(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        looping(plain.server)
        r = plain.deployed(tools=[look], budget=Budget(usd=0.05, steps=None), max_tokens=4_000)
        assert await r.turn("e1", "look at everything") == "budget_reached"
        paid = true_cost(r.server)
        assert nanos("0.02") < paid <= nanos("0.05")
        assert len(r.server.requests) > 3
        [ended] = await r.steps.bodies("turn.completed")
        assert ended["usage"]["usd_nanos"] == paid
        assert await r.steps.journal.spent(SESSION) == paid
        last = await r.steps.bodies("agent.message")
        assert sum(body["usage"]["usd_nanos"] for body in last) == paid
        assert {body["priced"] for body in last} == {known_prices().as_of}
        r.server.reset()
        assert await r.turn("e2", "hello") == "end_turn"


@pytest.mark.promise("MOD-4")
async def test_the_last_answers_are_as_short_as_what_is_left(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        looping(plain.server)
        r = plain.deployed(tools=[look], budget=Budget(usd=0.05, steps=None), max_tokens=4_000)
        await r.turn("e1", "look at everything")
        asked = [exchange.body["max_tokens"] for exchange in r.server.requests]
        assert asked[0] == 4_000
        assert 1_024 <= asked[-1] < 4_000
        assert asked == sorted(asked, reverse=True)


@pytest.mark.promise("MOD-4")
async def test_the_turns_of_a_session_share_its_own_budget(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        r = plain.deployed(budget=Budget(session_usd=0.03), max_tokens=1_500)
        ends = [await r.turn(f"e{n}", "please write [[tokens 900]]" + " more" * 300) for n in range(12)]
        assert ends[0] == "end_turn"
        assert ends[-1] == "budget_reached"
        assert nanos("0.005") < true_cost(r.server) <= nanos("0.03")


async def test_a_budget_of_nothing_sends_nothing(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        r = plain.deployed(budget=Budget(usd=0))
        assert await r.turn("e1") == "budget_reached"
        assert r.server.requests == []


@pytest.mark.promise("MOD-4")
async def test_a_model_whose_price_nobody_knows_is_not_asked_where_money_is_bounded_and_costs_no_event(
    tmp_path: Path,
) -> None:
    async with strict(tmp_path) as plain:
        r = plain.deployed(model="claude-sonnet-9", budget=Budget(usd=1))
        with pytest.raises(ApplicationError, match="nobody knows what model claude-sonnet-9 costs") as waits:
            await r.turn("e1")
        assert (waits.value.type, waits.value.non_retryable) == (names.ACCOUNT, False)
        assert r.server.requests == []


class Breaking:
    """A model that tells what it used, and breaks off so many times."""

    def __init__(self, times: int, usage: Usage) -> None:
        self.left = times
        self.usage = usage
        self.requests: list[ModelRequest] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.requests.append(request)
        request.on_usage(self.usage)
        if self.left:
            self.left -= 1
            raise ModelError("broken", kind="outage")
        return ModelMessage([{"type": "text", "text": "fine"}], "end_turn", self.usage, MODEL)


@pytest.mark.promise("MOD-4")
async def test_attempts_that_break_off_are_paid_and_end_the_budget(tmp_path: Path) -> None:
    model = Breaking(50, Usage(input_tokens=1_000, output_tokens=1_000))  # $0.012 each
    async with rig(tmp_path, model=model, budget=Budget(usd=0.05), max_tokens=1_024) as r:
        r.steps = StepRunner(r.journal, model, [dataclasses.replace(r.agents[0], model=MODEL)], bounds=BOUNDS).steps
        for attempt in range(1, 5):
            with pytest.raises(ApplicationError) as broken:
                await r.ask(attempt=attempt)
            assert broken.value.type == names.OUTAGE
        result = await r.ask(attempt=5)
        assert result.stop == "budget_reached"
        assert len(model.requests) == 4  # a fifth one might have cost more than what was left
        assert await r.journal.spent(SESSION) == 4 * nanos("0.012")


async def test_an_answers_usage_tells_what_failed_attempts_cost(tmp_path: Path) -> None:
    model = Breaking(2, Usage(input_tokens=1_000, output_tokens=1_000))
    agent = Agent("support", model=MODEL, instructions="")
    async with rig(tmp_path, model=model, agents=[agent]) as r:
        for attempt in (1, 2):
            with pytest.raises(ApplicationError):
                await r.ask(attempt=attempt)
        result = await r.ask(attempt=3)
        assert result.usage["usd_nanos"] == nanos("0.036")
        assert result.usage["failed_usd_nanos"] == nanos("0.024")


class Slow:
    """A model that counts what it gives out, and takes a moment."""

    def __init__(self) -> None:
        self.paid = 0
        self.at_work = 0
        self.together = asyncio.Event()

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        self.at_work += 1
        if self.at_work > 1:
            self.together.set()
        with contextlib.suppress(TimeoutError):  # the last one is alone
            async with asyncio.timeout(0.05):
                await self.together.wait()
        usage = Usage(input_tokens=500, output_tokens=request.max_tokens)
        price = known_prices().find(MODEL)
        assert price is not None
        self.paid += price.of(usage)
        self.at_work -= 1
        return ModelMessage([{"type": "text", "text": "fine"}], "max_tokens", usage, MODEL)


async def outcome(r: StepRunner, session: SessionKey, attempts: int = 200) -> str:
    """Run a session's turn; it comes back whenever it has to wait."""
    for attempt in range(1, attempts):
        try:
            input = ModelInput(event={"event_id": "e1", "content": "hi"})
            result = await environment(session.turn("e1").step(0), attempt).run(r.steps.call_model, input)
        except ApplicationError as error:
            if error.type != names.NOT_YET or "today's dollars of tenant" not in error.message:
                raise
            await asyncio.sleep(0)
            continue
        return result.stop
    raise AssertionError("it waited for ever")


@pytest.mark.promise("MOD-4")
async def test_fifty_sessions_at_once_spend_no_more_than_their_tenants_day(tmp_path: Path) -> None:
    model, limits = Slow(), Limits(usd_per_tenant_day=1, max_steps=None)
    agent = Agent("support", model=MODEL, instructions="", max_tokens=8_192)
    async with rig(
        tmp_path, model=model, agents=[agent], limits=limits, bounds=dataclasses.replace(BOUNDS, lease=5)
    ) as r:
        ends = await asyncio.gather(*(outcome(r, SessionKey("acme", f"s{n}")) for n in range(50)))
        assert model.together.is_set()
        assert nanos("0.9") < model.paid <= nanos(1)
        assert ends.count("max_tokens") > 10
        assert ends.count("budget_reached") > 10
        before = model.paid
        assert await outcome(r, SessionKey("other", "s1")) == "max_tokens"
        assert model.paid > before

        def tomorrow(tx: Transaction) -> None:
            tx.execute("UPDATE spend SET day = day - 1")

        await r.journal._store.write(tomorrow)
        again = environment(SessionKey("acme", "s1").turn("e2").step(0))
        result = await again.run(r.steps.call_model, ModelInput(event={"event_id": "e2", "content": "hi"}))
        assert result.stop == "max_tokens"


async def test_a_worker_without_a_limit_holds_to_that_of_the_others(tmp_path: Path) -> None:
    model = Slow()
    agent = Agent("support", model=MODEL, instructions="", max_tokens=8_192)
    async with rig(tmp_path, model=model, agents=[agent]) as r:
        r.steps.agreed.agree([{"usd_per_tenant_day": 0.0}, {"usd_per_model_day " + MODEL: 5.0}])
        assert await outcome(r, SESSION) == "budget_reached"
        assert model.paid == 0


def test_limits_in_money_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTURN_LIMITS_USD_PER_TENANT_DAY", "2.5")
    monkeypatch.setenv("INTURN_LIMITS_USD_PER_MODEL_DAY", '{"claude-opus-5-5": 20}')
    limits = read_settings().limits
    assert (limits.usd_per_tenant_day, limits.usd_per_model_day) == (2.5, {"claude-opus-5-5": 20.0})


async def test_an_attempt_that_never_came_to_ask_gives_all_back(tmp_path: Path) -> None:
    limits = Limits(usd_per_tenant_day=1)
    model = Breaking(0, Usage(input_tokens=1))
    agent = Agent("support", model=MODEL, instructions="")
    async with rig(tmp_path, model=model, agents=[agent], limits=limits, bounds=Bounds(beat=0.01, losses=0)) as r:
        with pytest.raises(ApplicationError, match="crashed its worker"):
            await r.ask()
        spent = await r.journal.look_within(lambda tx: tx.execute("SELECT nanos FROM spend"))
        assert spent == [(0,)]
        assert model.requests == []


@pytest.mark.promise("MOD-4")
async def test_half_of_the_streams_are_cut_and_all_of_them_are_paid(tmp_path: Path) -> None:
    async with strict(tmp_path) as plain:
        r = plain.deployed(budget=Budget(usd=1), instructions="Be long. " * 500)
        for n in range(4):
            r.server.faults("cut")
            with pytest.raises(ApplicationError) as broken:
                await r.turn(f"e{n}", f"message {n}")
            assert broken.value.type == names.OUTAGE
            assert await r.turn(f"e{n}", f"message {n}", attempt=2) == "end_turn"
        bodies = await r.steps.bodies("agent.message")
        told = [Usage.model_validate(body["usage"]) for body in bodies]
        sent = [counted(exchange.usage) for exchange in r.server.requests if exchange.usage]
        assert len(sent) == 8
        assert sum(usage.prompt_tokens for usage in told) == sum(usage.prompt_tokens for usage in sent)
        price = known_prices().find(MODEL)
        assert price is not None
        prompts = sum(price.of(usage.model_copy(update={"output_tokens": 0})) for usage in sent)
        assert await r.steps.journal.spent(SESSION) == sum(usage.usd_nanos for usage in told) > prompts
        assert all(0 < usage.failed_usd_nanos < usage.usd_nanos for usage in told)
