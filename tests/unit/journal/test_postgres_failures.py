"""The store on PostgreSQL when its server, its network or its neighbours fail: nothing is lost, and each says why."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, NewEntry, Recorded, open_journal
from inturn.journal.store import postgres
from inturn.journal.store.postgres import PostgresStore
from inturn.journal.store.postgres_url import parse
from inturn.journal.store.store import Transaction
from tests.chaos.campaign import disk as disks
from tests.support.journal import SESSION, plain_turn
from tests.support.processes.postgres import USER, PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy
from tests.support.waiting import until

CANARY = "s3cr@t%/:zz"
QUOTED = "s3cr%40t%25%2F%3Azz"


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create()
    yield name
    postgres_server.drop(name)


@pytest_asyncio.fixture
async def store(postgres_server: PostgresServer, database: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(parse(postgres_server.url(database)))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop; what it acknowledged is on the disk."""
    with PostgresServer(settings={"shared_buffers": "32MB"}) as server:
        yield server


def note(key: str, **body: Any) -> list[Recorded]:
    return [Recorded(NewEntry("system.message", body, key=key))]


def _is(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return condition()

    return asked


async def _insist(journal: Journal, key: str, troubles: list[str]) -> None:
    """Record until that works, and note what went wrong meanwhile."""
    while True:
        try:
            await journal.record(SESSION, note(key))
            return
        except JournalUnavailable as error:
            troubles.append(str(error))


@pytest.mark.promise("SUR-8")
@pytest.mark.parametrize("how", ["immediate", "fast"])
async def test_a_server_that_is_stopped_and_started_loses_nothing(how: str, own_server: PostgresServer) -> None:
    journal = open_journal(own_server.url(own_server.create()))
    sent, troubles, over = 0, list[str](), asyncio.Event()

    async def producer() -> None:
        nonlocal sent
        while not over.is_set():
            await _insist(journal, f"k{sent}", troubles)
            sent += 1

    running = asyncio.create_task(producer())
    await until(_is(lambda: sent > 20))
    await asyncio.to_thread(own_server.stop, how)
    await until(_is(lambda: bool(troubles)))
    await asyncio.to_thread(own_server.start)
    back = sent
    await until(_is(lambda: sent > back + 20))
    over.set()
    await running
    assert len([entry async for entry in journal.entries(SESSION)]) == sent
    assert await journal.verify(SESSION) == []
    assert all("To do: " in trouble and "postgresql://inturn@" in trouble for trouble in troubles)
    await journal.close()


@pytest.mark.promise("SUR-8")
async def test_idle_connections_that_a_restart_broke_cost_no_caller_anything(own_server: PostgresServer) -> None:
    journal = open_journal(own_server.url(own_server.create()))
    await asyncio.gather(*(journal.record(SESSION, note(f"a{n}")) for n in range(16)))
    await asyncio.to_thread(own_server.stop, "fast")
    await asyncio.to_thread(own_server.start)
    await asyncio.gather(*(journal.record(SESSION, note(f"b{n}")) for n in range(16)))
    assert await journal.head(SESSION) == 32
    await journal.close()


@pytest.mark.promise("SUR-8")
async def test_a_commit_whose_answer_is_lost_is_told_and_not_run_again(
    postgres_server: PostgresServer, database: str
) -> None:
    with PostgresProxy(postgres_server.port) as wire:
        journal = open_journal(postgres_server.url(database, port=wire.port))
        await plain_turn(journal, SESSION, "e1")
        wire.lose = lambda answer: b"COMMIT\0" in answer
        with pytest.raises(JournalUnavailable, match=r"the connection broke|cannot be reached"):
            await journal.record(SESSION, note("k"))
        wire.lose = None
        assert await journal.head(SESSION) == 6, "it was committed"
        await journal.record(SESSION, note("k"))
        assert await journal.head(SESSION) == 6
        await journal.close()


async def test_a_connection_that_breaks_before_its_commit_is_replaced(
    postgres_server: PostgresServer, database: str
) -> None:
    with PostgresProxy(postgres_server.port) as wire:
        journal = open_journal(postgres_server.url(database, port=wire.port))
        await journal.record(SESSION, note("a"))
        wire.cut()
        await journal.record(SESSION, note("b"))
        assert await journal.head(SESSION) == 2
        await journal.close()


@pytest.mark.promise("SUR-8")
async def test_a_server_that_takes_no_writes_says_so_and_the_next_primary_is_found(
    postgres_server: PostgresServer, database: str
) -> None:
    journal = open_journal(postgres_server.url(database))
    await journal.record(SESSION, note("a"))
    with postgres_server.connect() as admin:
        admin.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [database])
        with pytest.raises(JournalUnavailable, match=r"takes no writes.*To do: point to the primary"):
            await journal.record(SESSION, note("b"))
        admin.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    await _insist(journal, "b", [])
    assert await journal.head(SESSION) == 2
    await journal.close()


