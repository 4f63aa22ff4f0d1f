"""The gateway, served by a real server on the loopback, with a client whose Temporal is a list."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Self
from urllib.parse import unquote

import httpx2
from fastapi import FastAPI
from starlette.types import ASGIApp

from inturn import Client
from inturn.client.listing import Sessions
from inturn.client.session import Session
from inturn.errors import SessionNotFound
from inturn.events import Content, Event
from inturn.keys import SessionKey
from inturn.values import Audit, Parked, PendingApproval, Receipt, SessionInfo, SessionStatus, Turn, UnknownOutcome
from inturn_gateway.serving import Server
from inturn_gateway.v1 import document, sessions


@dataclass
class Temporal:
    """What was asked of it, and what it answers next.

    Attributes:
        calls: `(method, tenant, session, arguments)`.
        known: Sessions that are there.
        raises: What the next call of a method raises.
        turns: What `wait` returns, by event id.
        agents: Whose sessions are, where that is not `support`.
    """

    calls: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    known: set[SessionKey] = field(default_factory=set)
    raises: dict[str, list[BaseException]] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)
    agents: dict[SessionKey, str] = field(default_factory=dict)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.up.set()

    def sent(self) -> list[tuple[str, str, str]]:
        """Return tenant, session and event id of what was sent or submitted, in order."""
        return [(t, s, str(given["event_id"])) for name, t, s, given in self.calls if name in ("send", "submit")]


class DeskSession(Session):
    """A session that notes what is asked of it; its entries are the journal's."""

    desk: Temporal

    @property
    def key(self) -> SessionKey:
        """Which it is."""
        return SessionKey(self.tenant, self.session_id)

    async def note(self, name: str, *, needs: bool = True, **given: Any) -> None:
        """Note a call; raise what is to be raised."""
        await self.desk.up.wait()
        if errors := self.desk.raises.get(name):
            raise errors.pop(0)
        if needs and self.key not in self.desk.known:
            raise SessionNotFound(f"no session {self.key}")
        self.desk.calls.append((name, self.tenant, self.session_id, given))

    async def create(self) -> bool:
        new = self.key not in self.desk.known
        self.desk.known.add(self.key)
        await self.note("create", agent=self.agent)
        return new

    async def _take(self, name: str, content: Content | Event, **options: Any) -> str:
        event = self._submitter.event(content, **options)
        await self.note(name, needs=False, content=event.content, **{"event_id": event.event_id} | options)
        self.desk.known.add(self.key)
        return str(event.event_id)

    async def send(self, content: Content | Event, **options: Any) -> Receipt:
        return Receipt(event_id=await self._take("send", content, **options), status="sent")

    async def submit(self, content: Content | Event, **options: Any) -> Receipt:
        return Receipt(event_id=await self._take("submit", content, **options), status="accepted", position=0)

    async def wait(self, event_id: str, *, timeout: float | None = None) -> Turn:
        await self.note("wait", event_id=event_id, timeout=timeout)
        return self.desk.turns[event_id]

    async def interrupt(self, **given: Any) -> bool:
        await self.note("interrupt", **given)
        return True

    async def cancel(self, event_id: str, **given: Any) -> bool:
        await self.note("cancel", event_id=event_id, **given)
        return True

    async def redrive(self, event_id: str, **given: Any) -> bool:
        await self.note("redrive", event_id=event_id, **given)
        return True

    async def discard(self, event_id: str, **given: Any) -> bool:
        await self.note("discard", event_id=event_id, **given)
        return True

    async def approve(self, approval_id: str, **given: Any) -> None:
        await self.note("approve", approval_id=approval_id, **given)

    async def deny(self, approval_id: str, **given: Any) -> None:
        await self.note("deny", approval_id=approval_id, **given)

    async def pause(self, **given: Any) -> None:
        await self.note("pause", **given)

    async def resume(self, **given: Any) -> None:
        await self.note("resume", **given)

    async def close(
        self, *, pending: Literal["park", "cancel"] = "park", timeout: float | None = None, **given: Any
    ) -> None:
        await self.note("close", pending=pending, **given)

    async def settle(self, call: str, **given: Any) -> None:
        await self.note("settle", call=call, **given)

    async def parked(self) -> list[Parked]:
        await self.note("parked")
        return [Parked(event_id="e", error="it failed")]

    async def unknown_calls(self) -> list[UnknownOutcome]:
        await self.note("unknown_calls")
        return []

    async def audit(self, *, deep: bool = False) -> Audit:
        await self.note("audit", deep=deep)
        return Audit(ok=True, accepted=0, counts={})

    async def status(self) -> SessionStatus:
        await self.note("status")
        return SessionStatus(state="idle", agent=self.desk.agents.get(self.key, "support"))


