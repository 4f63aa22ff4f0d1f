"""The health endpoint, for orchestrators: `/livez` and `/readyz`.

Invariant: `/livez` fails only for what a restart mends (a loop that does not answer, threads that hang and fill the
worker); what is broken elsewhere (server, journal) makes the worker unready, never dead. Probes come unasked and in any
number: the checks run once a second at most.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

Check = Callable[[], Awaitable[object]]

CHECK_TIMEOUT: Final = 2.0
FRESH: Final = 1.0
_REQUEST_TIMEOUT: Final = 5.0


@asynccontextmanager
async def serve_health(
    host: str,
    port: int,
    checks: Mapping[str, Check],
    *,
    alive: Callable[[], str] = str,
    shared: bool = False,
) -> AsyncGenerator[int, None]:
    """Answer probes while the block runs; yields the port (of the system's choice where `port` is 0).

    Args:
        host: The interface to listen on.
        port: The port.
        checks: What must not raise within 2 s for the worker to be ready, by name.
        alive: What only a restart mends, in words; "" for nothing.
        shared: Several processes of one worker listen on the port together; each probe reaches one of them.
    """

    kept = {name: _once_a_while(check) for name, check in checks.items()}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                status, body = await respond(method, target.partition("?")[0], kept, alive)
                writer.write(_http(status, body, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked went away, or speaks no HTTP
        finally:
            writer.close()

    server = await asyncio.start_server(answer, host, port, reuse_port=True if shared else None, limit=8192)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def respond(
    method: str, path: str, checks: Mapping[str, Check], alive: Callable[[], str] = str
) -> tuple[int, dict[str, str]]:
    """Return status and body of the answer to a request."""
    if method not in ("GET", "HEAD"):
        return 405, {"error": "only GET and HEAD"}
    if path == "/livez":
        trouble = alive()
        return (503, {"status": trouble}) if trouble else (200, {"status": "ok"})
    if path != "/readyz":
        return 404, {"error": "there is /livez and /readyz"}
    results = dict(zip(checks, await asyncio.gather(*(_result(check) for check in checks.values())), strict=True))
    return (200 if set(results.values()) <= {"ok"} else 503), results


def _once_a_while(check: Check) -> Check:
    """Return a check that runs once in `FRESH` seconds, whoever asks; meanwhile its last result counts."""
    latest: tuple[float, asyncio.Task[Exception | None]] | None = None

    async def checked() -> None:
        nonlocal latest
        now = time.monotonic()
        if latest is None or now - latest[0] >= FRESH:
            latest = (now, asyncio.create_task(_settled(check)))
        error = await asyncio.shield(latest[1])
        if error is not None:
            raise error

    return checked


async def _settled(check: Check) -> Exception | None:
    """Run a check to its end, and return what it raised: nobody may be left to look."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except Exception as error:
        return error
    return None


async def _result(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT:g} s"
    except Exception as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return "ok"


def _http(status: int, body: Mapping[str, str], *, with_body: bool) -> bytes:
    reason = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + (content if with_body else b"")
