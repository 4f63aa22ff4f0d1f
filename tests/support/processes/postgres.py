"""A PostgreSQL server for tests, of the programs that the system has installed.

Invariant: it ends with the process that started it, however that one ends; its files lie in a directory of its own.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from psycopg import sql

from inturn.journal.store.postgres_connection import connect
from inturn.journal.store.postgres_tables import prepare
from inturn.journal.store.postgres_transaction import Connection
from inturn.journal.store.postgres_url import parse
from tests.support.processes.server import fixed_port

INSTALL: Final = "PostgreSQL is not installed: apt-get install postgresql (its programs are enough, no server need run)"
USER: Final = "inturn"
_TEMPLATE: Final = "journal"
_FAST: Final = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "shared_buffers": "32MB"}
"""For tests of rules: no test of these pulls the plug."""
_READY_WITHIN: Final = 60.0
"""Seconds; after a crash it reads its log first."""
_GUARDED: Final = '"$@" & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid'
"""The server ends when this shell's input does: with whoever holds the other end."""


def programs() -> Path | None:
    """Return where `INTURN_TEST_POSTGRES` or the newest installed server has its programs; `None`: there are none."""
    if named := os.environ.get("INTURN_TEST_POSTGRES"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class PostgresServer:
    """`with PostgresServer() as server: server.url(server.create())`."""

    def __init__(self, *, settings: dict[str, str] | None = None, directory: Path | None = None) -> None:
        found = programs()
        assert found is not None, INSTALL
        self._programs = found
        self._settings = _FAST if settings is None else settings
        self._made = None if directory else tempfile.TemporaryDirectory(prefix="inturn-postgres-")
        self.directory = directory or Path(self._made.name if self._made else "")
        self.port = fixed_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._template = False

    def start(self) -> PostgresServer:
        """Start it (its database is made at the first time) and wait until it answers."""
        data = self.directory / "data"
        if not data.exists():
            if owner := _owner():
                shutil.chown(self.directory, owner)
            self._run("initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        postgres = [str(self._programs / "postgres"), "-D", str(data), "-k", str(self.directory), "-p", str(self.port)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _GUARDED, "sh", *postgres, *settings],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                **as_owner(),
            )
        deadline = time.monotonic() + _READY_WITHIN
        while subprocess.run(
            self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)), check=False
        ).returncode:
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.05)
        return self

    def stop(self, how: str = "immediate") -> None:
        """End it: `immediate` leaves it to recover, `fast` ends it in good order."""
        process, self._process = self._process, None
        if process is None:
            return
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        process.communicate(timeout=30)

    def __enter__(self) -> PostgresServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self._made:
            self._made.cleanup()

    def connect(self, database: str = "postgres") -> Connection:
        """Connect as the owner of everything, as a journal does."""
        return connect(parse(self.url(database)))

    def url(self, database: str, options: str = "", *, port: int | None = None) -> str:
        """Return the URL of a journal in a database; `port`: of what stands before it."""
        return f"postgresql://{USER}@127.0.0.1:{port or self.port}/{database}{options}"

    def create(self, *, empty: bool = False) -> str:
        """Make a database with the journal's tables, or an empty one; return its name."""
        if not self._template and not empty:
            self._create(_TEMPLATE, "template0")
            with self.connect(_TEMPLATE) as connection:
                prepare(connection)
            self._template = True
        name = f"journal_{secrets.token_hex(6)}"
        self._create(name, "template0" if empty else _TEMPLATE)
        return name

    def drop(self, database: str) -> None:
        """Delete a database, whoever is connected."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def swap(self, first: str, second: str) -> None:
        """Have two databases change names, whoever is connected."""
        with self.closed(first), self.closed(second), self.connect() as connection:
            for old, new in ((first, "aside"), (second, first), ("aside", second)):
                rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
                connection.execute(rename)

    @contextmanager
    def closed(self, database: str) -> Iterator[None]:
        """End all connections to a database, and have it take none."""
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with self.connect() as connection:
            connection.execute(allow.format(sql.Identifier(database), sql.SQL("false")))
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1"
            connection.execute(ended, (database,))
        try:
            yield
        finally:
            with self.connect() as connection:
                connection.execute(allow.format(sql.Identifier(database), sql.SQL("true")))

    def _create(self, name: str, template: str) -> None:
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        with self.connect() as connection:
            connection.execute(command)
        if template == _TEMPLATE:
            with self.connect(name) as connection:  # each journal has an id of its own
                connection.execute("UPDATE journal_schema SET id = md5(random()::text)")

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        return [str(self._programs / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, stdout=subprocess.DEVNULL, **as_owner())


def _owner() -> str | None:
    """Return who the server runs as: it refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def as_owner() -> dict[str, Any]:
    """Return what a program is started with that refuses to run as root."""
    owner = _owner()
    return {} if owner is None else {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "cwd": "/"}
