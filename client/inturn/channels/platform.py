"""Requests to a platform's API. Needs `httpx2`: the extra of the channel.

Invariant: an answer is bounded in size and time, nobody is followed elsewhere, and what is raised holds no address and
no token: an address may be one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from inturn.channels.failures import Refusal, seconds
from inturn.errors import Retry
from inturn.tools.secrets import Secret

MAX_ANSWER: Final = 8 << 20
"""Bytes."""
TIMEOUTS: Final = {"connect": 3.0, "read": 4.5, "write": 3.0, "pool": 3.0}
"""Seconds; the whole request is bounded by the outbox."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a platform answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return its JSON value.

        Raises:
            Refusal: It is none: nobody knows what happened.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refusal("the platform's answer is no JSON", 502) from None

    def object(self) -> dict[str, Any]:
        """Return its JSON object; of anything else an empty one."""
        value = self.json()
        return value if isinstance(value, dict) else {}


class Platform:
    """One platform's API: `https://slack.com/api`.

    A connection serves one request: deliveries are few, and nothing is left open that nobody would close.
    """

    def __init__(self, base: str, token: str | None = None, *, scheme: str = "Bearer") -> None:
        """Ask at an address, with a token where it wants one.

        Raises:
            ValueError: The address is none.
        """
        if not base.startswith(("https://", "http://")):
            raise ValueError(f"{base!r:.80} is no http(s) address")
        self._base = base.rstrip("/")
        self._token = Secret(token) if token else None
        self._scheme = scheme

    async def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Post a JSON value."""
        return await self.ask("POST", path, json.dumps(body).encode(), headers=headers)

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """Get."""
        return await self.ask("GET", path, b"", query=query)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        read: float | None = None,
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            method: In capitals.
            path: Below the address.
            body: JSON, as it is sent.
            query: Fields of the query.
            headers: Further ones.
            read: Seconds to wait for the answer, where the platform answers late on purpose.

        Raises:
            Retry: The platform cannot be reached: nothing happened.
            Refusal: It answered with none of success.
            TimeoutError: It did not answer: nobody knows what happened.
        """
        sent = {"accept-encoding": "identity", "content-type": "application/json; charset=utf-8", **(headers or {})}
        if self._token is not None:
            sent["authorization"] = f"{self._scheme} {self._token.get_secret_value()}"
        url = httpx2.URL(f"{self._base}{path}", params=query) if query else httpx2.URL(f"{self._base}{path}")
        timeouts = TIMEOUTS if read is None else {**TIMEOUTS, "read": read}
        request = httpx2.Request(method, url, headers=sent, content=body or None, extensions={"timeout": timeouts})
        answer = await _exchanged(request)
        if answer.status >= 300:
            said = answer.body[:200].decode(errors="replace")
            raise Refusal(f"{answer.status} {said}", answer.status, seconds(answer.headers.get("retry-after")))
        return answer


async def _exchanged(request: httpx2.Request) -> Answer:
    # The transport itself: a client would write the address to its log.
    failed: Exception
    try:
        async with httpx2.AsyncHTTPTransport() as transport:
            response = await transport.handle_async_request(request)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise Refusal("the platform's answer is too long", 502)
            await response.aclose()
            return Answer(response.status_code, dict(response.headers), bytes(body))
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
        failed = Retry("the platform cannot be reached")
    except httpx2.TimeoutException:
        failed = TimeoutError("the platform did not answer in time")
    except httpx2.HTTPError as error:
        failed = ConnectionError(f"the connection to the platform failed ({type(error).__name__})")
    raise failed
