"""A failover to a standby that had not got everything: what is missing is said, and the session goes on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import psycopg
import pytest

from inturn.errors import JournalUnavailable
from inturn.journal import JournalBehind, Want, open_journal
from tests.support.journal import SESSION, plain_turn
from tests.support.processes.postgres import USER, PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy
from tests.support.waiting import until

Pair = tuple[PostgresServer, PostgresServer, PostgresProxy]


@pytest.fixture
def pair(postgres_server: PostgresServer) -> Iterator[Pair]:
    """A primary, its asynchronous standby, and the wire between them."""
    settings = {"shared_buffers": "32MB"}
    with PostgresServer(settings=settings) as primary, PostgresProxy(primary.port) as wire:
        standby = PostgresServer(settings=settings)
        shutil.chown(standby.directory, primary.directory.owner())
        primary.stop("fast")
        data = standby.directory / "data"
        subprocess.run(["cp", "-a", str(primary.directory / "data"), str(data)], check=True)
        (data / "standby.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settled:
            settled.write(f"primary_conninfo = 'host=127.0.0.1 port={wire.port} user={USER}'\n")
        primary.start()
        with standby:
            yield primary, standby, wire


async def _replicated(pair: Pair, database: str) -> None:
    """Return once the standby has what the primary has."""
    primary, standby, _ = pair

    async def arrived() -> bool:
        return _heads(standby, database) == _heads(primary, database)

    await until(arrived)


def _fail_over(pair: Pair) -> None:
    """Lose the primary, and have its standby take over."""
    primary, standby, _ = pair
    primary.stop()
    with psycopg.connect(host="127.0.0.1", port=standby.port, user=USER, dbname="postgres", autocommit=True) as admin:
        admin.execute("SELECT pg_promote()")


@pytest.mark.promise("SUR-14")
async def test_a_session_whose_last_entries_a_failover_took_says_so_and_goes_on(pair: Pair) -> None:
    primary, standby, wire = pair
    database = primary.create()
    journal = open_journal(f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{database}")
    await plain_turn(journal, SESSION, "e1")
    await _replicated(pair, database)
    wire.__exit__(None, None, None)  # nothing reaches the standby any more
    await plain_turn(journal, SESSION, "e2")
    known = await journal.position(SESSION)
    _fail_over(pair)

    async def behind() -> bool:
        try:
            await journal.check(SESSION, known.identity, known.head)
        except JournalUnavailable:
            return False  # its connections are those of the old primary
        except JournalBehind as error:
            return "ends at entry 5" in str(error) and "inturn journal accept s1" in str(error)
        raise AssertionError("the new primary has not got what the session knows")

    await until(behind)
    assert await journal.accept(SESSION, known.identity, known.head, by="ann")
    assert await journal.check(SESSION, known.identity, known.head)
    await plain_turn(journal, SESSION, "e3")
    [gap] = await journal.read(SESSION, types=["session.gap"])
    assert (gap.body["from"], gap.body["to"]) == (5, known.head)
    assert await journal.verify(SESSION) == []
    await journal.close()


@pytest.mark.promise("SUR-14", "SHR-2")
async def test_a_fence_is_above_those_that_a_failover_took_back_and_the_log_says_when_that_was(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    primary, standby, wire = pair
    database = primary.create()
    journal = open_journal(f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{database}")

    async def locked(event_id: str) -> int:
        step = SESSION.turn(event_id).step(0, 0)
        claim = await journal.claim_call(step, lease=60, wants=[Want("acme", "lock a", "write")])
        await journal.finish(step, claim.token, {"status": "ok"})
        return claim.fence

    await plain_turn(journal, SESSION, "e1")
    fences = [await locked("e1")]
    await _replicated(pair, database)
    wire.__exit__(None, None, None)
    fences += [await locked(f"lost-{n}") for n in range(3)]
    _fail_over(pair)

    async def again() -> bool:
        try:
            fences.append(await locked("e1~1"))
        except JournalUnavailable:
            return False  # its connections are those of the old primary
        return True

    await until(again)
    assert fences == sorted(set(fences))
    await until(lambda: _has_moved(caplog))
    await journal.close()


async def _has_moved(caplog: pytest.LogCaptureFixture) -> bool:
    return any("timeline 2 keeps it now" in text and "timeline 1 did" in text for text in caplog.messages)


def _heads(server: PostgresServer, database: str) -> list[tuple[int]]:
    """Ask a standby, which a journal never does."""
    try:
        with psycopg.connect(host="127.0.0.1", port=server.port, user=USER, dbname=database) as connection:
            return connection.execute("SELECT head FROM sessions").fetchall()
    except psycopg.OperationalError:  # the database is not there yet
        return []
