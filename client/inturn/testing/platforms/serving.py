"""A platform's API in the running loop, on a free port of the loopback.

Invariant: it is gone when its block ends, and what it refused is told by what it kept, not by a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

READY: Final = 10.0
"""Seconds until it listens, at most."""


class Local:
    """Serves routes: `async with platform:`.

    Attributes:
        url: Its address.
    """

    def __init__(self, routes: Sequence[BaseRoute], *, port: int = 0) -> None:
        """Make it; entering it starts it. Port 0 takes a free one."""
        self._routes = routes
        self._port = port
        self.url = ""

    async def __aenter__(self) -> Self:
        """Start listening."""
        listener = socket.create_server(("127.0.0.1", self._port))
        options = {"log_config": None, "log_level": "critical", "access_log": False, "lifespan": "off"}
        self._server = _Server(uvicorn.Config(Starlette(routes=list(self._routes)), **options))  # type: ignore[arg-type]
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


class _Server(uvicorn.Server):
    """A server that leaves the signals to the program it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
