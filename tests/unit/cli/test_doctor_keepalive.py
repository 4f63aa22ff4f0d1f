"""The doctor sees whether a server asks silent machines whether they are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.service import ConnectConfig, TLSConfig

from inturn.cli.doctor import keepalive
from inturn.cli.doctor.keepalive import asked_after, examine_keepalive

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
PONG = bytes((0, 0, 8, 6, 1, 0, 0, 0, 0)) + bytes(8)
PING = bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + bytes(8)
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@asynccontextmanager
async def listening(*answers: bytes | float | None) -> AsyncIterator[ConnectConfig]:
    """A server that is greeted as HTTP/2 does, and says this; it waits for so many seconds, or (`None`) to be left."""

    ended = list[asyncio.Event]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.Event()
        ended.append(gone)
        assert await reader.readexactly(len(HELLO)) == HELLO
        for answer in answers:
            if isinstance(answer, bytes):
                writer.write(answer)
            elif answer is None:
                await reader.read()
            else:
                await asyncio.sleep(answer)
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield ConnectConfig(target_host=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with asyncio.timeout(10):
            await asyncio.gather(*(connection.wait() for connection in ended))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "PATIENCE", 0.5)


@pytest.mark.promise("SUR-13")
async def test_a_server_that_asks_is_fine() -> None:
    async with listening(SETTINGS, PONG, 0.1, PING, None) as config:
        asked = await asked_after(config)
        [finding] = await examine_keepalive(config)
    assert asked is not None
    assert 0.05 < asked < 0.5
    assert finding.state == "ok"


@pytest.mark.promise("SUR-13")
async def test_a_server_that_does_not_ask_keeps_sessions_for_a_minute_and_the_doctor_says_so() -> None:
    async with listening(SETTINGS, PONG, None) as config:
        [finding] = await examine_keepalive(config)
    assert finding.state == "warn"
    assert "65 s" in str(finding)
    assert "frontend.keepAliveTime" in str(finding)


@pytest.mark.parametrize("answers", [(), (SETTINGS[:5],), (b"HTTP/1.1 400 Bad Request\r\n\r\n",)])
async def test_what_cannot_be_seen_is_no_finding(answers: tuple[bytes, ...]) -> None:
    async with listening(*answers) as config:
        assert await examine_keepalive(config) == []


async def test_nothing_is_guessed_where_the_server_asks_for_a_certificate() -> None:
    tls = TLSConfig(client_cert=b"c", client_private_key=b"k")
    assert await examine_keepalive(ConnectConfig(target_host="127.0.0.1:1", tls=tls)) == []
    assert await examine_keepalive(ConnectConfig(target_host="127.0.0.1:1")) == []
    assert await examine_keepalive(ConnectConfig(target_host="nowhere")) == []