async def test_a_server_without_a_connection_left_says_what_to_set(
    postgres_server: PostgresServer, database: str
) -> None:
    with postgres_server.connect() as admin:
        admin.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    url = postgres_server.url(database).replace(USER, "crowded")
    with pytest.raises(JournalUnavailable, match=r"no connection left.*max_connections.*pool="):
        await open_journal(url).open()


@pytest.mark.promise("SUR-8")
async def test_a_full_disk_says_so_and_what_was_refused_is_recorded_once_there_is_room(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "SIZE", 24 << 20)
    # Not pytest's own directory: each run of it takes the server's right to enter that away again.
    with tempfile.TemporaryDirectory() as place, disks.small_disk(Path(place) / "disk") as disk:
        Path(place).chmod(0o755)
        if disk is None:
            pytest.skip("mounting is not allowed here")
        shutil.chown(disk.path, "postgres")
        database = postgres_server.create(empty=True)
        with postgres_server.connect() as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
            admin.execute(f"ALTER DATABASE {database} SET TABLESPACE small")
        journal = open_journal(postgres_server.url(database))
        await journal.record(SESSION, note("a", text="a" * 100))
        disk.fill()
        with pytest.raises(JournalUnavailable, match=r"disk is full.*To do: free space"):
            await journal.put_blob(SESSION, os.urandom(10_000_000))
        disk.free()
        await journal.record(SESSION, note("b"))
        assert await journal.verify(SESSION) == []
        await journal.close()
        postgres_server.drop(database)
        with postgres_server.connect() as admin:
            admin.execute("DROP TABLESPACE small")


@pytest.mark.promise("SUR-8")
async def test_a_worker_that_freezes_within_a_transaction_gives_its_locks_back(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "TIMEOUTS", postgres.TIMEOUTS | {"idle_in_transaction_session_timeout": "200ms"})
    frozen, thaw, runs = threading.Event(), threading.Event(), list[int]()

    def freezes(tx: Transaction) -> None:
        runs.append(1)
        _lock(tx, "x")
        if len(runs) == 1:
            frozen.set()
            thaw.wait(20)

    await store.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)"))
    waiting = asyncio.create_task(store.write(freezes))
    await asyncio.to_thread(frozen.wait, 10)
    before = time.monotonic()
    await store.write(lambda tx: _lock(tx, "x"))
    assert time.monotonic() - before < 3
    thaw.set()
    with pytest.raises(JournalUnavailable):
        await waiting
    assert len(runs) == 1, "nobody knows whether it was committed, and so it is told"


@pytest.mark.promise("SUR-8")
async def test_two_transactions_that_lock_each_other_out_are_run_again(store: PostgresStore) -> None:
    await store.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('a', 0), ('b', 0)"))
    both, runs = threading.Barrier(2), list[str]()

    def crossing(first: str, second: str) -> Any:
        def work(tx: Transaction) -> None:
            runs.append(first)
            _lock(tx, first)
            if len(runs) <= 2:
                both.wait(10)
            _lock(tx, second)
            tx.execute("UPDATE counters SET number = number + 1 WHERE scope = ?", (first,))

        return work

    await asyncio.gather(store.write(crossing("a", "b")), store.write(crossing("b", "a")))
    assert len(runs) > 2
    found = await store.read(lambda tx: tx.execute("SELECT number FROM counters ORDER BY scope"))
    assert found == [(1,), (1,)]


