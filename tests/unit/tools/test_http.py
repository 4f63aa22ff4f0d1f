"""The tool for the web: only hosts on the list, only public addresses, at every hop; bounded; text."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from inturn.errors import Retry, ToolError
from inturn.testing import context
from inturn.tools import Credentials, Granted, Tool, http_get
from inturn.tools.credentials import Asked
from inturn.tools.ready.dialling import is_public

Respond = Callable[[str, dict[str, str]], bytes | None]
LOCAL = ["127.0.0.0/8"]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: loading the system's certificates takes 50 ms


def answer(body: bytes = b"hello", status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; `content_type` gives the header `content-type`."""
    given = {"content-type": "text/plain", "content-length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


class Web:
    """A server on this machine, and a name server that says whatever a test wants."""

    def __init__(self) -> None:
        self.respond: Respond = lambda path, headers: answer()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.names: dict[str, list[Sequence[str]]] = {}
        self.resolved: list[str] = []
        self.tools: list[Tool[..., Any]] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for tool in self.tools:
            await tool.fn.__self__.pools.here().aclose()  # type: ignore[attr-defined]
        self.server.close()
        for writer in self._open:
            writer.close()

    async def resolver(self, host: str, port: int) -> Sequence[str]:
        """Answer once each with what was prepared; the last one stays."""
        self.resolved.append(host)
        answers = self.names.get(host, [["127.0.0.1"]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def tool(self, *hosts: str, **options: Any) -> Tool[..., Any]:
        allow = [f"{host}:{self.port}" for host in hosts or ("shop.example",)]
        values = {"insecure": allow, "private": LOCAL, "resolver": self.resolver, "tls": TLS, **options}
        made = http_get(allow, **values)
        self.tools.append(made)
        return made

    def url(self, path: str = "/", host: str = "shop.example") -> str:
        return f"http://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                break
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            self.asked.append((first.split()[1], headers))
            response = self.respond(first.split()[1], headers)
            if response is None:
                break
            writer.write(response)
        self._open.discard(writer)
        writer.close()


@pytest_asyncio.fixture
async def web() -> AsyncIterator[Web]:
    made = Web()
    await made.start()
    yield made
    await made.stop()


async def get(tool: Tool[..., Any], url: str, **fields: Any) -> str:
    result = tool(url=url, ctx=context(**fields))
    assert isinstance(result, Awaitable)
    return str(await result)


async def test_it_gets_the_text_of_an_allowed_host_over_one_kept_connection(web: Web) -> None:
    tool = web.tool()
    for _ in range(3):
        assert await get(tool, web.url("/a?b=c")) == "hello"
    path, headers = web.asked[0]
    assert path == "/a?b=c"
    assert headers["host"] == f"shop.example:{web.port}"
    assert web.connections == 1
    assert tool.name == "http_get"
    assert tool.idempotent
    assert [p for p in tool.definition()["input_schema"]["properties"]] == ["url"]


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/",
        "https://shop.example.evil/",
        "https://evilshop.example/",
        "https://shop.example@other.example/",
        "https://user:pass@shop.example/",
        "https://shop.example:22/",
        "http://shop.example/",
        "https://org.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
        "file:///etc/passwd",
        "ftp://shop.example/",
        "gopher://shop.example/",
        "//shop.example/",
        "shop.example",
        "https://",
        "",
        "https://shop.example\\@other.example/",
        "https://other.example#@shop.example/",
        "https://shop.example\r\nHost: other/",
    ],
)
async def test_an_address_that_is_not_on_the_list_is_never_connected_to(web: Web, url: str) -> None:
    tool = http_get(["shop.example", "*.org.example"], resolver=web.resolver, private=LOCAL, tls=TLS)
    web.tools.append(tool)
    with pytest.raises(ToolError):
        await get(tool, url)
    assert web.resolved == []


@pytest.mark.parametrize("host", ["a.org.example", "a.b.org.example", "SHOP.example", "shop.example."])
async def test_the_list_takes_what_is_below_a_star_and_any_spelling_of_a_host(web: Web, host: str) -> None:
    tool = web.tool("*.org.example", "shop.example")
    assert await get(tool, web.url(host=host)) == "hello"


@pytest.mark.parametrize("wrong", ["", "*", "*.*.example", "a/b", "user@host", "https://a.example"])
def test_a_list_that_cannot_be_right_is_refused_when_it_is_declared(wrong: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        http_get([wrong])
    with pytest.raises(ValueError, match="hosts are a list"):
        http_get("a.example")


# Addresses are checked when the connection is made.

NOT_PUBLIC = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_an_address_that_is_not_public_is_not_connected_to(web: Web, address: str) -> None:
    web.names["shop.example"] = [[address]]
    with pytest.raises(ToolError, match="not public"):
        await get(web.tool(private=()), web.url())
    web.names["shop.example"] = [["93.184.216.34", address]]
    with pytest.raises(ToolError, match="not public"):
        await get(web.tool(private=()), web.url())
    assert web.connections == 0


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize(
    "address",
    [
        *("fec0::1", "feff::1", "3fff::1", "3fff:fff::1", "192.88.99.1", "192.88.99.255"),
        *("::ffff:192.88.99.1", "64:ff9b::c058:6301", "2002:c058:6301::1"),
        *(
            "5f00::1",
            "2001:db8::1",
            "2001:20::1",
            "2001:2::1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fe80::1",
            "ff0e::1",
        ),
        *("192.0.0.8", "192.0.0.170", "198.18.0.1", "100.64.0.1", "240.0.0.1", "::127.0.0.1", "::"),
    ],
)
def test_special_addresses_of_every_registry_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "192.88.98.255", "192.88.100.0", "2606:2800:220:1::1", "3ffe::1", "2400::1"]
)
def test_addresses_beside_the_special_ones_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address)) == ipaddress.ip_address(address).is_global


