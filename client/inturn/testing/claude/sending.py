"""Sending an answer, with the fault that is due.

Invariant: the exchange's end is marked before the last bytes leave, and a client that goes away ends it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inturn.testing.claude.errors import error_body, error_type
from inturn.testing.claude.faults import Fault
from inturn.testing.claude.log import Exchange
from inturn.testing.claude.streaming import encode


class ConnectionCut(Exception):
    """Makes the HTTP server close the connection without an end of the body."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes, and the seconds to wait before they are sent; `None` waits until the client leaves."""

    data: bytes
    pause: float | None = 0.0


def paced(parts: Sequence[bytes], delay: float) -> list[Chunk]:
    """Spread parts over a time; without one they are a single chunk."""
    if not delay:
        return [Chunk(b"".join(parts))]
    return [Chunk(part, delay / len(parts)) for part in parts]


def broken(chunks: Sequence[Chunk], fault: Fault, request_id: str) -> list[Chunk]:
    """Return the chunks that a fault lets through."""
    at = fault.place(sum(len(chunk.data) for chunk in chunks))
    before, after = _split(chunks, at)
    if fault.kind == "stall":
        rest = b"".join(chunk.data for chunk in after)
        return [*before, Chunk(rest, fault.seconds)]
    if fault.kind == "error":
        status = fault.status if "status" in fault.model_fields_set else 529
        kind = fault.type or error_type(status)
        boundary = b"".join(chunk.data for chunk in before).rfind(b"\n\n") + 2
        whole, _ = _split(chunks, boundary if boundary > 1 else 0)
        return [*whole, Chunk(encode({**error_body(kind, fault.message or "Overloaded", request_id)}))]
    return before


class Sending(Response):
    """A response that is sent in chunks."""

    def __init__(
        self,
        exchange: Exchange,
        chunks: Sequence[Chunk],
        headers: dict[str, str],
        *,
        fault: Fault | None,
        closing: asyncio.Event,
    ) -> None:
        """Make a response; `closing` ends it early when the server stops."""
        super().__init__(None, 200, headers)
        del self.headers["content-length"]
        self._exchange = exchange
        self._chunks = chunks
        self._fault = fault
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until the end, the client's leaving, or the server's stop."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        closing = asyncio.ensure_future(self._closing.wait())
        tasks: list[asyncio.Future[object]] = [sending, leaving, closing]  # type: ignore[list-item]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished = sending.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._exchange.end("aborted", 200)
        if not finished or (self._fault and self._fault.kind == "reset"):
            raise ConnectionCut
        sending.result()

    async def _send(self, send: Send) -> None:
        if self._fault and self._fault.kind == "hang":
            await _pause(self._fault.seconds)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for number, chunk in enumerate(self._chunks):
            await _pause(chunk.pause)
            if number == len(self._chunks) - 1:
                self._exchange.end("faulted" if self._fault else "completed", 200)
            await send({"type": "http.response.body", "body": chunk.data, "more_body": True})
        self._exchange.end("faulted" if self._fault else "completed", 200)
        if self._fault and self._fault.kind == "reset":
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _split(chunks: Sequence[Chunk], at: int) -> tuple[list[Chunk], list[Chunk]]:
    before: list[Chunk] = []
    after: list[Chunk] = []
    for chunk in chunks:
        if head := chunk.data[: max(0, at)]:
            before.append(Chunk(head, chunk.pause))
        if tail := chunk.data[max(0, at) :]:
            after.append(Chunk(tail, chunk.pause))
        at -= len(chunk.data)
    return before, after


async def _pause(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    elif seconds:
        await asyncio.sleep(seconds)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