async def test_who_waits_too_long_for_a_lock_or_a_statement_tries_again_and_then_says_so(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"lock_timeout": "50ms", "statement_timeout": "100ms"}
    monkeypatch.setattr(postgres, "TIMEOUTS", postgres.TIMEOUTS | short)
    monkeypatch.setattr(postgres, "URGENT_TIMEOUTS", postgres.TIMEOUTS)
    held, done = threading.Event(), threading.Event()
    await store.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)"))

    def holds(tx: Transaction) -> None:
        _lock(tx, "x")
        held.set()
        done.wait(10)

    holder = asyncio.create_task(store.write(holds, urgent=True))
    await asyncio.to_thread(held.wait, 10)
    with pytest.raises(JournalUnavailable, match="held a lock for too long"):
        await store.write(lambda tx: _lock(tx, "x"))
    waiter = asyncio.create_task(store.write(lambda tx: _lock(tx, "x")))
    done.set()
    await asyncio.gather(holder, waiter)
    with pytest.raises(JournalUnavailable, match="took too long"):
        await store.read(lambda tx: tx.execute("SELECT pg_sleep(5)"))


@pytest.mark.promise("EFF-2")
async def test_claims_that_wait_for_a_lock_leave_room_for_who_renews(store: PostgresStore) -> None:
    await store.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)"))
    held, done = threading.Event(), threading.Event()

    def holds(tx: Transaction) -> None:
        _lock(tx, "x")
        held.set()
        done.wait(20)

    claims = [asyncio.create_task(store.write(holds if n == 0 else lambda tx: _lock(tx, "x"))) for n in range(20)]
    await asyncio.to_thread(held.wait, 10)
    before = time.monotonic()
    await store.write(lambda tx: tx.execute("SELECT 1"), urgent=True)
    assert time.monotonic() - before < 1
    done.set()
    await asyncio.gather(*claims)


def _lock(tx: Transaction, scope: str) -> None:
    tx.execute(f"SELECT number FROM counters WHERE scope = ? {tx.for_update}", (scope,))


async def test_a_rule_that_raises_leaves_nothing_and_a_usable_connection(store: PostgresStore) -> None:
    def raises(tx: Transaction) -> None:
        tx.execute("INSERT INTO counters (scope, number) VALUES ('x', 0)")
        raise ValueError("no")

    for _ in range(10):
        with pytest.raises(ValueError, match="no"):
            await store.write(raises)
    assert await store.read(lambda tx: tx.execute("SELECT * FROM counters")) == []


async def test_a_statement_that_failed_unseen_is_no_commit(store: PostgresStore) -> None:
    with pytest.raises(JournalUnavailable):
        await store.write(lambda tx: tx.execute("INSERT INTO counters (scope, number) VALUES ('x', NULL)"))
    assert await store.read(lambda tx: tx.execute("SELECT * FROM counters")) == []


@pytest.mark.promise("SEC-2")
async def test_no_error_shows_a_password(postgres_server: PostgresServer, database: str, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    urls = [
        f"postgresql://{USER}:{password}@{where}"
        for password in (CANARY, QUOTED)
        for where in (
            f"127.0.0.1:1/{database}",
            f"127.0.0.1:{postgres_server.port}/nowhere",
            "no-such-host.invalid/x",
            "host:port/x",
            "a b/x",
            f"127.0.0.1:{postgres_server.port}/{database}?sslmode=wrong",
            f"127.0.0.1:{postgres_server.port}/{database}?nonsense=1",
            f"127.0.0.1:{postgres_server.port}/{database}?pool=many",
            "db.example.com/x?sslmode=prefer",
            f"127.0.0.1:1/x?password={QUOTED}",
        )
    ]
    for url in urls:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await open_journal(url).open()
        shown, error = list[str](), caught.value
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
        for secret in (CANARY, QUOTED, "s3cr", "%/:zz"):
            assert secret not in " ".join(shown), (url, shown)
            assert secret not in caplog.text
    assert CANARY not in repr(parse(urls[0]))
    assert parse(urls[0]).parameters["password"] == parse(urls[10]).parameters["password"] == CANARY
