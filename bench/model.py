"""What `call_model` costs beside the model: in this process, without a server, with a model that answers at once."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Final

from temporalio.testing import ActivityEnvironment

from bench import budgets, claude
from bench.agents import agents
from bench.report import Book
from bench.rig import Rig
from bench.sides import TEXT
from inturn.journal import Journal, open_journal
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Usage
from inturn_activities.messages import ModelInput
from inturn_activities.registry import Steps

MESSAGES: Final = 1_000
WARM_CALLS: Final = 20
COLD_CALLS: Final = 5
SESSION: Final = SessionKey("bench", "long")


class Instant:
    """A model that answers at once, and remembers how much it was asked."""

    def __init__(self) -> None:
        self.messages = 0

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Say the same as ever."""
        self.messages = len(request.messages)
        return ModelMessage([{"type": "text", "text": TEXT}], "end_turn", Usage(steps=1), "instant")


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of `call_model`."""
    url = f"sqlite:///{rig.directory / 'model.sqlite'}"
    calls = Calls()
    journal = open_journal(url)
    await journal.open()
    try:
        steps = Steps(journal, calls.model, agents)
        for _ in range(MESSAGES // 2):
            await calls.run(steps)
        for _ in range(rounds):
            warm = [await calls.run(steps) for _ in range(WARM_CALLS)]
            book.add(budgets.WARM, statistics.median(warm) * 1000)
        book.note(budgets.WARM, f"{WARM_CALLS} calls a round, up to {calls.model.messages:,} messages")
    finally:
        await journal.close()
    for _ in range(rounds):
        cold = [await calls.cold(url) for _ in range(COLD_CALLS)]
        book.add(budgets.COLD, statistics.median(cold) * 1000)
    book.note(budgets.COLD, f"{COLD_CALLS} fresh workers a round")
    await claude.measure(rig, book, rounds, Calls())


class Calls:
    """Turns of one session, one after the other."""

    def __init__(self) -> None:
        self.model = Instant()
        self.count = 0

    async def run(self, steps: Steps) -> float:
        """Run a model step; return its seconds."""
        self.count += 1
        environment = ActivityEnvironment()
        key = SESSION.turn(f"event-{self.count}").step(0)
        environment.info = dataclasses.replace(environment.info, activity_id=str(key), workflow_id=str(key.session))
        input = ModelInput(event={"event_id": key.turn.event_id, "content": TEXT}, n=self.count, agent="bench")
        began = time.perf_counter()
        await environment.run(steps.call_model, input)
        return time.perf_counter() - began

    async def cold(self, url: str) -> float:
        """Run a model step on a worker that has just started."""
        journal: Journal = open_journal(url)
        await journal.open()
        try:
            return await self.run(Steps(journal, self.model, agents))
        finally:
            await journal.close()
