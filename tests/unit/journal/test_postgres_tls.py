"""Encryption to PostgreSQL: the server proves who it is, and what does not is refused with what to do."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inturn.errors import JournalUnavailable, Misconfigured
from inturn.journal import open_journal
from inturn.journal.store.postgres_url import parse
from tests.support.journal import SESSION, plain_turn
from tests.support.processes.postgres import PostgresServer


def _certificate(directory: Path, name: str, host: str) -> Path:
    """Make a certificate that vouches for itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    files = [
        "-addext",
        f"subjectAltName=DNS:{host}",
        "-keyout",
        f"{directory}/{name}.key",
        "-out",
        f"{directory}/{name}.crt",
    ]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return directory / f"{name}.crt"


@pytest.fixture
def tls_server(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[tuple[PostgresServer, Path]]:
    """A server with a certificate for `localhost`, and that certificate."""
    server = PostgresServer()
    with server:
        certificate = _certificate(tmp_path, "server", "localhost")
        data = server.directory / "data"
        for name in ("server.crt", "server.key"):
            shutil.copy(tmp_path / name, data / name)
            shutil.chown(data / name, data.owner())
            (data / name).chmod(0o600)
        with server.connect() as admin:
            admin.execute("ALTER SYSTEM SET ssl = on")
            admin.execute("SELECT pg_reload_conf()")
        yield server, certificate


@pytest.mark.promise("SEC-2")
async def test_a_server_is_believed_by_its_certificate_and_no_other(
    tls_server: tuple[PostgresServer, Path], tmp_path: Path
) -> None:
    server, certificate = tls_server
    other = await asyncio.to_thread(_certificate, tmp_path, "other", "localhost")
    url = server.url(server.create()).replace("127.0.0.1", "localhost")
    journal = open_journal(f"{url}?sslmode=verify-full&sslrootcert={certificate}")
    await plain_turn(journal, SESSION, "e1")
    used = await journal._store.read(lambda tx: tx.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    assert used == [(True,)]
    await journal.close()
    for host, root in (("localhost", other), ("127.0.0.1", certificate)):
        wrong = f"{url.replace('localhost', host)}?sslmode=verify-full&sslrootcert={root}"
        with pytest.raises(JournalUnavailable, match=r"did not prove who it is.*sslrootcert=FILE"):
            await open_journal(wrong).open()


@pytest.mark.promise("SEC-2")
def test_a_host_that_is_not_this_machine_has_to_prove_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert parse("postgresql://u@db.example.com/x").parameters["sslmode"] == "verify-full"
    assert parse("postgresql://u@10.0.0.7,localhost/x").parameters["sslmode"] == "verify-full"
    assert parse("postgresql://u@db/x?sslmode=require").parameters["sslmode"] == "require"
    for local in ("localhost", "127.0.0.1", "[::1]", "%2Fvar%2Frun%2Fpostgresql", ""):
        assert "sslmode" not in parse(f"postgresql://u@{local}/x").parameters
    for unsafe in ("prefer", "allow"):
        with pytest.raises(Misconfigured, match=f"sslmode={unsafe}.*To do: leave it away"):
            parse(f"postgresql://u@db.example.com/x?sslmode={unsafe}")
    monkeypatch.setenv("PGSSLMODE", "prefer")
    with pytest.raises(Misconfigured, match="sslmode=prefer"):
        parse("postgresql://u@db.example.com/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:pw@h:5433/db", {"user": "u", "password": "pw", "host": "h", "port": "5433", "dbname": "db"}),
        ("postgres://u:p%40q@h/db", {"password": "p@q"}),
        ("postgresql://u:p@q@h/db", {"password": "p@q", "host": "h"}),
        ("postgresql://u:100%@h/db", {"password": "100%"}),
        ("postgresql://u:a/b:c@h/db", {"password": "a/b:c", "host": "h"}),
        ("postgresql://h1:1,h2:2/db", {"host": "h1,h2", "port": "1,2"}),
        ("postgresql://u@[::1]:5/db", {"host": "::1", "port": "5"}),
        ("postgresql:///db?host=/run/pg&user=me", {"host": "/run/pg", "user": "me", "dbname": "db"}),
        ("postgresql://u@h/db?password=s@t", {"password": "s@t", "host": "h"}),
    ],
)
def test_a_url_is_read_as_people_write_it(url: str, expected: dict[str, str]) -> None:
    address = parse(url)
    assert {name: address.parameters.get(name) for name in expected} == expected
    if password := address.parameters.get("password"):
        assert password not in address.name
        assert password not in repr(address)


def test_a_url_sets_the_pool_and_what_a_pooler_needs() -> None:
    plain = parse("postgresql://u@h/db")
    assert (plain.pool, plain.prepare, plain.migrate) == (8, True, False)
    other = parse("postgresql://u@h/db?pool=3&prepare=off&migrate=1")
    assert (other.pool, other.prepare, other.migrate) == (3, False, True)
    assert not {"pool", "prepare", "migrate"} & other.parameters.keys()
