"""A journal that moves to another database, of either kind."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from inturn.errors import JournalUnavailable
from inturn.journal import Journal, Want, open_store
from inturn.journal.moving import copying
from inturn.journal.moving.copying import CopyFailed
from inturn.journal.moving.tables import tables
from inturn.journal.state.changes import Operation, Push, Put, Scope
from inturn.journal.store import schema
from inturn.journal.store.sqlite_connection import SqliteTransaction
from inturn.journal.store.store import Store
from inturn.keys import SessionKey
from tests.support.journal import OTHER, SESSION, plain_turn
from tests.support.processes.postgres import PostgresServer

LOCK = Want("acme", "lock", "write")
FOREIGN = SessionKey("umbrella", "s1")


async def _filled(store: Store) -> Journal:
    journal = Journal(store)
    for n in range(12):
        for session in (SESSION, OTHER, FOREIGN):
            await plain_turn(journal, session, f"e{n}", "¡olé! \0 " * n)
    await journal.put_blob(SESSION, os.urandom(1000))
    await journal.put_content(SESSION, "large", {"content": "a" * 10_000})
    await journal.change(Scope("acme"), Put("v", '{"a": [1, 2.5]}', None), Operation())
    await journal.change(Scope("acme"), Push("q", '"item"'), Operation())
    await journal.move_cursor("acme", "mirror", "s1", 7)
    for n in range(3):  # one holds the lock, two wait for it
        await journal.claim_call(SESSION.turn(f"w{n}").step(0, 0), lease=60, wants=[LOCK])
    return journal


async def _numbers(journal: Journal) -> list[int]:
    return [place.number for place in await journal.places("acme")]


def _pair(kind: str, server: PostgresServer, tmp_path: Path) -> tuple[str, str]:
    names = (server.url(server.create()), f"sqlite:///{tmp_path}/a.db")
    return names if kind == "down" else names[::-1]


@pytest.mark.promise("ORD-8")
@pytest.mark.parametrize("kind", ["up", "down"])
async def test_a_journal_moves_whole_and_its_old_place_takes_no_more(
    kind: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    here, there = (open_store(url) for url in _pair(kind, postgres_server, tmp_path))
    journal = await _filled(here)
    database = await here.read(schema.database)
    copied = await copying.copy(here, there, name="the new place")
    assert copied.sessions == 3
    assert copied.rows["entries"] == 3 * (5 + 11 * 4)
    with pytest.raises(JournalUnavailable, match="moved to the new place"):
        await plain_turn(journal, SESSION, "late")
    await here.close()
    with pytest.raises(JournalUnavailable, match=r"the journal was moved\. To do: point to the new place"):
        await here.open()
    moved = Journal(there)
    assert await there.read(schema.database) == database, "what large events refer to is found there"
    await plain_turn(moved, SESSION, "e99")
    waiting = await _numbers(moved)
    await moved.claim_call(SESSION.turn("w9").step(0, 0), lease=60, wants=[LOCK])
    assert max(await _numbers(moved)) > max(waiting), "who came first is first, there as well"
    assert await moved.value(Scope("acme"), "v") == ({"a": [1, 2.5]}, 1)
    for session in (SESSION, OTHER, FOREIGN):
        assert await moved.verify(session) == []
    await there.close()


async def test_a_tenant_moves_alone(postgres_server: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_store(url) for url in _pair("up", postgres_server, tmp_path))
    journal = await _filled(here)
    copied = await copying.copy(here, there, name="there", tenant="acme")
    assert copied.sessions == 2
    assert await Journal(there).head(FOREIGN) == 0
    await plain_turn(journal, FOREIGN, "e99")
    await here.close()
    await there.close()


@pytest.mark.parametrize("fault", ["changed entry", "not empty", "other row"])
async def test_a_copy_that_is_not_the_same_leaves_the_source_in_use(
    fault: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (open_store(url) for url in _pair("up", postgres_server, tmp_path))
    journal = await _filled(here)
    if fault == "changed entry":
        await here.write(lambda tx: tx.execute("UPDATE entries SET body = '{}' WHERE seq = 3 AND session = 's1'"))
    if fault == "not empty":
        await plain_turn(Journal(there), SESSION, "e1")
    if fault == "other row":
        compared = copying._compared

        def disturbed(tx, run, tenant):  # type: ignore[no-untyped-def]
            run(lambda to: to.execute("UPDATE cursors SET seq = seq + 1"))
            return compared(tx, run, tenant)

        monkeypatch.setattr(copying, "_compared", disturbed)
    with pytest.raises(CopyFailed):
        await copying.copy(here, there, name="there")
    await plain_turn(journal, SESSION, "e99")
    if fault != "not empty":
        await there.close()
        with pytest.raises(JournalUnavailable, match="unfinished copy"):
            await there.open()
    await here.close()
    await there.close()


async def test_two_journals_are_compared(postgres_server: PostgresServer, tmp_path: Path) -> None:
    here, there = (open_store(url) for url in _pair("up", postgres_server, tmp_path))
    await _filled(here)
    await copying.copy(here, there, name="there", tenant="acme")
    assert (await copying.compare(here, there, tenant="acme")).sessions == 2
    await there.write(lambda tx: tx.execute("UPDATE outcomes SET stop = 'other' WHERE event_id = 'e3'"))
    with pytest.raises(CopyFailed, match="outcomes"):
        await copying.compare(here, there, tenant="acme")
    await here.close()
    await there.close()


def test_every_table_of_the_schema_is_moved_with_all_its_columns() -> None:
    declared = [text for text in schema.TABLES if text.startswith("CREATE TABLE")]
    assert [table.name for table in tables()] == [text.split()[2] for text in declared]
    connection = sqlite3.connect(":memory:")
    schema.create(SqliteTransaction(connection))
    for table in tables():
        there = connection.execute(f"SELECT name, pk FROM pragma_table_info('{table.name}') ORDER BY cid").fetchall()
        assert list(table.columns) == [name for name, _ in there]
        assert list(table.key) == [name for name, place in sorted(there, key=lambda row: row[1]) if place]
    connection.close()
