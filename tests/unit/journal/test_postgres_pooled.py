"""A pooler between a journal and its server gives each transaction another connection, or each client one of few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, Want, open_journal
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_url import parse
from inturn.keys import SessionKey
from tests.support.journal import plain_turn
from tests.support.processes.pgbouncer import INSTALL, pgbouncer, program
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy

pytestmark = pytest.mark.skipif(program() is None, reason=INSTALL)

SESSIONS = [SessionKey("acme", f"s{number}") for number in range(6)]  # more than a pooler has connections


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Journal]:
    journal = open_journal(url)
    try:
        yield journal
    finally:
        await journal.close()


async def work(journal: Journal, session: SessionKey, who: str) -> int:
    """Do a session's turns, and a call with a lock and a permit; return the lock's fence."""
    for number in range(4):
        await plain_turn(journal, session, f"{who}{number}")
    step = session.turn(f"{who}-call").step(0, 0)
    wants = [Want("acme", f"lock {session}", "write"), Want("acme", "steps", "permit", 50)]
    claim = await journal.claim_call(step, lease=60, wants=wants)
    await journal.begin(step, claim.token, lease=60)
    await journal.renew(step, claim.token, lease=60)
    await journal.finish(step, claim.token, {"status": "ok"})
    return claim.fence


@pytest.mark.parametrize(
    ("mode", "size", "options"),
    [
        ("transaction", 3, "?prepare=off"),
        ("transaction", 2, "?prepare=off"),
        ("transaction", 1, "?prepare=off"),
        ("session", 16, ""),
        ("session", 6, "?pool=3"),
    ],
)
async def test_a_journal_works_behind_a_pooler(
    postgres_server: PostgresServer, mode: str, size: int, options: str
) -> None:
    with pgbouncer(postgres_server, mode, size) as port:
        url = postgres_server.url(postgres_server.create(), options, port=port)
        async with opened(url) as first, opened(url) as second:
            fences = [
                await asyncio.gather(*(work(journal, session, f"e{who}-") for session in SESSIONS))
                for who, journal in enumerate((first, second))
            ]
            assert max(fences[0]) < min(fences[1])
            assert len({*fences[0], *fences[1]}) == 2 * len(SESSIONS)
            assert [await second.verify(session) for session in SESSIONS] == [[]] * 6


@pytest.mark.parametrize("size", [1, 2])
async def test_journals_that_are_done_keep_no_connection_of_a_pooler(
    postgres_server: PostgresServer, size: int
) -> None:
    with pgbouncer(postgres_server, "transaction", size) as pooler, PostgresProxy(pooler, in_turn=True) as wire:
        url = postgres_server.url(postgres_server.create(), "?prepare=off", port=wire.port)
        async with AsyncExitStack() as journals:
            opens = [await journals.enter_async_context(opened(url)) for _ in range(3)]
            try:
                async with asyncio.timeout(20):
                    for number, session in enumerate(SESSIONS):
                        await plain_turn(opens[number % 3], session, "e0")
            finally:
                wire.cut()  # whoever waits for a connection for ever


async def test_a_pooler_that_loses_prepared_statements_is_named_with_what_to_do(
    postgres_server: PostgresServer,
) -> None:
    with pgbouncer(postgres_server, "transaction", 2) as port:
        async with opened(postgres_server.url(postgres_server.create(), port=port)) as journal:
            works = [work(journal, session, "e") for session in SESSIONS]
            ended = await asyncio.gather(*works, return_exceptions=True)
    errors = [error for error in ended if isinstance(error, JournalUnavailable)]
    assert errors
    for error in errors:
        assert "a pooler gives each transaction another connection" in str(error)
        assert "prepare=off" in str(error)


def test_a_statement_that_is_prepared_elsewhere_never_runs_in_anothers_place(postgres_server: PostgresServer) -> None:
    with pgbouncer(postgres_server, "transaction", 2) as port:
        address = parse(postgres_server.url(postgres_server.create(), port=port))
        with connect(address) as first, connect(address) as second:
            texts = ((first, b"SELECT $1::bigint + 1"), (second, b"SELECT $1::bigint * 10"))
            with first.transaction(), second.transaction():  # each on a connection of its own
                for connection, text in (*texts, *texts, *texts):
                    connection.execute(text, (5,))
            lost = 0
            for connection, text in (*texts, *texts):
                with connection.transaction(), texts[connection is first][0].transaction():  # the same two, either way
                    try:
                        assert connection.execute(text, (5,)).fetchone() == ((6,) if connection is first else (50,))
                    except psycopg.errors.InvalidSqlStatementName:
                        lost += 1
            assert lost
