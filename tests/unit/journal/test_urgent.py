"""What ends or holds a claim waits for no claim, however many of a process's connections wait for locks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from inturn.journal import Journal
from inturn.journal.store.postgres import PostgresStore
from inturn.journal.store.postgres_url import POOL, parse
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey
from tests.support.journal import SESSION
from tests.support.port_calls import LEASE, PORT
from tests.support.processes.postgres import PostgresServer

ENDING = ("finish_model", "finish_call", "fail", "fail_model", "release", "leave", "record", "record_what_waits")
HOLDING = ("renew", "renew_all")
LOST: StepKey = SESSION.turn("lost").step(0, 0)


@pytest.fixture
async def store(postgres_server: PostgresServer) -> AsyncIterator[PostgresStore]:
    database = postgres_server.create()
    made = PostgresStore(parse(postgres_server.url(database)))
    await made.open()
    await made.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)"))
    yield made
    await made.close()
    postgres_server.drop(database)


async def _within_a_second_of_all_others_waiting(store: PostgresStore, name: str) -> None:
    journal = Journal(store)
    call = await PORT[name](journal) if name in PORT else lambda: journal.renew_all([(LOST, "token")], lease=LEASE)
    held, over = threading.Event(), threading.Event()

    def holds(tx: Transaction) -> None:
        tx.execute(f"SELECT number FROM counters WHERE scope = 'x' {tx.for_update}")
        held.set()
        over.wait(20)

    waiting = [asyncio.create_task(store.write(holds)) for _ in range(2 * POOL)]
    await asyncio.to_thread(held.wait, 10)
    try:
        before = time.monotonic()
        await asyncio.wait_for(call(), 5)
        assert time.monotonic() - before < 1
    finally:
        over.set()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize("name", ENDING)
async def test_a_claim_ends_though_all_others_wait(name: str, store: PostgresStore) -> None:
    await _within_a_second_of_all_others_waiting(store, name)


@pytest.mark.promise("EFF-2")
@pytest.mark.parametrize("name", [*HOLDING, "renew_all of a claim whose row a failover took"])
async def test_a_claim_is_held_though_all_others_wait(name: str, store: PostgresStore) -> None:
    await _within_a_second_of_all_others_waiting(store, name)
