"""Serving: uvicorn, with bounds of its own and an end that streams hear of.

Invariant: a connection that does not say what it wants within some seconds is closed; SIGTERM ends streams at once and
gives requests that run their time.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from inturn_gateway import bounds

_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 whose requests arrive within a bound."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on, and wait for the rest of a request's head."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        if self._late is not None:
            self._late.cancel()

    def _wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            if self._late is not None:
                self._late.cancel()
                self._late = None
        elif self._late is None:
            self._late = self.loop.call_later(bounds.RECEIVE_WITHIN, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """A server of the gateway; `closing` is set when it begins to end."""

    def __init__(self, app: ASGIApp, closing: asyncio.Event, *, grace: float, host: str = "", port: int = 0) -> None:
        """Make a server.

        Args:
            app: The application.
            closing: What its streams watch.
            grace: Seconds that requests get to finish.
            host: Where it listens, unless it is given sockets.
            port: The same.
        """
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=bounds.KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(grace)),
            h11_max_incomplete_event_size=bounds.HEADERS,
        )
        super().__init__(config)
        self._closing = closing

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """End by SIGINT and SIGTERM while the block runs, and go on behind it: what is open is to be closed."""
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _ENDS:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: streams first."""
        self._closing.set()
        await super().shutdown(sockets)
