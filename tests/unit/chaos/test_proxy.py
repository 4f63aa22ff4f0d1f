"""The proxy is as bad as it says and no worse: it never changes a byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.processes.proxy import Proxy
from tests.support.waiting import until

WAIT = 10.0


class Echo:
    """A server that answers each chunk with itself, and keeps what it got."""

    def __init__(self) -> None:
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            self.got += data
            writer.write(data)
        writer.close()

    async def has(self, data: bytes) -> None:
        async def come() -> bool:
            return self.got == data

        await until(come, within=WAIT, every=0.01)


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[tuple[Echo, Proxy]]:
    made = Echo()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield made, proxy
    server.close()


async def connected(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.address.partition(":")
    return await asyncio.open_connection(host, int(port))


async def test_what_goes_in_comes_out(echo: tuple[Echo, Proxy]) -> None:
    reader, writer = await connected(echo[1])
    echo[1].latency = 0.001
    sent = bytes(range(256)) * 1000
    writer.write(sent)
    async with asyncio.timeout(WAIT):
        assert await reader.readexactly(len(sent)) == sent
    writer.close()


async def test_a_reset_reaches_the_client(echo: tuple[Echo, Proxy]) -> None:
    reader, writer = await connected(echo[1])
    writer.write(b"x")
    await reader.readexactly(1)
    assert echo[1].reset() == 1
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(WAIT):
            await reader.readexactly(1)
    writer.close()


async def test_behind_a_hole_nothing_arrives_before_its_end(echo: tuple[Echo, Proxy]) -> None:
    server, proxy = echo
    reader, writer = await connected(proxy)
    async with proxy.hole():
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(1)
        assert server.got == b""
    async with asyncio.timeout(WAIT):
        assert await reader.readexactly(4) == b"late"
    writer.close()


async def test_a_deaf_proxy_lets_the_request_through_and_throws_the_answer_away(echo: tuple[Echo, Proxy]) -> None:
    server, proxy = echo
    reader, writer = await connected(proxy)
    async with proxy.deaf():
        writer.write(b"applied")
        await server.has(b"applied")

        async def dropped() -> bool:
            return proxy.dropped == len(b"applied")

        await until(dropped, within=WAIT, every=0.01)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(WAIT):
            await reader.readexactly(1)
    writer.close()
