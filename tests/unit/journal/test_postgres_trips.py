"""What a turn costs on the wire to PostgreSQL: trips and statements, as counted there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from inturn.journal import Journal, Want, new_token, open_journal
from inturn.journal.values import BEGINNING
from tests.support.journal import OTHER, SESSION, answer, applied, calls, opening, result
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy

STEPS = Want("acme", "steps", "permit", 50)


@pytest.fixture
def wire(postgres_server: PostgresServer) -> Iterator[PostgresProxy]:
    with PostgresProxy(postgres_server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def journal(postgres_server: PostgresServer, wire: PostgresProxy) -> AsyncIterator[Journal]:
    """A journal with one connection, whose statements are prepared and whose session is there."""
    database = postgres_server.create()
    opened = open_journal(postgres_server.url(database, "?pool=1", port=wire.port))
    for n in range(4):
        await turn(opened, f"warm{n}")
    wire.counted()
    yield opened
    await opened.close()
    postgres_server.drop(database)


async def turn(journal: Journal, name: str) -> None:
    step = SESSION.turn(name).step(0)
    claim = await journal.claim_model(step, opening(name), token=new_token(), wants=[STEPS], lease=7.0)
    assert claim.status == "claimed"
    await journal.finish(step, claim.token, {"stop": "end_turn"}, answer(name), applied(name))


async def test_a_plain_turn_is_four_trips_and_thirty_statements_at_most(journal: Journal, wire: PostgresProxy) -> None:
    await turn(journal, "e1")
    trips, statements = wire.counted()
    assert trips <= 4, (trips, statements)
    assert statements <= 30, (trips, statements)


async def test_a_step_with_one_call_is_twelve_trips_at_most(journal: Journal, wire: PostgresProxy) -> None:
    step, call = SESSION.turn("e1").step(0), SESSION.turn("e1").step(0, 0)
    claim = await journal.claim_model(step, opening("e1"), token=new_token(), wants=[STEPS], lease=7.0)
    await journal.finish(step, claim.token, {"stop": "tool_use"}, calls("e1", ["c0"]))
    held = await journal.claim_call(call, token=new_token(), lease=7.0, begin=False)
    await journal.begin(call, held.token, lease=7.0)
    assert await journal.renew(call, held.token, lease=7.0)
    await journal.finish(call, held.token, {"value": "4"}, [result("e1", 0, "c0")])
    trips, statements = wire.counted()
    assert trips <= 12, (trips, statements)


async def test_a_look_is_answered_after_one_trip(journal: Journal, wire: PostgresProxy) -> None:
    wire.delay = 0.2
    before = time.monotonic()
    await journal.head(SESSION)
    assert time.monotonic() - before < 0.39


async def test_a_look_at_many_sessions_and_at_stops_is_answered_after_one_trip(
    journal: Journal, wire: PostgresProxy
) -> None:
    await journal.stop(step := OTHER.turn("e1").step(0))
    wire.delay = 0.2
    before = time.monotonic()
    news = await journal.look({SESSION: 0, OTHER: 0}, 0.0, {SESSION: BEGINNING, OTHER: BEGINNING})
    assert time.monotonic() - before < 0.39
    assert news.heads.keys() == {SESSION}
    assert [found for found, _ in news.stopped] == [step]


async def test_all_leases_of_a_process_are_renewed_in_three_trips(journal: Journal, wire: PostgresProxy) -> None:
    claims = [(SESSION.turn("e1").step(0, n), new_token()) for n in range(20)]
    for step, token in claims:
        await journal.claim_call(step, token=token, lease=7.0, wants=[STEPS])
    wire.counted()
    assert await journal.renew_all(claims, lease=7.0) == []
    trips, statements = wire.counted()
    assert trips <= 3, (trips, statements)
