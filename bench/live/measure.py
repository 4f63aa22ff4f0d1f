"""The rows of live tokens, on SQLite and on PostgreSQL: a worker's steps here, readers in three processes beside it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any, Final

from temporalio.testing import ActivityEnvironment

from bench import budgets
from bench.agents import agents
from bench.live.reader import TENANT
from bench.report import Book
from bench.rig import ROOT, Rig
from inturn import Client
from inturn.journal import Claim, Journal, open_journal
from inturn.keys import SessionKey
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.values import Delta, Usage
from inturn_activities.limits.limits import Limits
from inturn_activities.live.deltas import Deltas
from inturn_activities.messages import ModelInput
from inturn_activities.registry import Steps
from tests.support.processes import postgres
from tests.support.processes.postgres import PostgresServer

PIECES: Final = 200
SECONDS: Final = 10.0
STREAMS: Final = 100
PROCESSES: Final = 3
JOINS: Final = 5


class Speaking:
    """A model that says the time, over and over."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Say each piece when it is due."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(1, PIECES + 1):
            await asyncio.sleep(began + number * SECONDS / PIECES - loop.time())
            on_delta(0, "text", f"{time.time():.6f} ")
        return ModelMessage([{"type": "text", "text": "done"}], "end_turn", Usage(steps=1), "speaking")


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows; without PostgreSQL its own say how to install it."""
    book.add(budgets.LIVE_UNSEEN, await _unseen())
    await _measured(f"sqlite:///{rig.directory / 'live.sqlite'}", "SQLite", book)
    if postgres.programs() is None:
        raise RuntimeError(postgres.INSTALL)
    with PostgresServer() as server:
        await _measured(server.url(server.create()), "PostgreSQL", book)


async def _measured(url: str, store: str, book: Book) -> None:
    """Measure once: that is three answers' time, and thousands of pieces."""
    worker = await _Worker.started(url)
    book.add(budgets.LIVE_ONE[store], *await worker.stream("one", ["s0"], [["s0"]] * PROCESSES))
    sessions = [f"s{n}" for n in range(STREAMS)]
    worker.commits = 0
    many = await worker.stream("many", sessions, [sessions[n::PROCESSES] for n in range(PROCESSES)])
    book.add(budgets.LIVE_MANY[store], *many)
    book.add(budgets.LIVE_COMMITS[store], worker.commits / SECONDS)
    book.add(budgets.LIVE_JOIN[store], *await worker.joined("join"))
    await worker.journal.close()


class _Worker:
    """The steps of a worker, and how often they publish."""

    def __init__(self, url: str, journal: Journal) -> None:
        self.url, self.journal, self.commits = url, journal, 0
        self.steps = Steps(journal, Speaking(), agents, limits=Limits(max_steps=None, backlog_spacing=0))
        publish = journal.publish

        async def counted(batch: Sequence[Any]) -> None:
            self.commits += 1
            await publish(batch)

        journal.publish = counted  # type: ignore[method-assign]

    @classmethod
    async def started(cls, url: str) -> _Worker:
        journal = open_journal(url)
        await journal.open()
        return cls(url, journal)

    async def stream(self, event: str, sessions: list[str], readers: list[list[str]]) -> list[float]:
        """Let sessions answer at once; return how late each piece came to the readers."""
        processes = [await self._reader(event, some) for some in readers]
        await asyncio.gather(*(self._answer(session, event) for session in sessions))
        return [late for process in processes for late in json.loads((await process.communicate())[0])]

    async def joined(self, event: str) -> list[float]:
        """Return how long readers who come in mid-answer wait for their first word."""
        answers = [asyncio.create_task(self._answer(f"j{n}", event)) for n in range(JOINS)]
        waits: list[float] = []
        for n in range(JOINS):
            await asyncio.sleep(SECONDS / (JOINS + 3))
            client, began = Client(journal=self.url, tenant=TENANT), time.monotonic()
            async for new in client.session(f"j{n}").stream(event):
                if isinstance(new, Delta) and new.kind == "text":
                    waits.append(time.monotonic() - began)
                    break
            await client.aclose()
        await asyncio.gather(*answers)
        return waits

    async def _reader(self, event: str, sessions: list[str]) -> Process:
        program = (sys.executable, "-m", "bench.live.reader", self.url, event, *sessions)
        process = await asyncio.create_subprocess_exec(*program, stdout=PIPE, cwd=ROOT, limit=2**26)
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    async def _answer(self, session: str, event: str) -> None:
        environment, key = ActivityEnvironment(), SessionKey(TENANT, session).turn(event).step(0)
        info = environment.info
        environment.info = dataclasses.replace(info, activity_id=str(key), workflow_id=str(key.session))
        input = ModelInput(event={"event_id": event, "content": "go"}, agent="bench")
        await environment.run(self.steps.call_model, input)


async def _unseen() -> float:
    """Return the CPU, in milliseconds, that an answer takes of writing down what nobody looks at."""
    journal: Any = None  # which nothing is written to
    deltas, turns = Deltas(journal), 500
    step, claim = SessionKey(TENANT, "s").turn("e").step(0), Claim("claimed", token="t", fence=1)
    began = time.process_time()
    for _ in range(turns):
        with deltas.written(step, claim, "watched") as pen:
            assert pen is not None
            pen.begin()
            for _ in range(PIECES):
                pen.add(0, "text", "twenty letters here ")
    return (time.process_time() - began) / turns * 1000
