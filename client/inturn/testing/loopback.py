"""A server in the running loop, on a port of the loopback.

Invariant: it listens once its block begins, and is gone when its block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Final, Literal, Self

import uvicorn
from starlette.applications import Starlette

READY: Final = 10.0
"""Seconds until it listens, at most."""


class Server(uvicorn.Server):
    """A server that leaves the signals to the program it runs in, and says nothing."""

    def __init__(self, app: Starlette, *, ws: Literal["auto", "none"] = "auto") -> None:
        """Make it of an application; `ws`: whether it takes WebSockets."""
        config = uvicorn.Config(app, log_config=None, log_level="critical", access_log=False, lifespan="off", ws=ws)
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class Loopback:
    """Runs a server while its block runs: `async with server:`.

    Attributes:
        url: Its address.
    """

    def __init__(self, make: Callable[[], Server], *, port: int = 0) -> None:
        """Make it; entering it starts what `make` returns. Port 0 takes a free one."""
        self._make = make
        self._port = port
        self.url = ""

    async def __aenter__(self) -> Self:
        """Start listening."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._server = self._make()
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with asyncio.timeout(READY):
            while not self._server.started:
                if self._serving.done():
                    await self._serving
                await asyncio.sleep(0.001)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.should_exit = True
        await self._serving
