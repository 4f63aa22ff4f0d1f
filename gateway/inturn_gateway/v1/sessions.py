"""Routes of a session: made, listed, looked at, sent to, read.

Invariant: every route names its scope, and reaches sessions through `Service.session` alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, cast
from uuid import uuid4

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import JSONResponse, Response

from inturn.client.session import Session
from inturn.errors import InvalidEvent, SessionNotFound, TurnFailed, TurnTimeout
from inturn.keys import ID_PATTERN, is_id
from inturn.values import Delta, Entry, SessionStatus
from inturn_gateway import bounds
from inturn_gateway.auth.caller import Caller
from inturn_gateway.problems import Json, Problem
from inturn_gateway.service import Needs, service_of
from inturn_gateway.v1 import incoming
from inturn_gateway.v1.outgoing import wire_events
from inturn_gateway.v1.stream import EventStream, Reading, Wanted
from inturn_gateway.v1.taking import Taking, Wait, answered

Sender = Annotated[Caller, Depends(Needs("send"))]
Anybody = Annotated[Caller, Depends(Needs(None))]
Reader = Annotated[Caller, Depends(Needs("read"))]
Approver = Annotated[Caller, Depends(Needs("approve"))]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=256)]
IdQuery = Annotated[str | None, Query(pattern=f"^{ID_PATTERN}$")]
Seq = Annotated[int, Query(ge=0, lt=2**63)]
_STATUS: Final = {"running": "running", "closed": "terminated"}


def _handle(request: Request, caller: Caller, session_id: str, agent: str | None = None) -> Session:
    return service_of(request).session(caller, session_id, agent=agent)


async def create(request: Request, caller: Sender, wanted: incoming.NewSession, key: Key = None) -> Response:
    """Begin a session, or find the one that is there; its initial events are taken as by `events`."""
    service = service_of(request)
    session_id = wanted.session_id or f"{caller.prefix}s-{uuid4().hex}"[:128]
    session = service.session(caller, session_id, agent=wanted.agent_name)
    await service.check_agent(caller, session_id)
    events = [_with_metadata(event, wanted.metadata) for event in wanted.initial_events]
    if events:
        service.sent.take((caller.tenant, session_id), "events of this session", len(events))
    new = await session.create()
    receipts = await Taking(service, session, caller, "durable", key).take(events)
    body = _session(session_id, session.agent, "idle", metadata=wanted.metadata)
    return Json({**body, "receipts": receipts}, 201 if new else 200)


async def listed(
    request: Request,
    caller: Reader,
    agent: IdQuery = None,
    state: Literal["requires_action", "paused", "closed"] | None = None,
    parked: bool | None = None,
    prefix: IdQuery = None,
    limit: Annotated[int, Query(ge=1, le=bounds.LONGEST_PAGE)] = bounds.PAGE,
    page: Annotated[str | None, Query(max_length=bounds.PAGE_NAME)] = None,
) -> Response:
    """List the tenant's sessions, the latest first."""
    begins = max(caller.prefix, prefix or "", key=len)
    if not (begins.startswith(caller.prefix) and begins.startswith(prefix or "")):
        return Json({"data": [], "next_page": None})
    found = (
        service_of(request)
        .of(caller)
        .sessions(
            agent=caller.agent or agent, state=state, parked=parked, prefix=begins or None, limit=limit, page=page
        )
    )
    data = [
        {
            **_session(info.session_id, info.agent, info.state or "idle"),
            "created_at": info.started_at and info.started_at.isoformat(),
            "archived_at": info.closed_at and info.closed_at.isoformat(),
            "inturn": info.model_dump(mode="json"),
        }
        async for info in found
        if caller.sees(info.session_id)
    ]
    return Json({"data": data, "next_page": found.next_page})


async def shown(request: Request, caller: Reader, session_id: str) -> Response:
    """Show a session at a glance."""
    status = await _handle(request, caller, session_id).status()
    return Json({**_session(session_id, status.agent, status.state), **_told(status)})


async def take(
    request: Request, caller: Anybody, session_id: str, sent: incoming.Events, wait: Wait = "accepted", key: Key = None
) -> Response:
    """Take events, in order; the first that is refused ends the request, and the whole again is safe."""
    session = _handle(request, caller, session_id)
    service = service_of(request)
    service.sent.take((caller.tenant, session_id), "events of this session", len(sent.events))
    return Json({"data": await Taking(service, session, caller, wait, key).take(sent.events)}, 202)


