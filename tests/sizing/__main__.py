"""What a turn costs each part of a cluster: `python -m tests.sizing [--sessions N] [--turns N | --journal]`.

Plain turns by `send` (a message and a reply of 500 characters), then one turn of ten seconds of every session at once,
on the cluster of `make test-cluster` with two worker processes. It prints CPU, transactions, bytes and connections by
part: the figures of docs/cluster.md.

Invariant: it judges nothing. CPU is the kernel's count of each process, whoever else was on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.machine import cpu_seconds
from inturn import Client
from tests.sizing.journal import measure_journal
from tests.support.processes.cluster import Cluster
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.server import WorkerProcess

QUEUE: Final = "sizing"
WORKERS: Final = 2
TEXT: Final = "word " * 98  # the reply repeats it
STEP: Final = "[[delay 10]] " + "word " * 40
DATABASE: Final = {"max_connections": "250", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}
ENVIRONMENT: Final = {"INTURN_LIMITS_MAX_STEPS": "none", "INTURN_LOG_LEVEL": "warning"}


@dataclass
class Parts:
    """The processes of a cluster and what they have used so far."""

    cluster: Cluster
    databases: Mapping[str, PostgresServer]
    workers: list[WorkerProcess] = field(default_factory=list)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU by part."""
        used = {"worker": sum(cpu_seconds(worker.pid) for worker in self.workers)}
        used |= {f"Temporal {name}": cpu_seconds(pid) for name, pid in self.cluster.pids.items()}
        used |= {f"PostgreSQL, {name}": _tree(server) for name, server in self.databases.items()}
        return used | {"client": time.process_time()}

    def stored(self) -> dict[str, float]:
        """Bytes, write-ahead log, transactions and connections of each database."""
        found: dict[str, float] = {}
        for name, server in self.databases.items():
            with server.connect("postgres") as connection:
                connection.execute("CHECKPOINT")
                found[f"{name}: bytes"] = _one(connection, "SELECT sum(pg_database_size(oid)) FROM pg_database")
                found[f"{name}: log bytes"] = _one(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'")
                found[f"{name}: transactions"] = _one(connection, "SELECT sum(xact_commit) FROM pg_stat_database")
                found[f"{name}: connections"] = _one(
                    connection, "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )
        return found


async def measure(directory: Path, sessions: int, turns: int, console: Console) -> None:
    """Run and print all."""
    with ExitStack() as stack:
        databases = {name: PostgresServer(settings=DATABASE) for name in ("Temporal", "journal")}
        for server in databases.values():
            await asyncio.to_thread(stack.enter_context, server)
        cluster = Cluster(directory, databases["Temporal"])
        await asyncio.to_thread(stack.enter_context, cluster)
        journal = databases["journal"].url(databases["journal"].create())
        parts = Parts(cluster, databases)
        for number in range(WORKERS):
            log = directory / f"worker-{number}.log"
            worker = WorkerProcess(
                cluster.address, QUEUE, journal, "tests.support.agents.agents:agents", env=ENVIRONMENT, log=log
            )
            parts.workers.append(stack.enter_context(worker))
        async with Client(cluster.address, tenant="acme", task_queue=QUEUE, journal=journal) as client:
            names = [f"s{n}" for n in range(sessions)]
            before = parts.stored()
            await asyncio.gather(*(_turns(client, name, "first", 1, TEXT) for name in names))
            _show(console, "first turns", sessions, 0.0, {}, _more(parts.stored(), before))
            for title, count, text in (("plain turns", turns, TEXT), ("turns of 10 s", 1, STEP)):
                stored, used, began = parts.stored(), parts.cpu(), time.monotonic()
                await asyncio.gather(*(_turns(client, name, str(len(text)), count, text) for name in names))
                seconds, used = time.monotonic() - began, _more(parts.cpu(), used)
                _show(console, title, sessions * count, seconds, used, _more(parts.stored(), stored))
            console.print({name: value for name, value in parts.stored().items() if "connections" in name})


async def _turns(client: Client, name: str, title: str, count: int, text: str) -> None:
    session = client.session(name, agent="support")
    for n in range(count):
        await session.send(text, event_id=f"{title}-{n}")
        await session.wait(f"{title}-{n}", timeout=300)


def _show(
    console: Console, title: str, count: int, seconds: float, cpu: Mapping[str, float], stored: Mapping[str, float]
) -> None:
    rate = f", {count / seconds:.0f}/s" if seconds else ""
    table = Table(title=f"{count} {title}{rate}: each", title_justify="left", show_header=False)
    for name, used in cpu.items():
        table.add_row(name, f"{1000 * used / count:.2f} ms CPU")
    for name, value in stored.items():
        if "connections" not in name:
            table.add_row(name, f"{value / count:,.1f}")
    console.print(table)


def _tree(server: PostgresServer) -> float:
    """CPU of a database's processes, of those that have ended, too."""
    head = int((server.directory / "data" / "postmaster.pid").read_text().split()[0])
    fields = Path(f"/proc/{head}/stat").read_text().rpartition(")")[2].split()
    ended = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{head}/task/{head}/children").read_text().split()
    return ended + sum(cpu_seconds(int(child)) for child in children)


def _more(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in now.items()}


def _one(connection: Any, query: str) -> float:
    return float(connection.execute(query).fetchone()[0])


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.sizing", description="What a turn costs each part.")
    parser.add_argument("--sessions", type=int, default=100, help="at once (default: 100)")
    parser.add_argument("--turns", type=int, default=15, help="that each has, plain (default: 15)")
    parser.add_argument("--journal", action="store_true", help="what a turn costs the journal alone, and no time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inturn-sizing-") as directory:
        if args.journal:
            asyncio.run(measure_journal(Path(directory), Console()))
        else:
            asyncio.run(measure(Path(directory), args.sessions, args.turns, Console()))


if __name__ == "__main__":
    main()
