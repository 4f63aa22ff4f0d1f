"""A ready tool that reads from the web.

    from inturn.tools import http_get

    Agent("clerk", model=…, instructions=…, tools=[http_get(["api.example.com", "*.example.org"])])

Invariant: nothing is asked of a host that is not on the list, nor of an address that is not public; this holds for
each redirect anew. What comes back is bounded in size and time, and is text.
"""

from __future__ import annotations

import asyncio
import email.message
import ipaddress
import ssl
import weakref
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Annotated, Any, Final, cast

import httpcore2
import httpx2
from pydantic import Field

from inturn.errors import Retry, ToolError
from inturn.tools.context import ToolContext
from inturn.tools.ready.dialling import CheckedBackend, Network, Resolver, resolve
from inturn.tools.tool import Tool

MAX_BYTES: Final = 24 * 1024
"""Of an answer; below what a result may have in a transcript."""
MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 20
"""Of one tool in one worker; further calls wait for one."""
IDLE: Final = 30.0
"""Seconds that an unused connection is kept."""
MAX_WAIT: Final = 60.0
"""Seconds that a server's Retry-After may put the next attempt off."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_WAITS: Final = {"connect": 5.0, "read": 10.0, "write": 5.0, "pool": 10.0}
"""Seconds; the call's own timeout bounds all of it."""
_TEXT: Final = frozenset({"application/json", "application/xml", "application/javascript", "application/yaml"})

_PORTS: Final = {"https": 443, "http": 80}

Origin = tuple[str, str, int]
"""Scheme, host and port."""
WebAddress = Annotated[str, Field(description="An https:// address", max_length=2_048)]


def http_get(
    allow: Sequence[str],
    *,
    name: str = "http_get",
    insecure: Sequence[str] = (),
    private: Sequence[str] = (),
    credentials: Mapping[str, str] | None = None,
    timeout: float = 20,
    max_bytes: int = MAX_BYTES,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
) -> Tool[..., Any]:
    """Return a tool that gets a text from an address.

    Args:
        allow: The hosts it may ask: `api.example.com`, `*.example.org` (what is below, not itself), `host:8443`.
        name: What the model calls it.
        insecure: Of these hosts, those that may be asked by plain http as well.
        private: Networks that are not public and may be reached all the same: `10.1.0.0/16`.
        credentials: Which of the worker's credentials a host gets as bearer token: `api.example.com`, `host:8443`, or
            `http://host:8080` where it may be asked by plain http. No other host, port or scheme sees it.
        timeout: Seconds a call may take in all, redirects included.
        max_bytes: More of an answer is cut off.
        resolver: Another way to find a host's addresses.
        tls: How servers prove who they are; by the system's certificates, where not given.

    Raises:
        ValueError: A host or network is none.
    """
    getter = _Getter(
        hosts=_Hosts(allow),
        insecure=_Hosts(insecure),
        credentials={_origin(place): credential for place, credential in (credentials or {}).items()},
        max_bytes=max_bytes,
        pools=_Pools(resolver, [ipaddress.ip_network(network) for network in private], tls),
    )
    return Tool(getter.http_get, name=name, timeout=timeout, idempotent=True)


class _Hosts:
    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str):
            raise ValueError(f"hosts are a list: [{patterns!r}]")
        self._exact: set[tuple[str, int | None]] = set()
        self._below: set[tuple[str, int | None]] = set()
        for pattern in patterns:
            kind = self._below if pattern.startswith("*.") else self._exact
            kind.add(_pattern(pattern.removeprefix("*.")))

    def has(self, url: httpx2.URL) -> bool:
        labels = _host(url).split(".")
        above = {(".".join(labels[start:]), url.port) for start in range(1, len(labels))}
        return (_host(url), url.port) in self._exact or not self._below.isdisjoint(above)


class _Pools:
    """One pool of connections for each event loop: in a worker there is one."""

    def __init__(self, resolver: Resolver, private: Sequence[Network], tls: ssl.SSLContext | None) -> None:
        self._resolver = resolver
        self._private = private
        self._tls = tls
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpcore2.AsyncConnectionPool] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> httpcore2.AsyncConnectionPool:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            self._pools[loop] = httpcore2.AsyncConnectionPool(
                ssl_context=self._tls or httpx2.create_ssl_context(),
                max_connections=MAX_CONNECTIONS,
                keepalive_expiry=IDLE,
                network_backend=CheckedBackend(self._resolver, self._private),
            )
        return self._pools[loop]


