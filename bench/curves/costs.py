"""What a long session costs: cached and compacted beside without, by the strict Claude's counts and the price list."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from temporalio.testing import ActivityEnvironment

from bench.curves.series import Curve, Series
from bench.curves.sizes import Sizes
from bench.rig import Rig
from inturn.agents import Agent
from inturn.journal import open_journal
from inturn.keys import SessionKey
from inturn.models.prices import known_prices
from inturn.testing import StrictClaude
from inturn.turns.compaction import Compaction
from inturn.values import Usage
from inturn_activities.messages import ModelInput
from inturn_activities.model.claude import Claude
from inturn_activities.registry import Steps
from tests.support.usage import counted

MODEL: Final = "claude-sonnet-5-5"
WINDOW: Final = 40_000
SAID: Final = "word " * 700
"""A message: with its answer a turn is some 1,000 tokens."""
SESSION: Final = SessionKey("bench", "paid")


async def measure(rig: Rig, sizes: Sizes) -> list[Curve]:
    """Pay for one session as it is, and for one that is compacted."""
    lines = {name: Series(name, []) for name in ("no cache", "cached", f"cached, compacted in {WINDOW:,} tokens")}
    plain, cached, compacted = lines.values()
    uncached = paid = 0.0
    async for turn, usages in _turns(rig.directory / "plain.sqlite", sizes, None):
        uncached += sum(_cents(_without_cache(usage)) for usage in usages)
        paid += sum(map(_cents, usages))
        if turn in sizes.paid:
            plain.points.append((turn, uncached))
            cached.points.append((turn, paid))
    paid, longest, summaries = 0.0, 0, 0
    async for turn, usages in _turns(rig.directory / "compacted.sqlite", sizes, Compaction(window=WINDOW)):
        paid += sum(map(_cents, usages))
        longest, summaries = max(longest, *(usage.prompt_tokens for usage in usages)), summaries + len(usages) - 1
        if turn in sizes.paid:
            compacted.points.append((turn, paid))
    note = (
        f"{MODEL}, prices of {known_prices().as_of}; turns that follow within the cache's five minutes. Compacted, the "
        f"session had {summaries} summaries, which are paid here, too; its longest prompt had {longest:,} tokens."
    )
    return [
        Curve("session-costs", "What a session has cost, by its turns", "turns", "cents", [*lines.values()], note=note)
    ]


async def _turns(path: Path, sizes: Sizes, compaction: Compaction | None) -> AsyncIterator[tuple[int, list[Usage]]]:
    """Yield the turns of a session, each with what its requests used."""
    agent = Agent("bench", model=MODEL, instructions="Be brief.", max_tokens=2_000, compaction=compaction)
    journal = open_journal(f"sqlite:///{path}")
    await journal.open()
    try:
        async with StrictClaude() as server, aclosing(Claude(api_key="none", base_url=server.url)) as model:
            steps, seen = Steps(journal, model, [agent]), 0
            for turn in range(1, sizes.paid[-1] + 1):
                await _turn(steps, turn)
                asked = server.requests[seen:]
                seen += len(asked)
                yield turn, [counted(exchange.usage) for exchange in asked if exchange.usage]
    finally:
        await journal.close()


async def _turn(steps: Steps, number: int) -> None:
    environment, key = ActivityEnvironment(), SESSION.turn(f"event-{number}").step(0)
    environment.info = dataclasses.replace(environment.info, activity_id=str(key), workflow_id=str(key.session))
    event = {"event_id": key.turn.event_id, "content": f"{number}: {SAID}"}
    await environment.run(steps.call_model, ModelInput(event=event, n=number, agent="bench"))


def _cents(usage: Usage) -> float:
    price = known_prices().find(MODEL)
    assert price is not None
    return price.of(usage) / 1e7


def _without_cache(usage: Usage) -> Usage:
    return Usage(input_tokens=usage.prompt_tokens, output_tokens=usage.output_tokens)
