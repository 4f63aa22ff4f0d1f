"""The Temporal server dies and comes back; nothing accepted is lost and callers that wait get their answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.processes.server import DevServer, fixed_port
from tests.support.rig import Rig


@pytest.mark.promise("ACC-1", "ACC-2")
async def test_an_ask_survives_a_restart_of_the_server_in_the_middle(store: str, tmp_path: Path) -> None:
    server = DevServer(port=fixed_port(), db=tmp_path / "temporal.db")
    await asyncio.to_thread(server.start)
    rig = await Rig(server.address, tmp_path).connect()
    try:
        await asyncio.to_thread(rig.process().start)
        async with rig.client() as client:
            session = client.session("s", agent="support")
            await session.ask("hello", event_id="hello")
            asked = asyncio.create_task(session.ask("[[delay 6]] one two three four", event_id="slow", timeout=100))
            await session.send("behind it", event_id="behind")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            turn = await asked
            assert turn.text.endswith("one two three four")
            assert (await session.wait("behind", timeout=60)).disposition == "applied"
            audit = await session.audit()
            assert audit.ok, audit.differences
            assert audit.accepted == 3
    finally:
        rig.end()
        await asyncio.to_thread(server.stop)
