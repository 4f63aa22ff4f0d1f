"""Exports every run of every session from the server, as JSON files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from temporalio.client import Client

AT_ONCE: Final = 4


async def export(temporal: Client, sessions: Iterable[str], directory: Path) -> int:
    """Write the histories of these workflows; returns how many runs there were."""
    directory.mkdir()
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, session: str) -> int:
        async with places:
            return await _chain(temporal, session, directory, number)

    return sum(await asyncio.gather(*(one(n, session) for n, session in enumerate(sessions))))


async def _chain(temporal: Client, session: str, directory: Path, number: int) -> int:
    run_id: str | None = (await temporal.get_workflow_handle(session).describe()).run_id
    count = 0
    while run_id:
        history = await temporal.get_workflow_handle(session, run_id=run_id).fetch_history()
        text = json.dumps(await asyncio.to_thread(history.to_json_dict), separators=(",", ":"))
        (directory / f"{number:04d}-{run_id}.json").write_text(text)
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id or None
        count += 1
    return count
