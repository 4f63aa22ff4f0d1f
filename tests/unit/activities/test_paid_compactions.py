"""What summaries cost: before the strict Claude, whose counts and the price list say what was really paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inturn import Agent
from inturn.amounts import nanos
from inturn.journal.views.transcript import Transcript
from inturn.models.prices import known_prices
from inturn.testing import StrictClaude
from inturn.turns.budget import Budget
from inturn.turns.compaction import Compaction
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import Decision
from inturn_activities.model.transcript_cache import Transcripts
from tests.support.steps import SESSION, StepRunner
from tests.support.strict import BOUNDS, MODEL, StrictRig, strict
from tests.support.usage import counted
from tests.support.waiting import until

WINDOW = 12_000
SAID = "word " * 400
DAY = Limits(usd_per_tenant_day=1)


@asynccontextmanager
async def small(
    tmp_path: Path, *, limits: Limits | None = None, compaction: Compaction | None = None, **agent: Any
) -> AsyncIterator[StrictRig]:
    """Play with a small window, under limits."""
    values = {"model": MODEL, "instructions": "Be brief.", "max_tokens": 2_000, **agent}
    made = Agent("support", compaction=compaction or Compaction(window=WINDOW), **values)
    async with strict(tmp_path, context_window=WINDOW) as plain:
        steps = StepRunner(plain.steps.journal, plain.steps.model, [made], bounds=BOUNDS, limits=limits)
        yield StrictRig(plain.server, steps)


async def talk(r: StrictRig, turns: int) -> None:
    for n in range(turns):
        assert await r.turn(f"e{n}", f"{n}: {SAID}") == "end_turn"


def true_cost(server: StrictClaude) -> int:
    """What the server's counts of its answers come to by the price list, whoever was asked."""
    answered = [exchange for exchange in server.requests if exchange.outcome == "completed"]
    return sum(_cost(exchange.body["model"], exchange.usage or {}) for exchange in answered)


def _cost(model: str, told: dict[str, Any]) -> int:
    price = known_prices().find(model)
    assert price is not None
    return price.of(counted(told))


async def day(r: StrictRig) -> tuple[int, int]:
    """What is paid and set aside in the day, and how many requests have something set aside."""
    read = r.steps.journal.look_within
    [(spent,)] = await read(lambda tx: tx.execute("SELECT nanos FROM spend"))
    [(waiting,)] = await read(lambda tx: tx.execute("SELECT COUNT(*) FROM reservations"))
    return int(spent), int(waiting)


@pytest.mark.promise("MOD-4", "MOD-6")
async def test_summaries_are_paid_by_the_turns_that_made_them_and_by_their_day(tmp_path: Path) -> None:
    async with small(tmp_path, limits=DAY) as r:
        await talk(r, 30)
        made = await r.steps.bodies("session.compacted")
        assert len(made) >= 2
        assert all(body["usage"]["usd_nanos"] > 0 for body in made)
        paid = true_cost(r.server)
        assert await r.steps.journal.spent(SESSION) == paid
        assert await day(r) == (paid, 0)
        answers = await r.steps.bodies("agent.message")
        assert sum(body["usage"]["usd_nanos"] for body in answers) == paid


@pytest.mark.promise("MOD-4", "MOD-6")
async def test_a_summary_by_another_model_costs_what_that_one_takes(tmp_path: Path) -> None:
    compaction = Compaction(window=WINDOW, model="claude-haiku-4-5")
    async with small(tmp_path, limits=DAY, compaction=compaction) as r:
        await talk(r, 20)
        assert {body["by"] for body in await r.steps.bodies("session.compacted")} == {"summary"}
        assert {e.body["model"] for e in r.server.requests} == {MODEL, "claude-haiku-4-5"}
        assert await r.steps.journal.spent(SESSION) == true_cost(r.server)


@pytest.mark.promise("MOD-4", "MOD-6", "EFF-3")
@pytest.mark.parametrize("fails", [True, False])
async def test_a_summary_whose_attempt_ends_behind_it_is_paid_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    async with small(tmp_path, limits=DAY) as r:
        await talk(r, 3)
        load = Transcripts.load

        async def gone(self: Transcripts, *args: Any, **named: Any) -> Transcript:
            if await r.steps.bodies("session.compacted"):
                raise SystemError("gone") if fails else asyncio.CancelledError
            return await load(self, *args, **named)

        monkeypatch.setattr(Transcripts, "load", gone)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - a cancel, or whatever a step makes of an error
            await r.steps.ask("k", SAID, compact="")
        monkeypatch.undo()
        assert (await r.steps.ask("k", SAID, attempt=2, compact="")).stop == "end_turn"
        paid = true_cost(r.server)
        assert await r.steps.journal.spent(SESSION) == paid
        assert await day(r) == (paid, 0)


@pytest.mark.promise("MOD-4", "MOD-6", "ORD-8")
async def test_a_turn_that_is_stopped_behind_its_summary_has_paid_for_it(tmp_path: Path) -> None:
    async with small(tmp_path, limits=DAY) as r:
        await talk(r, 3)
        r.server.faults("hang", when="stop me")
        asking = asyncio.create_task(r.steps.ask("k", "stop me", compact=""))

        await until(partial(r.steps.bodies, "session.compacted"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        body = {"turn": "k"}
        end = Decision(type="turn.interrupted", turn="k", key="k/end", disposition="cancelled", body=body)
        await r.steps.record(end, settle=["k"])
        [made] = await r.steps.bodies("session.compacted")
        assert made["usage"]["usd_nanos"] > 0
        paid = true_cost(r.server)
        assert await r.steps.journal.spent(SESSION) == paid
        assert await day(r) == (paid, 0)


@pytest.mark.promise("MOD-4", "MOD-6")
async def test_without_the_money_for_a_summary_the_older_half_is_left_out_where_it_must_be(tmp_path: Path) -> None:
    async with small(tmp_path, compaction=Compaction(window=WINDOW, soft=1.0)) as r:
        await talk(r, 6)
        assert await r.steps.bodies("session.compacted") == []
        before = true_cost(r.server)
        budget = Budget(usd=0.025)
        poor = r.deployed(
            instructions="Be brief.", max_tokens=1_000, compaction=Compaction(window=7_000, soft=1.0), budget=budget
        )
        assert await poor.turn("poor", "and now?") == "end_turn"
        [made] = await r.steps.bodies("session.compacted")
        assert made["by"] == "cut"
        assert "no money is left in the budget" in made["failures"][0]
        assert true_cost(r.server) - before <= nanos("0.025")


@pytest.mark.promise("MOD-4", "MOD-6")
async def test_where_there_is_room_yet_a_turn_without_the_money_for_a_summary_goes_on_without(tmp_path: Path) -> None:
    async with small(tmp_path, compaction=Compaction(window=WINDOW, soft=1.0)) as r:
        await talk(r, 3)
        compaction = Compaction(window=WINDOW, soft=0.01, model="claude-opus-4-1")
        poor = r.deployed(instructions="Be brief.", max_tokens=1_000, compaction=compaction, budget=Budget(usd=0.03))
        assert await poor.turn("poor", "and now?") == "end_turn"
        assert await r.steps.bodies("session.compacted") == []
