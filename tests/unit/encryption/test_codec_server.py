"""The codec server, spoken to over HTTP as the Temporal UI, the CLI and strangers do."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from inturn.encryption import codec_server
from inturn.encryption.codec_server import AT_ONCE, MOST, PAYLOADS, CodecSettings, make_server
from inturn.encryption.keys import Key, KeyRing
from inturn.encryption.payload_codec import EncryptionCodec, verdict
from inturn.errors import Misconfigured

UI = "http://localhost:8233"
RING = KeyRing((Key("a", b"a" * 32),))
SAID = {"payloads": [{"metadata": {"encoding": base64.b64encode(b"json/plain").decode()}, "data": "ImhpIg=="}]}


@contextmanager
def serving(**settings: Any) -> Iterator[int]:
    given: dict[str, Any] = {"ring": RING, "namespace": "prod", "origins": (UI,), **settings}
    with make_server("127.0.0.1", 0, CodecSettings(**given)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def call(
    port: int, path: str, body: Any = SAID, *, method: str = "POST", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), given)
        answer = connection.getresponse()
        text = answer.read()
    return answer.status, json.loads(text) if text else None, dict(answer.getheaders())


def payload(answer: Any) -> Payload:
    [one] = answer["payloads"]
    metadata = {name: base64.b64decode(value) for name, value in one["metadata"].items()}
    return Payload(metadata=metadata, data=base64.b64decode(one["data"]))


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("prefix", ["", "/prod"])
async def test_what_it_encodes_a_session_reads_and_it_decodes_itself(port: int, prefix: str) -> None:
    status, coded, _ = call(port, f"{prefix}/encode", X_Namespace="prod", X_Inturn_Workflow_Id="acme/s1")
    assert status == 200
    session = EncryptionCodec(RING).with_context(WorkflowSerializationContext("prod", "acme/s1"))
    assert verdict((await session.decode([payload(coded)]))[0])[0] == ""
    other = EncryptionCodec(RING).with_context(WorkflowSerializationContext("prod", "acme/s2"))
    assert verdict((await other.decode([payload(coded)]))[0])[0] == "broken"
    assert call(port, f"{prefix}/decode", coded)[:2] == (200, SAID)


async def test_without_a_workflow_it_binds_to_the_namespace(port: int) -> None:
    _, coded, _ = call(port, "/encode")
    for namespace, said in (("prod", ""), ("test", "broken")):
        codec = EncryptionCodec(RING).with_context(WorkflowSerializationContext(namespace, "acme/s1"))
        assert verdict((await codec.decode([payload(coded)]))[0])[0] == said


def test_what_is_in_clear_comes_back_as_it_is_and_what_is_shut_says_why(port: int) -> None:
    assert call(port, "/decode")[1] == SAID
    with serving(ring=KeyRing((Key("b", b"b" * 32),))) as other:
        coded = call(other, "/encode")[1]
    assert b"not decrypted: it is encrypted with key 'b'" in payload(call(port, "/decode", coded)[1]).data


@pytest.mark.promise("SEC-2")
def test_pages_of_other_origins_and_other_namespaces_are_refused(port: int) -> None:
    assert call(port, "/decode", Origin="https://evil.example")[0] == 403
    assert call(port, "/decode", Host="evil.example")[0] == 403, "a name that was made to point here"
    assert call(port, "/decode", X_Namespace="other")[0] == 403
    assert call(port, "/other/decode")[0] == 403
    status, _, headers = call(
        port, "/decode", b"", method="OPTIONS", Origin=UI, Access_Control_Request_Headers="x-namespace"
    )
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, UI)
    assert headers["Access-Control-Allow-Headers"] == "x-namespace"
    assert call(port, "/decode", b"", method="OPTIONS", Origin="null")[0] == 403


@pytest.mark.promise("SEC-2")
def test_elsewhere_than_on_loopback_it_wants_a_token() -> None:
    with pytest.raises(Misconfigured, match="INTURN_CODEC_TOKEN"):
        make_server("0.0.0.0", 0, CodecSettings(RING, "prod"))
    with serving(token="secret") as port:
        assert call(port, "/decode", Host="codec.example")[0] == 401
        assert call(port, "/decode", Authorization="Bearer other")[0] == 401
        assert call(port, "/decode", Host="codec.example", Authorization="Bearer secret")[0] == 200


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[" * 100_000, 400),
        (b"null", 400),
        (b'{"payloads": 5}', 400),
        (b"\xff\xfe", 400),
        (b"{}", 200),
    ],
)
def test_any_body_gets_an_answer(port: int, body: bytes, status: int) -> None:
    assert call(port, "/decode", body)[0] == status
    assert call(port, "/elsewhere", b"{}")[0] == 404


def test_a_body_that_is_too_large_is_not_read(port: int) -> None:
    assert call(port, "/decode", b"", Content_Length=str(MOST + 1))[0] == 413


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(("count", "status"), [(PAYLOADS, 200), (2 * PAYLOADS + 2, 413)])
def test_more_payloads_than_a_request_may_have_are_not_looked_at(port: int, count: int, status: int) -> None:
    full = b'{"metadata": {"encoding": "YQ=="}}' if status == 200 else b"{}"
    body = b'{"payloads": [' + b",".join([full] * count) + b"]}"
    assert call(port, "/decode", body)[0] == status


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2", "Basic x", "Bearer \xe9"])
@pytest.mark.parametrize("path", ["/decode", "/encode", "/prod/decode"])
def test_no_token_but_its_own_opens_it(given: str, path: str) -> None:
    with serving(token="secret") as port:
        status, answer, headers = call(port, path, Authorization=given, Origin=UI)
        assert (status, set(answer)) == (401, {"error"})
        assert "secret" not in str(answer) + str(headers)
        assert call(port, path, Authorization="Bearer secret", Origin="https://evil.example")[0] == 403
        assert call(port, path, Authorization="Bearer secret", X_Namespace="prod2")[0] == 403


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "localhost.example"])
def test_wherever_others_reach_it_it_wants_a_token(host: str) -> None:
    with pytest.raises(Misconfigured, match="INTURN_CODEC_TOKEN"):
        make_server(host, 0, CodecSettings(RING, "prod"))
    assert "s3cret" not in repr(CodecSettings(RING, "prod", token="s3cret"))


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "TRACE"])
def test_other_methods_show_nothing(port: int, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert spoken(port, f"{method} /decode HTTP/1.1", "Host: localhost").startswith("HTTP/1.0 501")
    assert capfd.readouterr().err == ""


async def test_what_another_workflows_payload_says_is_shown_to_nobody_of_another_namespace(port: int) -> None:
    elsewhere = EncryptionCodec(RING).with_context(WorkflowSerializationContext("test", "acme/s1"))
    [sealed] = await elsewhere.encode([payload(SAID)])
    asked = {"payloads": [json_format.MessageToDict(sealed)]}
    assert b"not decrypted: it is encrypted for another namespace" in payload(call(port, "/decode", asked)[1]).data


def spoken(port: int, *lines: str) -> str:
    """Return what it answers to lines that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join((*lines, "", "{}")).encode("latin-1"))
        return connection.makefile("rb").read().decode("latin-1")


