"""The doctor's look at the journal's PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from inturn.cli.doctor import database
from inturn.cli.doctor.database import DEAD, Server, examine_database, judge
from inturn.cli.doctor.machine import examine_journal
from tests.support.processes.postgres import PostgresServer

SOUND = Server(
    {
        "autovacuum": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "server_version": "15",
        "synchronous_standby_names": "",
    },
    standbys=2,
    synchronous=1,
    oldest=1.0,
    dead=None,
    which="system 1, timeline 1",
)


def test_a_server_that_is_set_up_well_is_fine() -> None:
    assert [finding.state for finding in judge(SOUND)] == ["ok", "ok", "ok"]


@pytest.mark.promise("SUR-14")
@pytest.mark.parametrize(
    ("server", "says"),
    [
        (replace(SOUND, settings=SOUND.settings | {"fsync": "off"}), "a crash of the machine may take"),
        (replace(SOUND, synchronous=0), "2 standbys, none synchronous: a failover takes back"),
        (replace(SOUND, synchronous=0, standbys=0), "no standby"),
        (replace(SOUND, which=None), "it does not tell its timeline"),
        (replace(SOUND, oldest=400.0), "open for 400 s"),
        (replace(SOUND, settings=SOUND.settings | {"autovacuum": "off"}), "autovacuum is off"),
        (replace(SOUND, dead=("places", DEAD + 1)), "places has 100001 dead rows"),
    ],
)
def test_what_may_cost_commits_or_time_is_said_with_what_to_do(server: Server, says: str) -> None:
    [finding] = [finding for finding in judge(server) if finding.state != "ok"]
    assert says in finding.found
    assert finding.to_do


@pytest.mark.parametrize("function", re.findall(r"pg_\w+(?=\()", database._WHICH))
def test_each_function_that_tells_the_timeline_is_named_where_it_is_refused(function: str) -> None:
    [finding] = [finding for finding in judge(replace(SOUND, which=None)) if finding.state != "ok"]
    assert function in str(finding.to_do)


async def test_a_real_server_is_looked_at_and_one_without_fsync_is_a_failure(postgres_server: PostgresServer) -> None:
    url = postgres_server.url(postgres_server.create())
    assert (await examine_journal(url, "acme")).state == "ok"
    kept, failover, vacuum = await examine_database(url)
    assert (kept.state, failover.state, vacuum.state) == ("fail", "warn", "warn"), (
        "its tests' settings are no good ones"
    )
    assert "fsync" in kept.found
    assert await examine_database("sqlite:///x.db") == await examine_database(None) == []


async def test_a_transaction_that_was_forgotten_is_found(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "OLD_SNAPSHOT", 0.0)
    name = postgres_server.create()
    with postgres_server.connect(name) as forgotten:
        forgotten.execute("BEGIN")
        forgotten.execute("SELECT 1")
        found = await examine_database(postgres_server.url(name))
        assert "a transaction has been open" in found[2].found
        forgotten.execute("ROLLBACK")


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize(
    "url", ["postgresql://u:can@ry%/@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?password=can@ry%25/"]
)
async def test_the_doctor_shows_no_password(url: str) -> None:
    found = await examine_journal(url, "acme")
    assert found.state == "fail"
    assert "postgresql://" in found.found
    assert not {"can", "ry%", "ry%25", "password="} & set(found.found.replace("/", " ").split())
    assert "can@ry" not in found.found
    assert "ry%" not in found.found
