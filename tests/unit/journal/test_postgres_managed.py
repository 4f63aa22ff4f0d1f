"""Managed servers refuse to tell which one they are; a journal there works, and says what it cannot know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import sql

from inturn.cli.doctor.database import examine_database
from inturn.journal import Journal, Want, open_journal
from tests.support.journal import SESSION, plain_turn
from tests.support.processes.postgres import USER, PostgresServer

ROLE = "tenant"
REFUSED = ("pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)", "pg_control_system()")


@pytest.fixture(params=REFUSED)
def managed(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a journal whose role may not call a function."""
    name, role = postgres_server.create(), sql.Identifier(ROLE)
    with postgres_server.connect(name) as admin:
        admin.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(sql.SQL(request.param)))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE pg_monitor").format(role))
        for rights in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE ON ALL SEQUENCES"):
            admin.execute(sql.SQL("GRANT {} IN SCHEMA public TO {}").format(sql.SQL(rights), role))
    yield postgres_server.url(name).replace(USER, ROLE, 1)
    postgres_server.drop(name)
    with postgres_server.connect() as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


async def locked(journal: Journal, event_id: str) -> int:
    step = SESSION.turn(event_id).step(0, 0)
    claim = await journal.claim_call(step, lease=60, wants=[Want("acme", "lock a", "write")])
    await journal.finish(step, claim.token, {"status": "ok"})
    return claim.fence


async def test_a_journal_whose_server_does_not_tell_which_it_is_works_and_says_once_what_is_lost(
    managed: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_journal(managed)
    await journal.open()
    await plain_turn(journal, SESSION, "e1")
    assert [await locked(journal, f"l{n}") for n in range(3)] == [1, 2, 3]
    held, waits = (SESSION.turn(event_id).step(0, 0) for event_id in ("held", "waits"))
    first, second = [await journal.claim_call(s, lease=60, wants=[Want("acme", "b", "write")]) for s in (held, waits)]
    assert (first.status, second.status) == ("claimed", "waiting")
    assert await journal.verify(SESSION) == []
    await journal.close()
    [said] = [text for text in caplog.messages if "does not tell which one it is (permission denied" in text]
    assert "a fence may be given twice" in said


async def test_the_doctor_reads_what_else_such_a_server_says(managed: str) -> None:
    found = await examine_database(managed)
    assert [finding.state for finding in found] == ["fail", "warn", "warn"], "its tests' settings are no good ones"
