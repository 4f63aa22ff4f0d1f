"""Connections that reach only addresses that were checked.

Invariant: a name is resolved once per connection, every address it has is checked, and the connection goes to one of
these addresses: a second answer of the name server (DNS rebinding) reaches nobody.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

import httpcore2

from inturn.errors import ToolError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host and port."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.88.99.0/24",  # relays to IPv6, given up
        "192.0.0.0/24",
        "64:ff9b:1::/48",  # gateways of one's own to IPv4
        "2001::/23",  # protocols' own
        "3fff::/20",  # documentation
        "5f00::/16",  # segments of routes
        "fec0::/10",  # sites' own, of old
    )
)
"""What no host on the internet has, and Python (of some versions) calls global all the same: the registries of special
addresses grow."""


class Refused(ToolError):
    """The host has an address that tools must not reach."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet, also where it stands inside another one."""
    inner = _inside(address)
    if inner is not None:
        return is_public(inner)
    if any(address.version == network.version and address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for a pool."""

    def __init__(self, resolver: Resolver, allowed: Iterable[Network]) -> None:
        """Reach public addresses, and those in `allowed`."""
        self._resolver = resolver
        self._allowed = tuple(allowed)
        self._below = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check, connect; the addresses in their order, until one answers.

        Raises:
            Refused: One of its addresses is not to be reached.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = [self._checked(host, text) for text in await self._resolver(host, port)]
                return await self._first(host, addresses, port, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"{host} did not answer") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} cannot be found") from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: a socket in the file system is nobody's host.

        Raises:
            Refused: Always.
        """
        raise Refused("sockets in the file system are not to be reached")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _first(
        self, host: str, addresses: Sequence[str], port: int, options: Iterable[Any] | None
    ) -> httpcore2.AsyncNetworkStream:
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._below.connect_tcp(address, port, socket_options=options)
            except httpcore2.ConnectError as error:
                failed = error
        raise failed

    def _checked(self, host: str, text: str) -> str:
        address = ipaddress.ip_address(text.partition("%")[0])
        inner = _inside(address) or address
        if is_public(address) or any(one in network for one in (address, inner) for network in self._allowed):
            return text
        raise Refused(f"{host} has the address {text}, which is not public: it is not to be reached")


def _inside(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 address carries to a gateway."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