@pytest.mark.promise("SEC-5")
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("POST /decode HTTP/1.1", "Host: localhost", "Content-Length: \u00b2"), 411),
        (("POST /decode HTTP/1.1", "Host: [::1", "Content-Length: 2"), 400),
        (("POST /decode HTTP/1.1", "Host: [x]", "Content-Length: 2"), 400),
        (("OPTIONS /decode HTTP/1.1", "Host: [::1", f"Origin: {UI}"), 400),
        (("POST http://[/decode HTTP/1.1", "Host: localhost", "Content-Length: 2"), 400),
    ],
)
def test_lines_that_are_no_http_are_answered_and_nothing_is_printed(
    port: int, lines: tuple[str, ...], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spoken(port, *lines).startswith(f"HTTP/1.0 {status} ")
    assert capfd.readouterr().err == ""


@pytest.mark.promise("SEC-5")
def test_no_caller_folds_a_header_of_its_own_into_an_answer(port: int) -> None:
    asked = "Access-Control-Request-Headers: a\r\n b: c"
    answer = spoken(port, "OPTIONS /decode HTTP/1.1", "Host: localhost", f"Origin: {UI}", asked)
    assert "Access-Control-Allow-Headers: a b: c\r\n" in answer


HEAD = b"POST /decode HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.promise("SEC-2")
@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(HEAD + b"X-Slow: " + b"x" * 1_000, id="headers"),
        pytest.param(HEAD + b"Content-Length: 1000\r\n\r\n" + b" " * 1_000, id="body"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_request_that_comes_bit_by_bit_is_ended_in_time(monkeypatch: pytest.MonkeyPatch, whole: bytes) -> None:
    """Each piece comes at once: only the whole is late."""
    monkeypatch.setattr(codec_server, "WITHIN", 0.5)
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        began = time.monotonic()
        caller.settimeout(0.02)
        ended, pieces = False, iter(whole)
        while not ended and time.monotonic() < began + 5:
            with suppress(ConnectionError):
                caller.send(bytes(byte for byte in [next(pieces, None)] if byte is not None))
            try:
                ended = not caller.recv(1_000)
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended
        assert time.monotonic() - began < 3


@pytest.mark.promise("SEC-2")
def test_connections_beyond_its_room_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_server, "WITHIN", 5.0)
    with serving() as port, ExitStack() as idle:
        for _ in range(AT_ONCE):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        with socket.create_connection(("127.0.0.1", port), timeout=5) as late:
            assert late.recv(1_000).startswith(b"HTTP/1.0 503")
        idle.close()
        until = time.monotonic() + 5
        status = 0
        while status != 200 and time.monotonic() < until:
            with suppress(ConnectionError, http.client.HTTPException):
                status, _, _ = call(port, "/decode")
        assert status == 200, "their places are free again"


def test_a_connection_for_which_there_is_no_thread_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: Any, **__: Any) -> threading.Thread:
        raise RuntimeError("can't start new thread")

    with serving() as port:
        with monkeypatch.context() as short:
            short.setattr(threading, "Thread", no_thread)
            for _ in range(AT_ONCE + 1):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as caller, suppress(OSError):
                    caller.recv(1)  # it is closed
        assert call(port, "/encode")[0] == 200
