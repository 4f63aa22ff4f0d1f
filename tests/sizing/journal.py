"""What a turn costs a journal on PostgreSQL: `python -m tests.sizing --journal`.

A worker's own steps run without a server: trips and statements of a turn, counted on the wire, and its rows, bytes and
write-ahead log over ten sessions: figures of docs/cluster.md. None of them depends on how fast the machine is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from inturn import tool
from inturn.keys import SessionKey
from inturn.testing import ToolCall
from inturn_activities.bounds import Bounds
from tests.support.known import Known
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy
from tests.support.steps import StepRunner, rig

SESSIONS: Final = 10
TURNS: Final = 100
WARM: Final = 12
"""Turns after which statements are prepared."""
TEXT: Final = "word " * 98 + "and done!!"
Turn = Callable[[Known, str, str], Awaitable[None]]


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def measure_journal(directory: Path, console: Console) -> None:
    """Run and print all."""
    with PostgresServer(settings={"autovacuum": "off"}) as server, PostgresProxy(server.port) as wire:
        for title, script, turn in (
            ("plain turn", [TEXT], Known.plain),
            ("turn with one call", [ToolCall("add", a=1, b=2), TEXT], Known.with_a_call),
        ):
            name = server.create()
            url = server.url(name, "?pool=1", port=wire.port)
            made = directory / title
            async with rig(
                made, script * SESSIONS * (TURNS + WARM + 1), tools=[add], bounds=Bounds(), url=url
            ) as runner:
                table = Table(title=f"a {title}", title_justify="left", show_header=False)
                for cost, value in (await _costs(runner, turn, server, name, wire)).items():
                    if value:
                        table.add_row(cost, f"{value:,.2f}")
                console.print(table)


async def _costs(
    runner: StepRunner, turn: Turn, server: PostgresServer, name: str, wire: PostgresProxy
) -> dict[str, float]:
    sessions = [Known(runner, SessionKey("acme", f"s{number}")) for number in range(SESSIONS)]
    for session in sessions:
        for number in range(WARM):
            await turn(session, f"warm{number}", TEXT)
    wire.counted()
    await turn(sessions[0], "counted", TEXT)
    trips, statements = wire.counted()
    before = _stored(server, name)
    for session in sessions:
        for number in range(TURNS):
            await turn(session, f"e{number}", TEXT)
    more = {what: (value - before[what]) / (SESSIONS * TURNS) for what, value in _stored(server, name).items()}
    return {"trips": trips, "statements": statements, **more}


def _stored(server: PostgresServer, name: str) -> dict[str, float]:
    """Return rows and bytes, indexes among them, and what the log has got."""
    with server.connect(name) as connection:
        connection.execute("CHECKPOINT")
        connection.execute("VACUUM")
        tables = [
            table
            for (table,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            ).fetchall()
        ]
        found = {"bytes": 0.0, "log bytes": 0.0}
        for table in sorted(tables):
            [(rows,)] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
            [(size,)] = connection.execute(f"SELECT pg_total_relation_size('{table}')").fetchall()
            found[f"rows of {table}"], found["bytes"] = float(rows), found["bytes"] + float(size)
        [(log,)] = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchall()
        return found | {"log bytes": float(log)}
