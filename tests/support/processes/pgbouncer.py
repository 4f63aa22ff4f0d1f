"""A PgBouncer for tests, before a PostgreSQL server.

Invariant: it ends with the test; its files lie in a directory of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.processes.postgres import USER, PostgresServer, as_owner
from tests.support.processes.server import fixed_port

INSTALL: Final = "PgBouncer is not installed: apt-get install pgbouncer"
_READY_WITHIN: Final = 10.0


def program() -> str | None:
    """Return PgBouncer's program (`INTURN_TEST_PGBOUNCER` names another); `None`: there is none."""
    return os.environ.get("INTURN_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def pgbouncer(server: PostgresServer, mode: str, size: int) -> Iterator[int]:
    """Yield the port of a pooler of so many connections to each database."""
    found = program()
    assert found is not None, INSTALL
    with tempfile.TemporaryDirectory(prefix="inturn-pgbouncer-") as directory:
        port = fixed_port()
        settings = Path(directory) / "pgbouncer.ini"
        settings.write_text(_settings(server, port, mode, size))
        options = as_owner()
        if options:
            shutil.chown(directory, options["user"])
        process = subprocess.Popen([found, "-q", str(settings)], stderr=subprocess.DEVNULL, **options)
        try:
            _until_ready(port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _settings(server: PostgresServer, port: int, mode: str, size: int) -> str:
    values = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": size,
    }
    lines = "\n".join(f"{name} = {value}" for name, value in values.items())
    return f"[databases]\n* = host=127.0.0.1 port={server.port} user={USER}\n[pgbouncer]\n{lines}\n"


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
