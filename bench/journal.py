"""What the journal costs on PostgreSQL: the part of a plain turn that it is, and how many turns a database carries.

`python -m bench.journal URL SESSIONS SECONDS` is one of the processes of a load: it prints the turns that it did.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from bench import budgets
from bench.report import Book
from bench.rig import ROOT, Rig
from inturn.journal import Journal, Want, new_token, open_journal
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_url import parse
from inturn.keys import SessionKey
from tests.support.journal import answer, applied, opening
from tests.support.processes import postgres
from tests.support.processes.postgres import PostgresServer

SECONDS: Final = 3.0
ROUNDS: Final = 3
"""At most: the rounds of other parts compare two sides that run beside each other, and here there is one."""
TRIPS: Final = 4
_STEPS: Final = Want("bench", "steps", "permit", 50)
_DURABLE: Final = {"shared_buffers": "128MB", "max_connections": "200"}


async def measure(rig: Rig, book: Book, rounds: int) -> None:
    """Fill the rows of the journal; without PostgreSQL they say how to install it."""
    if postgres.programs() is None:
        raise RuntimeError(postgres.INSTALL)
    with PostgresServer(settings=_DURABLE) as server:
        for _ in range(min(rounds, ROUNDS)):
            for delay, row in budgets.JOURNAL_TURNS.items():
                async with _wire(server.port, delay / 1000) as port:
                    url = server.url(server.create(), port=port)
                    book.add(row, 1000 * (await _turn(url) - TRIPS * _trip(url)))
            book.add(budgets.JOURNAL_LOAD, await _load(server.url(server.create()), processes=4, sessions=2))
            async with _wire(server.port, 0.005) as port:
                url = server.url(server.create(), port=port)
                book.add(budgets.JOURNAL_TENANT, await _load(url, processes=4, sessions=8))


async def _turn(url: str) -> float:
    """Return the median of the seconds that the journal takes of a plain turn, of one session alone."""
    journal = open_journal(url)
    taken = [await _one(journal, SessionKey("bench", "s1"), n) for n in range(100)]
    await journal.close()
    return statistics.median(taken[20:])


def _trip(url: str) -> float:
    """Return the median of the seconds that a trip takes."""
    with connect(parse(url)) as connection:
        return statistics.median(_asked(connection) for _ in range(100))


def _asked(connection: psycopg.Connection[tuple[object, ...]]) -> float:
    began = time.perf_counter()
    connection.execute("SELECT 1").fetchall()
    return time.perf_counter() - began


async def _one(journal: Journal, session: SessionKey, n: int) -> float:
    began = time.perf_counter()
    turn, step = f"e{n}", session.turn(f"e{n}").step(0)
    claim = await journal.claim_model(step, opening(turn), token=new_token(), wants=[_STEPS], lease=7.0)
    await journal.finish(step, claim.token, {"stop": "end_turn"}, answer(turn, "a" * 500), applied(turn))
    return time.perf_counter() - began


async def _load(url: str, *, processes: int, sessions: int) -> float:
    """Return the turns of one tenant in a second, of so many processes with so many sessions each."""
    command = (sys.executable, "-m", "bench.journal", url, str(sessions), str(SECONDS))
    started = [
        await asyncio.create_subprocess_exec(*command, str(n), stdout=asyncio.subprocess.PIPE, cwd=ROOT)
        for n in range(processes)
    ]
    done = [float((await process.communicate())[0]) for process in started]
    return sum(done)


@asynccontextmanager
async def _wire(port: int, delay: float) -> AsyncIterator[int]:
    """Yield the port of a wire that adds a delay to each trip, in a process of its own."""
    command = (sys.executable, "-m", "tests.support.processes.postgres_proxy", str(port), str(delay))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def _process(url: str, sessions: int, seconds: float, name: str) -> float:
    """Return this process's turns in a second, from when its connections are there."""
    journal = open_journal(url)
    keys = [SessionKey("bench", f"s{name}-{n}") for n in range(sessions)]
    await asyncio.gather(*(_one(journal, key, 0) for key in keys))
    until = time.perf_counter() + seconds

    async def turns(key: SessionKey) -> int:
        n = 0
        while time.perf_counter() < until:
            n += 1
            await _one(journal, key, n)
        return n

    done = sum(await asyncio.gather(*(turns(key) for key in keys)))
    await journal.close()
    return done / seconds


if __name__ == "__main__":
    print(asyncio.run(_process(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])))
