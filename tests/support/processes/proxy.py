"""A TCP proxy that a test can make as bad as a network gets.

Invariant: bytes that pass are never changed or reordered: a connection is slow, silent or gone, as TCP allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final, Self

_CHUNK: Final = 64 * 1024


class Proxy:
    """In front of a port of the loopback: `async with Proxy(7233) as proxy: proxy.address`.

    Attributes:
        latency: Seconds by which each chunk is late, in both directions.
        passed: Connections made so far; `links` are open.
        cut: Connections that were reset.
        dropped: Bytes of answers that were thrown away.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._deaf = False
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self.latency = 0.0
        self.passed = self.cut = self.dropped = 0
        self.address = ""

    @property
    def links(self) -> int:
        """Connections that are open."""
        return len(self._links)

    def reset(self) -> int:
        """Reset every connection; returns how many."""
        links = list(self._links)
        for link in links:
            link.abort()
        self.cut += len(links)
        return len(links)

    @contextlib.asynccontextmanager
    async def hole(self) -> AsyncIterator[None]:
        """Pass nothing through in either direction; connections stay open, and afterwards all arrives late."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextlib.asynccontextmanager
    async def deaf(self) -> AsyncIterator[None]:
        """Pass requests through and throw the answers away; what lost some is reset at the end."""
        self._deaf = True
        try:
            yield
        finally:
            self._deaf = False
            self.reset()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        self._open.set()
        self.reset()
        while self._links:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        self.passed += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            link.writers.append(back)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, back, answers=False))
                pumps.create_task(self._pump(there, writer, answers=True))
        except* OSError:  # nobody listens, or one side is gone: so is the other
            pass
        finally:
            self._links.discard(link)
            link.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(_CHUNK):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._open.wait()
            if answers and self._deaf:
                self.dropped += len(data)
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one side has ended the connection")


class _Link:
    """The two ends of a connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]

    def abort(self) -> None:
        """Reset both ends: what was not delivered is lost."""
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
