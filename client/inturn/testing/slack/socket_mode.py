"""Slack's side of Socket Mode: envelopes go out by a connection that the app opened, again until they are acknowledged.

Invariant: an envelope that was not acknowledged within three seconds, or whose connection ended, comes again under
another envelope's id, as Slack does it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any, Final

from aiohttp import WSMsgType, web

WITHIN: Final = 3.0
"""Seconds for an acknowledgement."""


class Socket:
    """One app's connections.

    Attributes:
        url: What `apps.connections.open` gives.
        acknowledged: The payloads that were, in order.
        connections: How many were opened so far.
    """

    def __init__(self, within: float = WITHIN) -> None:
        """Wait for acknowledgements so many seconds."""
        self.url = ""
        self.acknowledged: list[dict[str, Any]] = []
        self.connections = 0
        self._within = within
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._open: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()

    async def start(self) -> None:
        """Listen on the loopback."""
        app = web.Application()
        app.router.add_get("/link", self._link)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/link"

    async def stop(self) -> None:
        """End all connections."""
        await self._runner.cleanup()

    async def send(self, payload: dict[str, Any], kind: str = "events_api") -> tuple[int, Any]:
        """Send until it is acknowledged; return how often that was, and what came with it."""
        for attempt in itertools.count(1):
            socket = await self._connected()
            number = f"envelope-{next(self._numbers)}"
            said = {
                "envelope_id": number,
                "type": kind,
                "payload": payload,
                "accepts_response_payload": kind != "events_api",
            }
            answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            try:
                await socket.send_str(json.dumps({**said, "retry_attempt": attempt - 1}))
                async with asyncio.timeout(self._within):
                    told = await answer
                self.acknowledged.append(payload)
                return attempt, told
            except (TimeoutError, ConnectionError):
                continue
            finally:
                del self._waiting[number]
        raise AssertionError("unreachable: attempts go on")

    async def disconnect(self) -> None:
        """End a connection as Slack does: it says so, and opens none itself."""
        socket = await self._connected()
        await socket.send_str(json.dumps({"type": "disconnect", "reason": "refresh_requested"}))
        await self._open.get()
        await socket.close()

    async def _connected(self) -> web.WebSocketResponse:
        while True:
            socket = await self._open.get()
            if not socket.closed:
                self._open.put_nowait(socket)
                return socket

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        await socket.send_str(json.dumps({"type": "hello"}))
        self._open.put_nowait(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                said = json.loads(message.data)
                answer = self._waiting.get(said.get("envelope_id"))
                if answer is not None and not answer.done():
                    answer.set_result(said.get("payload"))
        return socket
