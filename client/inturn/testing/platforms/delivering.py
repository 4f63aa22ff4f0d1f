"""Deliveries as a platform makes them: signed anew each time, and again by its own schedule until they are taken.

Invariant: what was answered with success is never sent again but on purpose; what was not is sent again with the same
ids, as often as the platform does, and then lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx2

Headers = Mapping[str, str]
Sign = Callable[[bytes, int], Headers]
"""Takes the body and the number of the try, from 0; gives the headers."""
MAX_ANSWER: Final = 1 << 20


@dataclass
class Attempt:
    """One try: `status` is 0 where there was no answer in time."""

    status: int
    body: bytes = b""


@dataclass
class Delivered:
    """What became of a delivery."""

    attempts: list[Attempt] = field(default_factory=list[Attempt])

    @property
    def taken(self) -> bool:
        """Whether it was answered with success in the end."""
        return bool(self.attempts) and 200 <= self.attempts[-1].status < 300


@dataclass(frozen=True)
class Deliveries:
    """How a platform delivers.

    Attributes:
        url: Where to.
        sign: Gives a try's headers.
        within: Seconds in which it wants its answer.
        pauses: Seconds before each further try.
        speed: How much faster than really.
    """

    url: str
    sign: Sign
    within: float
    pauses: Sequence[float] = ()
    speed: float = 1.0

    async def deliver(self, body: bytes, *, content_type: str = "application/json") -> Delivered:
        """Deliver until it is taken, or the platform gives up."""
        done = Delivered()
        for number in range(len(self.pauses) + 1):
            if number:
                await asyncio.sleep(self.pauses[number - 1] / self.speed)
            done.attempts.append(await self.attempt(body, number, content_type=content_type))
            if done.taken:
                break
        return done

    async def attempt(self, body: bytes, number: int = 0, *, content_type: str = "application/json") -> Attempt:
        """Try once."""
        headers = {"content-type": content_type, **self.sign(body, number)}
        request = httpx2.Request(
            "POST", self.url, headers=headers, content=body, extensions={"timeout": {"connect": self.within}}
        )
        try:
            async with asyncio.timeout(self.within), httpx2.AsyncHTTPTransport() as transport:
                response = await transport.handle_async_request(request)
                answer = (await response.aread())[:MAX_ANSWER]
                return Attempt(response.status_code, answer)
        except (TimeoutError, httpx2.HTTPError):
            return Attempt(0)
