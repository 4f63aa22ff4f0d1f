"""Servers and gateways as they should not be, byte by byte: what the provider says of them, over either transport."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import pytest

from inturn.errors import ModelError
from inturn.models import ModelMessage, ModelRequest
from inturn_activities.model.claude import Claude
from tests.support.steps import WAIT

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 7}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "grüß 😀"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]
STREAM = "".join(f"event: {e['type']}\ndata: {json.dumps(e, ensure_ascii=False)}\n\n" for e in EVENTS).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
OPEN = HEAD + b"connection: close\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
BROKEN = STREAM[: STREAM.index(b"message_delta")]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """Serve each connection so; gives the address."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def asked(reader: asyncio.StreamReader) -> None:
    """Read a request to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)


def answering(*parts: bytes | float) -> Serve:
    """Answer with these bytes; a number is a pause in seconds."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)

    return serve


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and nothing of the request."""
    await asyncio.sleep(WAIT)


async def ask(claude: Claude, text: str = "hi", **fields: object) -> ModelMessage:
    said = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    request = ModelRequest(model="m", system="", messages=said, **fields)  # type: ignore[arg-type]
    async with asyncio.timeout(WAIT):
        return await claude.respond(request, lambda *piece: None)


@asynccontextmanager
async def provider(url: str, http: httpx2.AsyncClient | None = None, stall: float = 0.2) -> AsyncIterator[Claude]:
    claude = Claude(api_key="test", base_url=url, stall_timeout=stall, http_client=http)
    try:
        yield claude
    finally:
        await claude.aclose()


TRANSPORTS: dict[str, Callable[[], httpx2.AsyncClient | None]] = {
    "aiohttp": lambda: None,
    "httpx": anthropic.DefaultAsyncHttpxClient,
}

BAD = {
    "closes at once": (answering(), "outage", None),
    "speaks no HTTP": (answering(b"SSH-2.0-OpenSSH_9\r\n\r\n"), "outage", None),
    "has no end of its headers": (answering(HEAD), "outage", None),
    "is silent": (answering(WAIT), "outage", None),
    "is silent behind its headers": (answering(OPEN, WAIT), "outage", None),
    "is silent in the body of an error": (
        answering(b"HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\n{", WAIT),
        "outage",
        None,
    ),
    "ends in the middle": (answering(OPEN + BROKEN), "outage", 7),
    "ends in the middle of a character": (answering(OPEN + STREAM.partition(b"\x9f")[0]), "outage", 7),
    "is cut in the middle of a chunk": (answering(CHUNKED + chunk(BROKEN) + b"ff\r\nda"), "outage", 7),
    "names no size of a chunk": (answering(CHUNKED + chunk(BROKEN), 0.1, b"zz\r\n"), "outage", 7),
    "promises more than it sends": (answering(HEAD + b"content-length: 9999\r\n\r\n" + BROKEN), "outage", 7),
    "stalls in the middle": (answering(OPEN + BROKEN, WAIT), "outage", 7),
    "is no gzip": (answering(HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + STREAM), "outage", None),
    "sends what is no UTF-8": (answering(OPEN + STREAM.replace(b"\xc3", b"\xff")), "outage", 7),
    "sends no JSON": (answering(OPEN + BROKEN + b"data: {]\n\n"), "outage", 7),
    "overloads in the middle": (
        answering(OPEN + BROKEN + b'data: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
        "outage",
        7,
    ),
    "sends a page": (answering(b"HTTP/1.1 403 No\r\ncontent-length: 6\r\n\r\n<html>"), "account", None),
    "takes nothing": (deaf, "outage", None),
}

GOOD = {
    "in one piece": answering(OPEN + STREAM),
    "in chunks of a byte": answering(
        CHUNKED + b"".join(chunk(STREAM[n : n + 1]) for n in range(len(STREAM))) + chunk(b"")
    ),
    "with lines that end in CRLF": answering(OPEN + STREAM.replace(b"\n", b"\r\n")),
    "with lines that end in CR, comments and a BOM": answering(
        OPEN + b"\xef\xbb\xbf: hi\r\r" + STREAM.replace(b"\n", b"\r")
    ),
    "packed": answering(HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(STREAM)),
    "and never ends the connection": answering(CHUNKED + chunk(STREAM), WAIT),
    "and cuts the connection off": answering(CHUNKED + chunk(STREAM), 0.1, b"zz\r\n"),
    "and an error behind it": answering(OPEN + STREAM + b'data: {"type":"error"}\n\n'),
    "slowly": answering(
        CHUNKED, *(x for n in range(0, len(STREAM), 28) for x in (0.06, chunk(STREAM[n : n + 28]))), chunk(b"")
    ),
}


@pytest.mark.promise("MOD-3", "SUR-4")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", BAD)
async def test_a_server_that(transport: str, case: str) -> None:
    serve, kind, paid = BAD[case]
    counted: list[int] = []
    async with serving(serve) as url, provider(url, TRANSPORTS[transport]()) as claude:
        with pytest.raises(ModelError) as failed:
            await ask(
                claude,
                "x" * 8_000_000 if case == "takes nothing" else "hi",
                on_usage=lambda u: counted.append(u.input_tokens),
            )
    assert failed.value.kind == kind
    assert (max(counted, default=0) or None) == paid  # an attempt that had begun is paid


@pytest.mark.promise("MOD-3")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", GOOD)
async def test_an_answer_that_is_whole_counts(transport: str, case: str) -> None:
    # Slowly is longer than the stall in all; no pause is near it, on a busy machine either.
    async with serving(GOOD[case]) as url, provider(url, TRANSPORTS[transport](), stall=1.0) as claude:
        message = await ask(claude)
    assert message.content == [{"type": "text", "text": "grüß 😀"}]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)
