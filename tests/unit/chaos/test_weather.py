"""A fault of the network waits for somebody whom it can hit."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.campaign import faults
from tests.chaos.campaign.faults import Weather
from tests.chaos.campaign.ground import Ground, Way
from tests.chaos.campaign.witness import Witness
from tests.support.processes.proxy import Proxy
from tests.support.processes.server import DevServer


async def _chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer without being asked, until the other side is gone."""
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def weather(tmp_path: Path) -> AsyncIterator[Weather]:
    server = await asyncio.start_server(_chatter, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy(port) as shared, Proxy(port) as island, Proxy(port) as model, Witness(tmp_path) as witness:
        ground = Ground(DevServer(), lambda lane, port: "")
        ways = Way(shared.address, "", (shared,)), Way(island.address, "", (island,))
        yield Weather(ground, *ways, model, witness, random.Random(3))
    server.close()


@pytest.mark.parametrize("kind", ["reset", "deaf", "cut"])
async def test_who_was_killed_a_moment_ago_is_waited_for(
    kind: str, weather: Weather, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "CUT", (0.01, 0.02))
    doing = asyncio.create_task(weather._do(kind))
    await asyncio.sleep(0)
    proxies = [*weather.shared.proxies, *weather.island.proxies, weather.model]
    hosts = [proxy.address.partition(":") for proxy in proxies]
    links = [await asyncio.open_connection(host, int(port)) for host, _, port in hosts]
    await doing
    weather.witness.faults.close()
    line = json.loads((tmp_path / "faults.jsonl").read_text())
    assert line["kind"] == kind
    assert line["hit"]
    for _, writer in links:
        writer.close()


async def test_what_hits_nobody_says_so(weather: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "CUT", (0.01, 0.02))
    monkeypatch.setattr(faults, "REACHED", 0.05)
    assert await weather._done("cut") == ("a worker", 0)
