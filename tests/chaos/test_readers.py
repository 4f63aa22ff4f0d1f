"""Conversations that are watched while their model fails and their workers are killed.

Judged by what stands outside: what readers in other processes saw, the strict Claude's log, the journal.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

import pytest

from inturn import Entry, Session
from inturn.testing.claude.log import Exchange
from tests.support.claude import ClaudeRig
from tests.support.processes.server import WorkerProcess
from tests.support.rig import Rig
from tests.support.screen import Screen, said
from tests.support.sizes import sized

SESSIONS: Final = sized(sample=6, whole=10)
TURNS: Final = sized(sample=10, whole=50)
"""Of each session."""
READERS: Final = 3
WORKERS: Final = 3
BETWEEN_KILLS: Final = (1.0, 4.0)
"""Seconds."""
FAULTS: Final = ("cut", "reset", "error", "529", "500", "429 retry_after=0.2", "cut at=-300", "stall seconds=0.5")
READER: Final = """
import asyncio, json, sys
from inturn import Client

async def main(journal, tenant, turns, *sessions):
    client = Client(journal=journal, tenant=tenant)
    async def read(name):
        left = int(turns)
        async for new in client.session(name).stream(None):
            print(json.dumps([name, new.model_dump(mode="json")]), flush=True)
            left -= getattr(new, "type", "") == "turn.completed"
            if not left:
                return
    await asyncio.gather(*map(read, sessions))
    await client.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.heavy
@pytest.mark.timeout(300 + 2 * SESSIONS * TURNS)
@pytest.mark.promise("MOD-7", "SUR-1", "MOD-2")
async def test_readers_see_each_answer_once_whatever_happens_to_its_model_and_its_workers(rig: Rig) -> None:
    chance, names = random.Random(7), [f"s{n}" for n in range(SESSIONS)]
    async with ClaudeRig() as claude, rig.client() as client, _workers(rig, claude, chance):
        readers = [asyncio.create_task(_read(rig, names)) for _ in range(READERS)]
        talks = [_talk(client.session(name, agent="support"), random.Random(n)) for n, name in enumerate(names)]
        await asyncio.gather(*talks)
        seen = await asyncio.gather(*readers)
        assert [e.error for e in claude.requests if e.outcome == "rejected"] == []
        for name in names:
            session = client.session(name)
            answers = [entry async for entry in session.entries() if entry.type == "agent.message"]
            assert len(answers) >= TURNS
            for reader in seen:
                assert reader[name].kept == [said(answer.body) for answer in answers]
                assert all(earlier < later for earlier, later in pairwise(reader[name].starts))
            _judge(answers, [e for e in claude.requests if e.session == _known_as(claude, name)])
            audit = await session.audit(deep=True)
            assert audit.ok, audit.differences
    assert all(sum(screen.pieces for screen in reader.values()) > SESSIONS * TURNS for reader in seen)


def _judge(answers: Sequence[Entry], requests: Sequence[Exchange]) -> None:
    """Check that each answer was asked for until it was recorded, and never after that."""
    asked: dict[str, list[Exchange]] = {}
    for request in requests:
        asked.setdefault(request.digest, []).append(request)
    assert len(asked) == len(answers)
    for answer, tries in zip(answers, asked.values(), strict=True):
        assert answer.at is not None
        assert tries[-1].began_at <= answer.at.timestamp(), "paid again, though it was recorded"


async def _talk(session: Session, chance: random.Random) -> None:
    """Ask one thing after the other; every third request meets a fault."""
    for n in range(TURNS):
        words = [f"{session.session_id}: question {n}.", *(f"word{chance.randrange(1_000)}" for _ in range(60))]
        directives = [f"[[delay {chance.uniform(0.1, 0.6):.2f}]]"]
        if chance.random() < 0.35:
            directives.append(f"[[fault {chance.choice(FAULTS)}]]")
        if chance.random() < 0.3:
            directives.append(f'[[tool add {{"a": {n}, "b": 1}}]]')
        await session.send(" ".join([*directives, *words]), event_id=f"e{n}")
        turn = await session.wait(f"e{n}", timeout=120)
        assert turn.disposition == "applied", turn


@asynccontextmanager
async def _workers(rig: Rig, claude: ClaudeRig, chance: random.Random) -> AsyncIterator[None]:
    """Workers, of which one is killed every few seconds; another takes its place."""

    async def start() -> WorkerProcess:
        made = rig.process(ANTHROPIC_API_KEY="test", ANTHROPIC_BASE_URL=claude.url)
        await asyncio.to_thread(made.start)
        return made

    workers = list(await asyncio.gather(*(start() for _ in range(WORKERS))))

    async def kill() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*BETWEEN_KILLS))
            victim = workers.pop(chance.randrange(len(workers)))
            victim.send(signal.SIGKILL)
            await asyncio.to_thread(victim.wait)
            workers.append(await start())

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        await asyncio.wait({killing})
        assert killing.cancelled(), killing.exception()


async def _read(rig: Rig, names: Sequence[str]) -> dict[str, Screen]:
    """Watch all sessions in a process of its own, until each has had its turns."""
    seen = {name: Screen() for name in names}
    command = (sys.executable, "-c", READER, rig.journal, rig.tenant, str(TURNS), *names)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            name, new = json.loads(line)
            seen[name].take(new)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    return seen


def _known_as(claude: ClaudeRig, name: str) -> str | None:
    """Return under which name the model's provider knows a session."""
    (known,) = {e.session for e in claude.requests if f" {name}: question" in f" {e.text}"}
    return known
