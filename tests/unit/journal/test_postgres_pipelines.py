"""However a transaction ends, its error is raised, and psycopg has nothing to say in the log; and it does end."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from inturn.errors import JournalUnavailable
from inturn.journal.store.postgres import PostgresStore
from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_threads import pipelined
from inturn.journal.store.postgres_transaction import Connection, PostgresTransaction
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

    expected: type[Exception] | tuple[type[Exception], ...] | None = _OfARule if then is _raises else raised
    if first is _fails_ahead and then is _raises:
        expected = (_OfARule, JournalUnavailable)  # as soon as its answer is there
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


def test_a_statement_larger_than_a_network_takes_at_once_is_sent_whole(postgres_server: PostgresServer) -> None:
    size = 2_000_000
    database = postgres_server.create(empty=True)
    with (
        connect(parse(postgres_server.url(database))) as connection,
        _narrow(connection),
        pipelined(connection) as pipe,
    ):
        tx = PostgresTransaction(connection, pipe)
        tx.send("BEGIN")
        sent = tx.send("SELECT length(?::bytea)", (b"x" * size,))
        assert tx.execute("SELECT 1") == [(1,)]
        assert sent.fetchall() == [(size,)]
        tx.send("COMMIT")
    postgres_server.drop(database)


@contextmanager
def _narrow(connection: Connection) -> Iterator[None]:
    """Have the system take little at once for a connection, as it does on a network; end one that hangs."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        hung = threading.Timer(30.0, wire.shutdown, [socket.SHUT_RDWR])
        hung.start()
        try:
            yield
        finally:
            hung.cancel()


def _said(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        line.getMessage() for line in caplog.records if line.name.startswith("psycopg") and line.levelno > logging.DEBUG
    ]
