"""What every request passes before anything looks at it: its host, its origin, its size, its time.

Invariant: a body is read whole, within its bounds, before a handler runs; and whatever a handler raises becomes a
problem document.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inturn_gateway import bounds
from inturn_gateway.auth.door import LOOPBACK
from inturn_gateway.problems import Problem

logger = logging.getLogger("inturn.gateway")
_BY_ANY_NAME: Final = ("/livez", "/readyz", "/hooks/")
"""What an orchestrator calls by whatever name it has for this; and what has a proof of its own, whoever relays it."""


@dataclass
class Screen:
    """The application behind its bounds.

    Attributes:
        app: The application.
        hosts: Names by which it may be called, beside those of this machine; `*`: any.
        origins: Origins of pages that may call what takes credentials.
        body: The bytes that a request for a path may have.
        admit: Lets a request's caller in, before its body is read; raises where it may not.
    """

    app: ASGIApp
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    body: Callable[[str], int] = lambda path: bounds.BODY
    admit: Callable[[str, Scope], Awaitable[None]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), False
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope, headers)
            if self.admit is not None:
                await self.admit(_path(scope), scope)
            received = await _received(headers, receive, self.body(_path(scope)))
            unread = False
            await self.app(scope, _again(received, receive), sending)
        except Exception as error:
            problem = Problem.of(error)
            if problem.status == 500:
                logger.exception("a request failed")
            if not started:
                response = problem.response(scope["path"])
                if unread:
                    response.headers["connection"] = "close"  # nobody waits for the rest of it
                await response(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > bounds.HEADERS:
            raise Problem(400, "the headers are too large", kind="headers_too_large")
        if "*" not in self.hosts and not _path(scope).startswith(_BY_ANY_NAME):
            named = headers.getlist("host")
            if len(named) != 1 or _hostname(named[0]) not in (*LOOPBACK, *self.hosts):
                raise Problem(421, "this host is not one that is served here (INTURN_GATEWAY_HOSTS)")
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin") if origin is None else True
        if foreign and origin not in self.origins:
            raise Problem(403, "pages of this origin may not call this (INTURN_GATEWAY_ORIGINS)", kind="origin")


def _path(scope: Scope) -> str:
    """Return the path as this application has it, which may be mounted in another one."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _hostname(value: str) -> str | None:
    try:
        return urlsplit(f"//{value}").hostname
    except ValueError:
        return None


async def _received(headers: Headers, receive: Receive, most: int) -> bytes:
    """Return the body.

    Raises:
        Problem: 413, it is too large; 408, it came too slowly; 400, it was cut off.
    """
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > most):
        raise Problem(413, f"a request to this path has at most {most:,} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.RECEIVE_WITHIN):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "the request was cut off")
                body += message.get("body", b"")
                if len(body) > most:
                    raise Problem(413, f"a request to this path has at most {most:,} bytes")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Problem(408, f"the request did not arrive within {bounds.RECEIVE_WITHIN:g} s") from None


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, then what comes behind it."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving
