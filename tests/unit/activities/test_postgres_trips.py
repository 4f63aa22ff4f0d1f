"""What a worker's own turns cost on the wire to PostgreSQL, with all that its steps ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inturn import tool
from inturn.testing import ToolCall
from inturn_activities.bounds import Bounds
from tests.support.journal import SESSION
from tests.support.known import Known
from tests.support.processes.postgres import PostgresServer
from tests.support.processes.postgres_proxy import PostgresProxy
from tests.support.steps import rig

WARM = 12
"""Turns after which statements are prepared."""


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(autouse=True)
def _on_both() -> None:
    """Run once: it is about the one store."""


# Of a turn with a call, 12 are the step's that asks for it and the call's own; the rest is the next answer's.
@pytest.mark.parametrize(
    ("answers", "turn", "most_trips", "most_statements"),
    [(["fine"], Known.plain, 4, 30), ([ToolCall("add", a=1, b=2), "fine"], Known.with_a_call, 18, 90)],
)
async def test_a_turn_costs_no_more_than_was_promised(
    answers: Sequence[Any],
    turn: Any,
    most_trips: int,
    most_statements: int,
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> None:
    with PostgresProxy(postgres_server.port) as wire:
        url = postgres_server.url(postgres_server.create(), "?pool=1", port=wire.port)
        async with rig(tmp_path, [*answers] * (WARM + 2), tools=[add], bounds=Bounds(), url=url) as runner:
            session = Known(runner, SESSION)
            for number in range(WARM):
                await turn(session, f"warm{number}", "hi")
            wire.counted()
            await turn(session, "e1", "hi")
            trips, statements = wire.counted()
    assert trips <= most_trips, (trips, statements)
    assert statements <= most_statements, (trips, statements)