class DeskSessions(Sessions):
    """The sessions of a desk."""

    def __init__(self, found: Sequence[SessionInfo]) -> None:
        self.next_page = None
        self._found = list(found)

    async def __anext__(self) -> SessionInfo:
        if not self._found:
            raise StopAsyncIteration
        return self._found.pop(0)


class DeskClient(Client):
    """A client whose sessions are `DeskSession`s."""

    def __init__(self, desk: Temporal, **options: Any) -> None:
        super().__init__(**options)
        self.desk = desk

    def session(self, session_id: str, *, agent: str | None = None) -> DeskSession:
        session = super().session(session_id, agent=agent)
        made = DeskSession(session._transport)
        made.desk = self.desk
        return made

    async def ping(self) -> None:
        await self.desk.up.wait()

    def sessions(self, **given: Any) -> Sessions:
        self.desk.calls.append(("sessions", self.tenant, "", given))
        known = [key for key in sorted(self.desk.known, key=str) if key.tenant == self.tenant]
        return DeskSessions([SessionInfo(session_id=key.session_id, tenant=key.tenant) for key in known])

    async def _asked(self) -> AsyncIterator[PendingApproval]:
        for key in sorted(self.desk.known, key=str):
            if key.tenant == self.tenant:
                yield PendingApproval(
                    tenant=key.tenant, session_id=key.session_id, approval_id="c:1", call_id="c", tool="refund"
                )

    def approvals(self) -> AsyncIterator[PendingApproval]:
        return self._asked()


class Served:
    """An application on a free port of the loopback: `async with Served(app) as served`."""

    def __init__(self, app: ASGIApp, closing: asyncio.Event) -> None:
        self._server = _Quiet(app, closing, grace=5)
        self.closing = closing

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *ends: object) -> None:
        self._server.should_exit = True
        await self._serving

    def http(self, key: str | None = None, **options: Any) -> httpx2.AsyncClient:
        """Return an HTTP client of it, which checks that each answer is one of those that are documented."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        hooks = {"response": [documented]}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=20, event_hooks=hooks, **options)

    async def raw(self, request: bytes) -> bytes:
        """Return what it answers to bytes, until it closes the connection, read or not."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            with suppress(ConnectionResetError):
                writer.write(request)
                await writer.drain()
                while piece := await reader.read(65_536):
                    answer += piece
        finally:
            writer.close()
        return answer


@cache
def _document() -> list[tuple[str, re.Pattern[str], set[str]]]:
    """Return method, path and statuses of each operation that is published."""
    app = FastAPI()
    app.include_router(sessions.routes())
    return [
        (method.upper(), re.compile(re.sub(r"\{.*?\}", ".+", path)), set(operation["responses"]))
        for path, item in document.document(app)["paths"].items()
        for method, operation in item.items()
    ]


async def documented(answer: httpx2.Response) -> None:
    """Check that an answer of `/v1` is documented, and a refusal a problem document."""
    path = unquote(answer.request.url.path)
    if not path.startswith("/v1/"):
        return
    status = answer.status_code
    found = [told for method, known, told in _document() if method == answer.request.method and known.fullmatch(path)]
    assert status == 500 or not found or any(str(status) in told for told in found), (path, status)
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(await answer.aread())["status"] == status


class _Quiet(Server):
    """One that leaves the signals to the program it runs in."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
