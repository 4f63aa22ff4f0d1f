"""However a transaction ends, its error is raised, and psycopg has nothing to say in the log."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inturn.errors import JournalUnavailable
from inturn.journal.store.postgres import PostgresStore
from inturn.journal.store.postgres_transaction import PostgresTransaction
from inturn.journal.store.postgres_url import parse
from inturn.journal.store.store import GuardFailed, Transaction
from tests.support.processes.postgres import PostgresServer

_DIE = "SELECT pg_terminate_backend(pg_backend_pid())"


class _OfARule(Exception):
    """What a rule raises."""


@pytest.fixture
async def store(postgres_server: PostgresServer) -> AsyncIterator[PostgresStore]:
    database = postgres_server.create()
    made = PostgresStore(parse(postgres_server.url(database)))
    await made.open()
    yield made
    await made.close()
    postgres_server.drop(database)


def _unmet(tx: Transaction) -> None:
    tx.guard("1 = 0")


def _twice(tx: Transaction) -> None:
    for _ in range(2):
        tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)")


def _dies(tx: Transaction) -> None:
    assert isinstance(tx, PostgresTransaction)
    tx.send(_DIE)


def _fails_ahead(tx: Transaction) -> None:
    tx.ahead([("SELECT number FROM nowhere", ()), ("SELECT 1", ())])


def _nothing(tx: Transaction) -> None:
    """Everything before it went well."""


def _reads(tx: Transaction) -> None:
    tx.execute("SELECT 1")


def _raises(tx: Transaction) -> None:
    raise _OfARule


@pytest.mark.parametrize("then", [_nothing, _reads, _raises])
@pytest.mark.parametrize(
    ("first", "raised"),
    [
        (_unmet, GuardFailed),
        (_twice, JournalUnavailable),
        (_dies, JournalUnavailable),
        (_fails_ahead, JournalUnavailable),
        (_nothing, None),
    ],
)
async def test_the_log_has_no_word_of_how_a_transaction_ended(
    first: Callable[[Transaction], None],
    raised: type[Exception] | None,
    then: Callable[[Transaction], None],
    store: PostgresStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(tx: Transaction) -> None:
        first(tx)
        then(tx)

    expected = _OfARule if then is _raises else raised
    if expected is None:
        await store.write(work)
    else:
        with pytest.raises(expected):
            await store.write(work)
    assert _said(caplog) == []
    assert await store.write(lambda tx: tx.execute("SELECT 1")) == [(1,)]


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_server_that_went_away_is_told_to_the_caller_alone(how: str, caplog: pytest.LogCaptureFixture) -> None:
    with PostgresServer() as server:
        store = PostgresStore(parse(server.url(server.create())))
        await store.write(_reads)
        server.stop(how)
        for work in (store.write, store.read):
            with pytest.raises(JournalUnavailable):
                await work(_reads)
        await store.close()
    assert _said(caplog) == []


def _said(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        line.getMessage() for line in caplog.records if line.name.startswith("psycopg") and line.levelno > logging.DEBUG
    ]