@settings(max_examples=200)
@given(address=st.ip_addresses(v=4))
def test_an_address_inside_another_is_as_public_as_it_is_alone(address: ipaddress.IPv4Address) -> None:
    inner = int(address)
    for outer in (f"::ffff:{address}", ipaddress.IPv6Address((0x64FF9B << 96) | inner)):
        assert is_public(ipaddress.ip_address(str(outer))) == is_public(address)


async def test_a_name_that_changes_its_address_after_the_check_reaches_nobody_else(web: Web) -> None:
    """DNS rebinding: the first answer is fine, every later one is the metadata service's."""
    web.names["shop.example"] = [["127.0.0.1"], ["169.254.169.254"]]
    tool = web.tool()
    assert await get(tool, web.url()) == "hello"
    assert web.resolved == ["shop.example"], "it asked the name server again after the check"
    assert await get(tool, web.url()) == "hello"
    web.respond = lambda path, headers: None
    with pytest.raises((Retry, ToolError)):  # the kept connection ends: the next one is checked anew
        await get(tool, web.url())
    with pytest.raises(ToolError, match="not public"):
        await get(tool, web.url())


async def test_the_second_address_is_tried_where_the_first_does_not_answer(web: Web) -> None:
    web.names["shop.example"] = [["127.0.0.9", "127.0.0.1"]]
    assert await get(web.tool(), web.url()) == "hello"


