"""Server-sent events: a session as it happens, to be resumed from the last entry that was seen.

Invariant: `id:` is the seq of a committed entry and nothing else, so `Last-Event-ID` never points into a preview. A
reader that takes nothing is let go, and none is served beyond the bound, the process's end, or its credential's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inturn.values import Delta, Entry
from inturn_gateway import bounds
from inturn_gateway.problems import as_json
from inturn_gateway.v1.outgoing import wire_delta, wire_events

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asked for.

    Attributes:
        inturn: Also the events that only inturn has.
        types: Only events of these types, where there are any.
        deltas: Also previews of answers.
    """

    inturn: bool = False
    types: frozenset[str] = frozenset()
    deltas: bool = False

    def frames(self, new: Entry | Delta) -> bytes:
        """Return what an entry, or a piece of a preview, is to the reader."""
        if isinstance(new, Delta):
            said = wire_delta(new) if self.deltas else None
            return frame(said) if said else b""
        events = [event for event in wire_events(new, inturn=self.inturn) if self._wants(event)]
        if not events or "seq" not in events[-1]:  # the id alone moves on
            return b"".join(map(frame, events)) + f"id: {new.seq}\n\n".encode()
        return b"".join(map(frame, events))

    def _wants(self, event: dict[str, Any]) -> bool:
        return not self.types or event["type"] in self.types


def frame(event: dict[str, Any]) -> bytes:
    """Return an event as the stream has it."""
    seq = event.get("seq")
    head = b"" if seq is None else f"id: {seq}\n".encode()
    return head + f"event: {event['type']}\n".encode() + b"data: " + as_json(event) + b"\n\n"


@dataclass
class Reading:
    """The entries and previews of a session, with a sign of life where nothing comes.

    Attributes:
        news: What comes.
        told: What the reader is sent of it.
        first: Before anything comes.
        last: Once it has ended.
    """

    news: AsyncGenerator[Entry | Delta]
    told: Callable[[Entry | Delta], bytes]
    first: bytes = f"retry: {bounds.RETRY_MILLIS}\n\n".encode()
    last: bytes = b""
    _next: asyncio.Future[Entry | Delta] | None = field(default=None, init=False)

    async def ended(self, within: float) -> bool:
        """Return whether there is nothing (more), as far as that shows within some seconds.

        Raises:
            JournalUnavailable: The journal cannot be read.
        """
        self._next = asyncio.ensure_future(anext(self.news))
        await asyncio.wait({self._next}, timeout=within)
        if not self._next.done():
            return False
        error = self._next.exception()
        if isinstance(error, StopAsyncIteration):
            return True
        if error is not None:
            raise error
        return False

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield what the reader is sent."""
        yield self.first
        while True:
            if self._next is None:
                self._next = asyncio.ensure_future(anext(self.news))
            await asyncio.wait({self._next}, timeout=bounds.PING)
            if not self._next.done():
                yield b": ping\n\n"
                continue
            done, self._next = self._next, None
            try:
                new = done.result()
            except StopAsyncIteration:
                if self.last:
                    yield self.last
                return
            if said := self.told(new):
                yield said

    async def aclose(self) -> None:
        """Read no more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self.news.aclose()


class EventStream(Response):
    """An answer that goes on for as long as there is something to tell, and somebody to take it."""

    media_type = "text/event-stream"

    def __init__(
        self, reading: Reading, counted: AbstractContextManager[None], closing: asyncio.Event, seconds: float
    ) -> None:
        """Make the answer.

        Args:
            reading: What is told; closed when the answer ends.
            counted: Held while it lasts; raises where there are too many.
            closing: Ends it.
            seconds: End it, too.
        """
        super().__init__(None, 200)
        self._reading = reading
        self._counted = counted
        self._closing = closing
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell it."""
        try:
            with self._counted:
                await self._tell(receive, send)
        finally:
            await self._reading.aclose()

    async def _tell(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(each) for each in (self._told(send), _gone(receive), self._closing.wait())
        ]
        try:
            await asyncio.wait(tasks, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if not any(isinstance(end, TimeoutError) for end in ends):  # one that takes nothing is closed without an end
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _told(self, send: Send) -> None:
        async with aclosing(self._reading.frames()) as frames:
            async for said in frames:
                async with asyncio.timeout(bounds.WRITE_WITHIN):
                    await send({"type": "http.response.body", "body": said, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