class _Getter:
    def __init__(
        self, *, hosts: _Hosts, insecure: _Hosts, credentials: Mapping[Origin, str], max_bytes: int, pools: _Pools
    ) -> None:
        self._hosts = hosts
        self._insecure = insecure
        self._credentials = credentials
        self._max_bytes = max_bytes
        self.pools = pools

    async def http_get(self, url: WebAddress, ctx: ToolContext) -> str:
        """Get the text at an address of the web."""
        here = _parsed(url)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._ask(here, ctx)
                if isinstance(answer, str):
                    return answer
                here = answer
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
            raise Retry(f"{here.host}: {type(error).__name__}: {error}") from error
        raise ToolError(f"{url} leads through more than {MAX_REDIRECTS} redirects")

    async def _ask(self, url: httpx2.URL, ctx: ToolContext) -> str | httpx2.URL:
        """Ask once; return the text, or where it was redirected to."""
        self._check(url)
        request = httpcore2.Request(
            "GET",
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=await self._headers(url, ctx),
            extensions={"timeout": _WAITS},
        )
        response = await self.pools.here().handle_async_request(request)
        try:
            return await self._read(url, response)
        finally:
            await response.aclose()

    def _check(self, url: httpx2.URL) -> None:
        if url.scheme not in ("http", "https") or not url.host:
            raise ToolError(f"{str(url)[:200]} is no https:// address")
        if url.userinfo:
            raise ToolError("an address must not hold a user or password")
        if not self._hosts.has(url):
            raise ToolError(f"{url.netloc.decode()} is not among the hosts that may be asked")
        if url.scheme == "http" and not self._insecure.has(url):
            raise ToolError(f"{url.netloc.decode()} may be asked by https:// only")

    async def _headers(self, url: httpx2.URL, ctx: ToolContext) -> list[tuple[str, str]]:
        headers = [("host", url.netloc.decode()), ("accept-encoding", "identity"), ("user-agent", "inturn")]
        credential = self._credentials.get(_origin_of(url))
        if credential is not None:
            secret = await ctx.credentials(credential)
            headers.append(("authorization", f"Bearer {secret.get_secret_value()}"))
        return headers

    async def _read(self, url: httpx2.URL, response: httpcore2.Response) -> str | httpx2.URL:
        headers = httpx2.Headers(response.headers)
        if response.status in _REDIRECTS and "location" in headers:
            return _parsed(headers["location"], url)
        if response.status in _PASSING:
            raise Retry(f"{url.host} answered {response.status}", after=_after(headers))
        if not 200 <= response.status < 300:
            raise ToolError(f"{url.host} answered {response.status} {httpx2.codes.get_reason_phrase(response.status)}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ToolError(f"{url.host} sent the answer packed, though asked not to")
        kind = email.message.Message()
        kind["content-type"] = headers.get("content-type", "text/plain")
        _check_text(url, kind.get_content_type())
        data = await self._bounded(cast("AsyncIterable[bytes]", response.stream))
        text = _decoded(data[: self._max_bytes], kind.get_content_charset() or "utf-8")
        return f"{text}\n[cut: there is more than {self._max_bytes:,} bytes]" if len(data) > self._max_bytes else text

    async def _bounded(self, stream: AsyncIterable[bytes]) -> bytes:
        data = bytearray()
        async for chunk in stream:
            data += chunk
            if len(data) > self._max_bytes:
                break
        return bytes(data)


def _parsed(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    try:
        made = base.join(url) if base is not None else httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise ToolError(f"{url[:200]!r} is no address: {error}") from None
    return made


def _pattern(text: str) -> tuple[str, int | None]:
    try:
        url = httpx2.URL(f"https://{text}")
    except httpx2.InvalidURL as error:
        raise ValueError(f"{text!r} is no host: {error}") from None
    if not url.host or url.raw_path != b"/" or url.userinfo or "*" in url.host:
        raise ValueError(f"{text!r} is no host; it may have a port, and *. in front")
    return _host(url), url.port


def _origin(text: str) -> Origin:
    """Return the one place that a credential is for; by https, where no scheme is given."""
    scheme, found, rest = text.rpartition("://")
    if found and scheme not in _PORTS:
        raise ValueError(f"{text!r} has a scheme that is neither https nor http")
    _pattern(rest)
    return _origin_of(httpx2.URL(f"{scheme or 'https'}://{rest}"))


def _origin_of(url: httpx2.URL) -> Origin:
    return url.scheme, _host(url), url.port or _PORTS.get(url.scheme, 0)


def _host(url: httpx2.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _check_text(url: httpx2.URL, kind: str) -> None:
    if not (kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml", "+yaml"))):
        raise ToolError(f"{url.host} sent {kind}, which is no text")


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, errors="replace")
    except (LookupError, UnicodeError):
        return data.decode(errors="replace")


def _after(headers: httpx2.Headers) -> float | None:
    try:
        return min(max(float(headers["retry-after"]), 0.0), MAX_WAIT)
    except (KeyError, ValueError):
        return None