async def test_tls_asks_for_the_hosts_own_certificate_at_the_checked_address(web: Web) -> None:
    hello: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.set_result(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        tool = http_get([f"shop.example:{port}"], resolver=web.resolver, private=LOCAL, tls=TLS)
        web.tools.append(tool)
        with pytest.raises(Retry):
            await get(tool, f"https://shop.example:{port}/")
    assert b"shop.example" in await hello
    assert TLS.check_hostname


# Redirects.


async def test_a_redirect_is_followed_to_allowed_hosts_only(web: Web) -> None:
    web.respond = lambda path, headers: answer(b"there") if path == "/b" else answer(b"", "302 Found", location="/b")
    assert await get(web.tool(), web.url("/a")) == "there"
    for to in ("https://other.example/", "http://127.0.0.1/", "file:///etc/passwd", f"http://other.example:{web.port}"):
        web.respond = lambda path, headers, to=to: answer(b"", "302 Found", location=to)  # type: ignore[misc]
        with pytest.raises(ToolError):
            await get(web.tool(), web.url("/a"))
    assert set(web.resolved) == {"shop.example"}


async def test_a_redirect_to_an_address_that_is_not_public_is_refused(web: Web) -> None:
    web.names["internal.example"] = [["10.0.0.1"]]
    web.respond = lambda path, headers: answer(b"", "302 Found", location=web.url(host="internal.example"))
    with pytest.raises(ToolError, match="not public"):
        await get(web.tool("shop.example", "internal.example"), web.url())


async def test_redirects_come_to_an_end(web: Web) -> None:
    web.respond = lambda path, headers: answer(b"", "302 Found", location="/")
    with pytest.raises(ToolError, match="redirects"):
        await get(web.tool(), web.url())
    assert len(web.asked) == 6


@pytest.mark.promise("SEC-3")
async def test_a_credential_goes_to_its_host_alone(web: Web) -> None:
    async def token(asked: Asked) -> Granted:
        return Granted("canary-token-1234")

    web.respond = lambda path, headers: (
        answer(b"", "302 Found", location=web.url("/b", "other.example")) if path == "/a" else answer(b"there")
    )
    here = f"http://shop.example:{web.port}"
    tool = web.tool("shop.example", "other.example", credentials={here: "shop"})
    assert await get(tool, web.url("/a"), resources=Credentials({"shop": token})) == "there"
    assert [headers.get("authorization") for _, headers in web.asked] == ["Bearer canary-token-1234", None]


@pytest.mark.promise("SEC-3")
@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("http://shop.example:{port}", True),
        ("http://SHOP.example.:{port}", True),
        ("shop.example", False),
        ("shop.example:{port}", False),
        ("https://shop.example:{port}", False),
        ("http://shop.example", False),
        ("http://shop.example:1", False),
        ("http://other.example:{port}", False),
    ],
)
async def test_a_credential_is_bound_to_scheme_host_and_port(web: Web, where: str, sent: bool) -> None:
    async def token(asked: Asked) -> Granted:
        return Granted("canary-token-1234")

    tool = web.tool(credentials={where.format(port=web.port): "shop"})
    assert await get(tool, web.url(), resources=Credentials({"shop": token})) == "hello"
    [(_, headers)] = web.asked
    assert ("authorization" in headers) is sent


@pytest.mark.parametrize("where", ["ftp://shop.example", "https://shop.example/path", "https://u@shop.example", "://x"])
def test_a_credential_for_what_is_no_place_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match=r"is no host|neither https nor http"):
        http_get(["shop.example"], credentials={where: "shop"})


# Answers are bounded, and text.


async def test_a_large_answer_is_cut_and_not_read_to_its_end(web: Web) -> None:
    web.respond = lambda path, headers: answer(b"x" * 1000, content_length="100000000")
    response = await get(web.tool(max_bytes=100), web.url())
    assert response == "x" * 100 + "\n[cut: there is more than 100 bytes]"


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("text/html; charset=utf-8", True),
        ("application/json", True),
        ("application/problem+json", True),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
async def test_only_text_is_taken(web: Web, kind: str, taken: bool) -> None:
    web.respond = lambda path, headers: answer(content_type=kind)
    if taken:
        assert await get(web.tool(), web.url()) == "hello"
    else:
        with pytest.raises(ToolError, match="no text"):
            await get(web.tool(), web.url())


async def test_a_packed_answer_is_refused_rather_than_unpacked_without_bound(web: Web) -> None:
    web.respond = lambda path, headers: answer(content_encoding="gzip")
    with pytest.raises(ToolError, match="packed"):
        await get(web.tool(), web.url())
    assert web.asked[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("charset", ["latin-1", "nonsense", "idna", "base64"])
async def test_any_charset_gives_a_text(web: Web, charset: str) -> None:
    web.respond = lambda path, headers: answer("é".encode("latin-1"), content_type=f"text/plain; charset={charset}")
    assert await get(web.tool(), web.url()) == ("é" if charset == "latin-1" else "\ufffd")


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_what_may_pass_is_tried_again_when_the_server_says(web: Web, status: str) -> None:
    web.respond = lambda path, headers: answer(status=status, retry_after="7")
    with pytest.raises(Retry) as again:
        await get(web.tool(), web.url())
    assert again.value.after == 7


async def test_a_refusal_is_told_and_a_broken_connection_is_tried_again(web: Web) -> None:
    web.respond = lambda path, headers: answer(status="404 Not Found")
    with pytest.raises(ToolError, match="404 Not Found"):
        await get(web.tool(), web.url())
    web.respond = lambda path, headers: None
    with pytest.raises(Retry):
        await get(web.tool(), web.url())
    web.names["shop.example"] = [["127.0.0.9"]]
    with pytest.raises(Retry):
        await get(web.tool(), web.url())
