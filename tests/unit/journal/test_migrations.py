"""A journal's tables brought to a newer version, with older and newer workers beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn.errors import JournalUnavailable
from inturn.journal import open_journal
from inturn.journal.store import schema
from inturn.journal.store.schema import Migration
from tests.support.journal import SESSION, plain_turn
from tests.support.processes.postgres import PostgresServer
from tests.support.stores import journal_url

NEXT = schema.VERSION + 1
ADDS = ("ALTER TABLE sessions ADD COLUMN planted BIGINT NOT NULL DEFAULT 7", "CREATE TABLE planted (x BIGINT)")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This is the next version, which goes on beside this one."""
    monkeypatch.setattr(schema, "VERSION", NEXT)
    monkeypatch.setattr(schema, "MIGRATIONS", (Migration(NEXT, ADDS, oldest=NEXT - 1),))
    return monkeypatch


def older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "VERSION", NEXT - 1)


@pytest.mark.promise("SUR-8")
async def test_old_and_new_workers_use_a_journal_beside_each_other(
    store: str, tmp_path: Path, newer: pytest.MonkeyPatch
) -> None:
    url = journal_url(tmp_path)
    older(newer)
    running = open_journal(url)
    await plain_turn(running, SESSION, "e1")
    newer.setattr(schema, "VERSION", NEXT)
    if store == "postgres":
        with pytest.raises(JournalUnavailable, match="inturn journal migrate"):
            await open_journal(url).open()
        url += "?migrate=1"
    new = open_journal(url)
    await plain_turn(new, SESSION, "e2")
    await plain_turn(running, SESSION, "e3")
    older(newer)
    late = open_journal(url)
    await plain_turn(late, SESSION, "e4")
    await plain_turn(new, SESSION, "e5")
    planted = await new._store.read(lambda tx: tx.execute("SELECT planted FROM sessions"))
    assert planted == [(7,)]
    assert await new.verify(SESSION) == []
    assert await new.head(SESSION) == 21
    for journal in (running, new, late):
        await journal.close()


@pytest.mark.parametrize(
    "index", ["CREATE INDEX planted ON entries (type)", "create unique index\n planted on steps (token) WHERE call > 0"]
)
def test_a_migration_that_would_build_an_index_while_a_fleet_waits_cannot_be_written(index: str) -> None:
    with pytest.raises(ValueError, match=r"builds an index on (entries|steps) while everybody waits"):
        Migration(NEXT, (*ADDS, index), oldest=NEXT)
    assert Migration(NEXT, (*ADDS, "CREATE INDEX planted_x ON planted (x)"), oldest=NEXT)


async def test_a_version_that_may_not_go_on_beside_a_newer_one_is_refused(
    store: str, tmp_path: Path, newer: pytest.MonkeyPatch
) -> None:
    url = journal_url(tmp_path) + ("?migrate=1" if store == "postgres" else "")
    older(newer)
    first = open_journal(url)
    await first.open()
    await first.close()
    newer.setattr(schema, "VERSION", NEXT)
    newer.setattr(schema, "MIGRATIONS", (Migration(NEXT, ADDS, oldest=NEXT),))
    new = open_journal(url)
    await plain_turn(new, SESSION, "e1")
    await new.close()
    older(newer)
    with pytest.raises(JournalUnavailable, match="upgrade inturn here"):
        await open_journal(url).open()


async def test_an_empty_database_is_filled_by_whoever_may(postgres_server: PostgresServer) -> None:
    database = postgres_server.create(empty=True)
    with postgres_server.connect(database) as owner:
        owner.execute("DROP ROLE IF EXISTS plain")
        owner.execute("CREATE ROLE plain LOGIN")
        url = postgres_server.url(database)
        with pytest.raises(JournalUnavailable, match=r"has not the rights.*inturn journal migrate"):
            await open_journal(url.replace("inturn@", "plain@")).open()
        journal = open_journal(url)
        await journal.open()
        await journal.close()
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain")
    journal = open_journal(url.replace("inturn@", "plain@"))
    await plain_turn(journal, SESSION, "e1")
    await journal.close()
    postgres_server.drop(database)


async def test_a_database_with_other_tables_of_its_names_is_left_alone(postgres_server: PostgresServer) -> None:
    database = postgres_server.create(empty=True)
    with postgres_server.connect(database) as owner:
        owner.execute("CREATE TABLE sessions (id BIGINT)")
    with pytest.raises(JournalUnavailable, match="a database of its own"):
        await open_journal(postgres_server.url(database)).open()
    with postgres_server.connect(database) as owner:
        assert owner.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchall() == [(1,)]
    postgres_server.drop(database)
