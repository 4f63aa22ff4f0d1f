"""The doctor's look at how soon the server misses a machine that is gone and closed nothing.

Invariant: it says what the server was seen to do: it opens a connection, says nothing on it and waits to be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import time
from typing import Final

from temporalio.service import ConnectConfig, TLSConfig

from inturn.cli.doctor.findings import Finding, fine, warned

PATIENCE: Final = 4.5
"""Seconds to wait for the server's question. With inturn's settings it comes after 3."""
_TAKEN_OVER: Final = 7
"""Seconds from the question that nobody answers to the next turn of a session that was there."""
_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_ACKNOWLEDGED: Final = bytes((0, 0, 0, 4, 1, 0, 0, 0, 0))
_SETTINGS, _PING, _ACK = 4, 6, 1
_ADVICE: Final = (
    'set frontend.keepAliveTime to "3s" and frontend.keepAliveTimeout to "2s" in the server\'s dynamic configuration. '
    "A cluster that is not yours cannot be set so, and behind a load balancer the question ends there: then this stands"
)


async def examine_keepalive(config: ConnectConfig) -> list[Finding]:
    """Return the finding; none where it cannot be seen."""
    try:
        asked = await asked_after(config)
    except (OSError, ValueError, EOFError, TimeoutError):
        return []
    return [judge_keepalive(asked)]


def judge_keepalive(asked: float | None) -> Finding:
    """Return the finding on a server that asked after so many seconds whether somebody is there, or did not."""
    if asked is None:
        found = (
            f"the server does not ask within {PATIENCE:g} s whether a machine is there: one that freezes or is cut off"
        )
        return warned("lost machines", f"{found} keeps its sessions for up to 65 s", _ADVICE)
    about = asked + _TAKEN_OVER
    return fine("lost machines", f"missed after {asked:.0f} s of silence, taken over in about {about:.0f} s")


async def asked_after(config: ConnectConfig) -> float | None:
    """Return after how many seconds of silence the server asks whether somebody is there; `None`: not soon.

    Raises:
        OSError, ValueError, EOFError, TimeoutError: That cannot be seen from here.
    """
    host, _, port = config.target_host.rpartition(":")
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=_context(config.tls))
    try:
        writer.write(_HELLO)
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while True:
                kind, flags = await _frame(reader)
                if kind == _PING and not flags & _ACK:
                    return time.monotonic() - began
                if kind == _SETTINGS and not flags & _ACK:
                    writer.write(_ACKNOWLEDGED)
    except TimeoutError:
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read one frame of HTTP/2; return its type and flags."""
    high, low, kind, flags, _ = struct.unpack(">BHBBI", await reader.readexactly(9))
    await reader.readexactly(high << 16 | low)
    return kind, flags


def _context(tls: bool | TLSConfig | None) -> ssl.SSLContext | None:
    if not tls:
        return None
    context = ssl.create_default_context()
    if isinstance(tls, TLSConfig):
        if tls.client_cert:
            raise ValueError("a certificate is asked for")
        if tls.server_root_ca_cert:
            context.load_verify_locations(cadata=tls.server_root_ca_cert.decode())
        context.check_hostname = tls.domain is None
    context.set_alpn_protocols(["h2"])
    return context