async def entries(
    request: Request,
    caller: Reader,
    session_id: str,
    after: Seq = 0,
    event_id: IdQuery = None,
    page: Annotated[str | None, Query(pattern="^[0-9]{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=bounds.LONGEST_PAGE)] = bounds.PAGE,
    order: Literal["asc"] = "asc",
    types: Annotated[list[str] | None, Query(alias="types[]", max_length=50)] = None,
    include: Literal["inturn"] | None = None,
) -> Response:
    """List a session's events, from any seq on."""
    session = _handle(request, caller, session_id)
    await _known(session)
    wants, data, looked, more = frozenset(types or ()), list[dict[str, Any]](), 0, None
    news = cast("AsyncGenerator[Entry]", session.entries(int(page) if page else after, event_id=event_id))
    async with aclosing(news):
        last = after
        async for entry in news:
            if len(data) >= limit or looked >= bounds.LOOKED:
                more = str(last)
                break
            data += [e for e in wire_events(entry, inturn=include is not None) if not wants or e["type"] in wants]
            last, looked = entry.seq, looked + 1
    return Json({"data": data, "next_page": more})


async def stream(
    request: Request,
    caller: Reader,
    session_id: str,
    after: Seq = 0,
    event_id: IdQuery = None,
    types: Annotated[list[str] | None, Query(alias="types[]", max_length=50)] = None,
    event_deltas: Annotated[list[str] | None, Query(alias="event_deltas[]", max_length=10)] = None,
    include: Literal["inturn"] | None = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", pattern="^[0-9]{0,18}$")] = None,
) -> Response:
    """Stream a session's events as they are committed, and previews of answers where they are asked for."""
    service = service_of(request)
    session = service.session(caller, session_id)
    await _known(session)
    wanted = Wanted(include is not None, frozenset(types or ()), "agent.message" in (event_deltas or ()))
    start = int(last) if last else after
    news = cast("AsyncGenerator[Entry | Delta]", session.stream(event_id, after=start, deltas=wanted.deltas))
    reading = Reading(news, wanted.frames)
    try:
        ended = await reading.ended(bounds.FIRST_WITHIN)
    except BaseException:
        await reading.aclose()
        raise
    if ended and last:
        await reading.aclose()
        return Response(status_code=204)
    left = bounds.STREAM if caller.until is None else max(0.0, min(bounds.STREAM, caller.until - time.time()))
    return EventStream(reading, service.streaming(caller), service.closing, left)


async def turn(
    request: Request,
    caller: Reader,
    session_id: str,
    event_id: str,
    wait: Annotated[float, Query(ge=0, le=bounds.LONGEST_WAIT)] = 0,
) -> Response:
    """Return the turn of an event, or how it ended without one; 202 while it runs."""
    service = service_of(request)
    session = service.session(caller, session_id)
    if not is_id(event_id):
        raise Problem(404, f"no event {event_id!r:.150}", kind="event_not_found")
    try:
        with service.streaming(caller):
            found = await session.wait(event_id, timeout=max(wait, bounds.SHORTEST_WAIT))
    except TurnFailed as error:
        return Json({"event_id": event_id, "disposition": error.disposition, "reason": error.reason})
    except TurnTimeout:
        return Json({"event_id": event_id, "disposition": "pending"}, 202, {"retry-after": "1"})
    except InvalidEvent as error:
        raise Problem(404, str(error), kind="event_not_found") from error
    return Json(found.model_dump(mode="json"))


async def transcript(request: Request, caller: Reader, session_id: str) -> Response:
    """Return the conversation as the model sees it."""
    session = _handle(request, caller, session_id)
    await _known(session)
    return Json({"messages": await session.transcript()})


async def parked(request: Request, caller: Reader, session_id: str) -> Response:
    """List the latest events that failed for good."""
    found = await _handle(request, caller, session_id).parked()
    return Json({"data": [each.model_dump(mode="json") for each in found]})


async def unknown(request: Request, caller: Reader, session_id: str) -> Response:
    """List the calls whose outcome is unknown, for `inturn.settle`."""
    found = await _handle(request, caller, session_id).unknown_calls()
    return Json({"data": [each.model_dump(mode="json") for each in found]})


async def audit(request: Request, caller: Reader, session_id: str, deep: bool = False) -> Response:
    """Check that nothing was lost."""
    service = service_of(request)
    with service.streaming(caller):
        found = await service.session(caller, session_id).audit(deep=deep)
    return Json(found.model_dump(mode="json"))


async def approvals(request: Request, caller: Reader) -> Response:
    """List the approvals that the tenant's sessions wait for."""
    data = list[dict[str, Any]]()
    async for each in service_of(request).of(caller).approvals():
        if caller.sees(each.session_id) and await _is_of_agent(request, caller, each.session_id):
            data.append(each.model_dump(mode="json"))
        if len(data) == bounds.LONGEST_PAGE:
            break
    return Json({"data": data, "next_page": None})


async def answer(
    request: Request, caller: Approver, session_id: str, approval_id: str, said: incoming.Answer
) -> Response:
    """Answer an approval; the same answer again is fine."""
    session = _handle(request, caller, session_id)
    known = await answered(service_of(request), session, caller, approval_id, said)
    return Json({"approval_id": known, "result": said.result, "by": caller.who})


async def _is_of_agent(request: Request, caller: Caller, session_id: str) -> bool:
    try:
        await service_of(request).check_agent(caller, session_id)
    except SessionNotFound:
        return False
    return True


async def _known(session: Session) -> None:
    """Return if there is such a session.

    Raises:
        SessionNotFound: There is none.
    """
    news = cast("AsyncGenerator[Entry]", session.entries())
    async with aclosing(news):
        async for _ in news:
            return
    await session.status()


def _with_metadata(event: incoming.EventIn, metadata: dict[str, Any] | None) -> incoming.EventIn:
    if isinstance(event, incoming.UserMessage) and event.metadata is None and metadata:
        return event.model_copy(update={"metadata": metadata})
    return event


def _session(session_id: str, agent: str | None, state: str, **more: Any) -> dict[str, Any]:
    """Return a session in the fields of Managed Agents, most of which mean nothing here."""
    return {
        "id": session_id,
        "type": "session",
        "agent": {"type": "agent", "id": agent, "name": agent} if agent else None,
        "status": _STATUS.get(state, "idle"),
        "environment_id": "",
        "title": None,
        "resources": [],
        "vault_ids": [],
        "created_at": None,
        "updated_at": None,
        "archived_at": None,
        **{"metadata": {}, **{name: value for name, value in more.items() if value is not None}},
    }


def _told(status: SessionStatus) -> dict[str, Any]:
    used = status.usage
    usage = {
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cache_read_input_tokens": used.cache_read_tokens,
    }
    return {"usage": usage, "inturn": status.model_dump(mode="json")}


_ROUTES: Final[tuple[tuple[str, str, Callable[..., Awaitable[Response]], tuple[int, ...]], ...]] = (
    ("POST", "/sessions", create, (201, 200)),
    ("GET", "/sessions", listed, (200,)),
    ("GET", "/sessions/{session_id}", shown, (200,)),
    ("POST", "/sessions/{session_id}/events", take, (202,)),
    ("GET", "/sessions/{session_id}/events", entries, (200,)),
    ("GET", "/sessions/{session_id}/events/stream", stream, (200, 204)),
    ("GET", "/sessions/{session_id}/turns/{event_id}", turn, (200, 202)),
    ("GET", "/sessions/{session_id}/transcript", transcript, (200,)),
    ("GET", "/sessions/{session_id}/parked", parked, (200,)),
    ("GET", "/sessions/{session_id}/unknown", unknown, (200,)),
    ("GET", "/sessions/{session_id}/audit", audit, (200,)),
    ("GET", "/approvals", approvals, (200,)),
    ("POST", "/sessions/{session_id}/approvals/{approval_id:path}", answer, (200,)),
)


def routes() -> APIRouter:
    """Return the routes, each with the statuses that it answers where it refuses nothing."""
    router = APIRouter(prefix="/v1")
    for method, path, route, (first, *others) in _ROUTES:
        more: dict[int | str, dict[str, Any]] = {status: {"description": _MEANS[status]} for status in others}
        kind = EventStream if route is stream else JSONResponse  # as it is published: each makes its own
        router.add_api_route(
            path,
            route,
            methods=[method],
            status_code=first,
            responses=more,
            response_class=kind,
            response_model=None,
        )
    return router


_MEANS: Final = {200: "It is there already", 202: "Not yet: `Retry-After` says when to look again", 204: "It has ended"}
