"""Whatever bytes come: bounded, answered, and never a 5xx."""

from __future__ import annotations

import asyncio
import json

import pytest

from inturn_gateway import bounds
from tests.support.gateway import Served

POST = "POST /v1/sessions/s/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"events": 1}',
        b'{"events": []}',
        b"\xff\xfe",
        b'"text"',
        b"[1]",
        b"null",
        b'{"events": [{"type": "user.message"}]}',
        b'{"events": [{"type": "nothing"}]}',
        b'{"events": [{"type": "user.message", "content": ""}]}',
        b'{"events": [{"type": "user.message", "content": "\\ud800"}]}',
        b'{"events": [{"type": "user.message", "content": "a", "event_id": "\\ud800"}]}',
        b'{"events": [{"type": "user.message", "content": "a", "metadata": {"\\ud800": NaN}}]}',
        b'{"events": [{"type": "user.message", "content": "a", "sequence": 1e400}]}',
        b'{"events": [{"type": "user.message", "content": "a", "sent_at": ' + b"9" * 5_000 + b"}]}",
        b'{"events": [{"type": "user.message", "content": [{"type": "text", "text": 1, "x": '
        + b"[" * 500
        + b"]" * 500
        + b"}]}]}",
        b'{"events": [{"type": "user.message", "content": [' + b"1," * 400_000 + b"1]}]}",
        b'{"events": [{"type": "user.message", "content": "a", "metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}]}",
        b'{"events": [' + b",".join([b'{"type": "user.message", "content": "a"}'] * 51) + b"]}",
        b'{"events": [{"type": "user.tool_confirmation", "tool_use_id": "\\u0000/\\u0000/use", "result": "allow"}]}',
        b'{"events": [{"type": "inturn.settle", "call": "x", "done": true, "result": '
        + b"[" * 900
        + b"]" * 900
        + b"}]}",
    ],
)
async def test_a_body_that_cannot_be_meant_is_refused(served: Served, keys: dict[str, str], body: bytes) -> None:
    async with served.http(keys["acme"]) as http:
        answer = await http.post("/v1/sessions/s/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 404, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        plain = await http.post("/v1/sessions", content=body, headers={"content-type": "text/plain"})
        assert plain.status_code == 415


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    "path",
    [
        "/v1/sessions/%00",
        "/v1/sessions/%ff%fe/events",
        "/v1/sessions/a%2fb",
        "/v1/sessions/s/events?after=-1",
        "/v1/sessions/s/events?after=99999999999999999999",
        "/v1/sessions/s/events?page=x",
        "/v1/sessions/s/events?limit=0",
        "/v1/sessions/s/events?types[]=" + "&types[]=".join("a" * 60),
        "/v1/sessions/s/turns/%ed%a0%80",
        "/v1/sessions/s/turns/e?wait=nan",
        "/v1/sessions?state=running",
        "/v1/sessions?agent=%27",
        "/v1/nothing",
        "/",
        "/v1/sessions/" + "s" * 5_000,
    ],
)
async def test_a_path_that_cannot_be_meant_is_refused(served: Served, keys: dict[str, str], path: str) -> None:
    async with served.http(keys["acme"]) as http:
        answer = await http.get(path)
        assert answer.is_client_error, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.request("TRACE", "/v1/sessions")).status_code == 405
        streamed = await http.get("/v1/sessions/s/events/stream", headers={"last-event-id": "x; drop"})
        assert streamed.status_code == 422


@pytest.mark.promise("SEC-5")
async def test_a_body_beyond_the_bound_is_refused_before_it_is_read(served: Served, keys: dict[str, str]) -> None:
    head = POST.format(key=keys["acme"])
    told = await served.raw(f"{head}content-length: {bounds.BODY + 1}\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 413 ")
    chunk = b"100001\r\n" + b" " * 0x100001
    grown = await served.raw(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk)
    assert grown.startswith(b"HTTP/1.1 413 ")
    assert json.loads(told.partition(b"\r\n\r\n")[2])["status"] == 413


@pytest.mark.promise("SEC-5")
async def test_what_comes_too_slowly_is_let_go(
    served: Served, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "RECEIVE_WITHIN", 0.2)
    head = POST.format(key=keys["acme"])
    async with asyncio.timeout(10):
        assert (await served.raw(f"{head}content-length: 9\r\n\r\n{{".encode())).startswith(b"HTTP/1.1 408 ")
        assert await served.raw(b"POST /v1/sess") == b""
        assert await served.raw(b"") == b""


@pytest.mark.promise("SEC-5")
async def test_a_head_that_is_too_large_or_no_http_is_refused(served: Served) -> None:
    async with asyncio.timeout(20):
        large = await served.raw(
            b"GET /v1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"
        )
        assert large.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        assert (await served.raw(b"\x16\x03\x01\x00\xff hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_all_of_it_is_published_with_what_it_answers(served: Served, keys: dict[str, str]) -> None:
    async with served.http() as http:
        document = (await http.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in json.dumps(document)
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    assert len(operations) >= 13
    for operation in operations:
        assert operation["security"]
        assert {"401", "403", "404", "413", "422", "429", "503"} <= operation["responses"].keys()
        assert operation["description"]


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize("head", ["host: elsewhere", "host: localhost", "host: localhost\r\norigin: https://x.test"])
async def test_a_connection_is_not_held_by_the_body_of_a_request_that_was_refused(served: Served, head: str) -> None:
    request = f"POST /v1/sessions HTTP/1.1\r\n{head}\r\ncontent-length: 1000\r\n\r\n{{"
    told = await asyncio.wait_for(served.raw(request.encode()), 10)  # until the connection is closed
    assert told.split()[1] in (b"401", b"403", b"421")
