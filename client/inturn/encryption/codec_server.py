"""The codec server: shows people in the Temporal UI and CLI what is encrypted, and encrypts what they send.

Rules:
  1. Whoever reaches it reads everything, so it listens on loopback, or wants a token.
  2. A browser reaches it from any page: only pages of the origins that were named get an answer, and on loopback only
     calls that name it by a loopback's name.
  3. It serves one namespace; a payload of another one stays shut.
  4. A request has so many bytes and, whole, so many seconds, and so many are served at once: one that comes slowly, or
     not at all, keeps its place no longer.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from inturn.encryption.keys import KeyRing
from inturn.encryption.payload_codec import CLEAR, REFUSED, EncryptionCodec, verdict
from inturn.errors import Misconfigured

MOST: Final = 16 * 1024 * 1024
"""Bytes of a request."""
PAYLOADS: Final = 10_000
"""Of a request: sixteen MiB of empty ones would take a gigabyte."""
WITHIN: Final = 10.0
"""Seconds that a caller has for its whole request, and then for reading the answer."""
AT_ONCE: Final = 16
"""Connections; others are told to come again."""
_FULL: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
WORKFLOW_HEADER: Final = "X-Inturn-Workflow-Id"
"""Binds what is encoded to a workflow; without it, it is bound to the namespace alone."""


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """What a codec server serves, and to whom.

    Attributes:
        ring: The keys.
        namespace: The only one.
        origins: Of pages that may call it: the Temporal UI's.
        token: What callers must show, as `Authorization: Bearer …`.
    """

    ring: KeyRing
    namespace: str
    origins: Collection[str] = ()
    token: str | None = field(default=None, repr=False)


def make_server(host: str, port: int, settings: CodecSettings) -> ThreadingHTTPServer:
    """Return a server that listens; `serve_forever` serves.

    Raises:
        Misconfigured: Everybody could reach it, or it cannot listen there.
    """
    if settings.token is None and not _is_loopback(host):
        raise Misconfigured(
            f"a codec server on {host} shows everything to whoever reaches it: set INTURN_CODEC_TOKEN, or leave it on "
            "127.0.0.1"
        )
    bound = settings

    class Handler(_Handler):
        settings = bound

    try:
        return _Server((host, port), Handler)
    except OSError as error:
        raise Misconfigured(f"the codec server cannot listen on {host}:{port}: {error.strerror}") from error


class _Refusal(Exception):
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Server(ThreadingHTTPServer):
    """Serves so many connections at once, each in a thread."""

    daemon_threads = True
    request_queue_size = 2 * AT_ONCE

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection where there is room."""
        if self._slots.acquire(blocking=False):
            try:
                return super().process_request(request, client_address)
            except BaseException:  # there was no thread for it
                self._slots.release()
                raise
        with suppress(OSError):
            request.settimeout(0)
            request.send(_FULL)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a caller that went away."""


class _Timed(io.RawIOBase):
    """What a caller sends, up to a time."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    settings: CodecSettings
    server_version = "inturn-codec"
    sys_version = ""

    def setup(self) -> None:
        """Begin to read; the whole request has one deadline."""
        super().setup()
        self.rfile = io.BufferedReader(_Timed(self.connection, time.monotonic() + WITHIN))

    def do_OPTIONS(self) -> None:
        """Answer a browser's question whether a page may call."""
        try:
            self._check_caller()
        except _Refusal as refusal:
            return self._answer(refusal.status, {"error": str(refusal)})
        return self._answer(HTTPStatus.NO_CONTENT, None)

    def do_POST(self) -> None:
        """Encode or decode."""
        try:
            self._check_caller()
            self._check_token()
            answer = self._coded(self._read())
        except _Refusal as refusal:
            self.close_connection = True  # its body may not have been read
            return self._answer(refusal.status, {"error": str(refusal)})
        return self._answer(HTTPStatus.OK, answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: what people look at is theirs."""

    def _check_caller(self) -> None:
        origin = self.headers.get("Origin")
        if origin is not None and origin not in self.settings.origins:
            raise _Refusal(HTTPStatus.FORBIDDEN, f"pages of {origin[:200]} may not call: inturn codec --origin")
        host = _split(f"//{self.headers.get('Host', '')}").hostname or ""
        if self.settings.token is None and not _is_loopback(host):
            raise _Refusal(HTTPStatus.FORBIDDEN, "call it as localhost")

    def _check_token(self) -> None:
        if self.settings.token is None:
            return
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.settings.token.encode()):
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "Authorization: Bearer TOKEN is missing, or is another one")

    def _read(self) -> Payloads:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if len(length) > 12 or int(length) > MOST:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST:,} bytes")
        try:
            body = self.rfile.read(int(length))
            if body.count(b"{") > 2 * PAYLOADS + 1:  # each has one, and its metadata one
                raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {PAYLOADS:,} payloads")
            return json_format.Parse(body, Payloads(), max_recursion_depth=20)
        except TimeoutError as error:
            raise _Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the whole request may take {WITHIN:g} s") from error
        except (json_format.Error, ValueError, RecursionError, OSError) as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, 'expected {"payloads": [...]}') from error

    def _coded(self, payloads: Payloads) -> dict[str, object]:
        before, _, verb = _split(self.path).path.rstrip("/").rpartition("/")
        named = self.headers.get("X-Namespace") or before.strip("/") or self.settings.namespace
        if named != self.settings.namespace:
            raise _Refusal(HTTPStatus.FORBIDDEN, f"it serves namespace {self.settings.namespace!r} alone")
        workflow_id = self.headers.get(WORKFLOW_HEADER, "") if verb == "encode" else ""
        codec = EncryptionCodec(self.settings.ring, namespace=named, workflow_id=workflow_id)
        if verb == "encode":
            coded = asyncio.run(codec.encode(payloads.payloads))
        elif verb == "decode":
            coded = [_shown(payload) for payload in asyncio.run(codec.decode(payloads.payloads))]
        else:
            raise _Refusal(HTTPStatus.NOT_FOUND, "POST /encode or /decode")
        return json_format.MessageToDict(Payloads(payloads=coded))

    def _answer(self, status: HTTPStatus, answer: dict[str, object] | None) -> None:
        self.connection.settimeout(WITHIN)
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        origin = self.headers.get("Origin")
        if origin is not None and origin in self.settings.origins:
            for name, value in self._allowed(origin).items():
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _allowed(self, origin: str) -> dict[str, str]:
        asked = " ".join(self.headers.get("Access-Control-Request-Headers", "").split())  # it may be folded
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            "Access-Control-Allow-Headers": asked or "Authorization, Content-Type, X-Namespace",
            "Access-Control-Allow-Private-Network": "true",
            "Vary": "Origin",
        }


def _shown(payload: Payload) -> Payload:
    """Return a payload for people: what cannot be decrypted says why."""
    said, reason = verdict(payload)
    if said and said != CLEAR:
        return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(f"(not decrypted: {reason})").encode())
    if REFUSED in payload.metadata:
        del payload.metadata[REFUSED]
    return payload


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "a host or a path that is none") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
