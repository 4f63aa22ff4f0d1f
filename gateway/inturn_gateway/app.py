"""The application: `/v1`, hooks, health, behind one screen.

Invariant: any number of processes serve it alike; none has anything that another one would miss.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from inturn import Client, __version__
from inturn.channels import Channel
from inturn.errors import InturnError, Unavailable
from inturn_gateway import bounds
from inturn_gateway.auth.door import Door
from inturn_gateway.auth.keys import KeyFile
from inturn_gateway.auth.tokens import Issuer, Tokens
from inturn_gateway.cards import Cards
from inturn_gateway.hooks import Hooks
from inturn_gateway.intake import Intake
from inturn_gateway.problems import Json, Problem
from inturn_gateway.screening import Screen
from inturn_gateway.service import Service
from inturn_gateway.v1 import chat, document, schedules, sessions

_READY_WITHIN = 3.0


def gateway(
    client: Client | None = None,
    *,
    channels: Sequence[Channel] = (),
    keys: str | Path | None = None,
    issuer: Issuer | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    api: bool = True,
    models: Sequence[str] = (),
    closing: asyncio.Event | None = None,
) -> ASGIApp:
    """Return the ASGI application, to be served or mounted in another one.

    Args:
        client: Reaches Temporal and the journal; whatever its tenant, each caller sees its own. Unset, one is made of
            the environment and closed with the application.
        channels: Platforms that deliver to `/hooks/{name}`, by a proof of their own.
        keys: The file of API keys, as `inturn keys` writes it.
        issuer: Whose JWTs count. Without keys and issuer only callers of this machine are served.
        hosts: Names by which it is called, beside those of this machine; `*`: any.
        origins: Origins of pages that may call `/v1`.
        api: Whether `/v1` is served.
        models: Agents that speak OpenAI's Chat Completions, under `/openai/v1`.
        closing: Streams end when this is set; a server of your own sets it when it begins to end.

    Raises:
        Misconfigured: The file of keys cannot be read, or two channels have one name.
    """
    kept = client or Client()
    key_file = None if keys is None else KeyFile(Path(keys))
    if key_file is not None:
        key_file.refresh()
    door = Door(kept.tenant, key_file, None if issuer is None else Tokens(issuer))
    cards = Cards(channels)
    service = Service(kept, door, cards, closing or asyncio.Event())
    hooks = Hooks(channels, Intake(kept, cards))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        held = [asyncio.ensure_future(each) for each in hooks.connections()]
        try:
            yield
        finally:
            service.closing.set()
            for each in held:
                each.cancel()
            await asyncio.gather(*held, return_exceptions=True)
            if client is None:
                await kept.aclose()

    app = FastAPI(
        title="inturn", version=__version__, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.state.service = service
    _route(app, hooks, api=api, models=models)
    served: ASGIApp = app
    if origins:
        served = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=_HEADERS,
            max_age=600,
        )
    credited = (*(("/v1/",) if api else ()), *(("/openai/",) if models else ()))

    async def admit(path: str, scope: Scope) -> None:
        if path.startswith(credited) and path not in _OPEN and scope["method"] != "OPTIONS":
            scope.setdefault("state", {})["caller"] = await door.caller(HTTPConnection(scope))

    return Screen(served, hosts, origins, lambda path: hooks.body(path) or bounds.BODY, admit)


def _route(app: FastAPI, hooks: Hooks, *, api: bool, models: Sequence[str]) -> None:
    if api:
        app.include_router(sessions.routes())
        app.include_router(schedules.routes())
        app.add_api_route("/v1/openapi.json", _openapi, include_in_schema=False)
    if models:
        app.include_router(chat.routes(models))
    app.add_route("/hooks/{label:path}", hooks.deliver, methods=["GET", "POST", "PUT"], include_in_schema=False)
    app.add_api_route("/livez", _livez, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    for kind in (Problem, InturnError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refused)


_OPEN = ("/v1/openapi.json",)
_HEADERS = ("authorization", "content-type", "idempotency-key", "last-event-id", "x-api-key")


async def _livez() -> Response:
    return Json({"status": "ok"})


async def _readyz(request: Request) -> Response:
    service: Service = request.app.state.service
    try:
        async with asyncio.timeout(_READY_WITHIN):
            await service.client.ping()
    except (InturnError, TimeoutError) as error:
        raise Unavailable("Temporal does not answer") from error
    return Json({"status": "ok"})


async def _openapi(request: Request) -> Response:
    return Json(document.document(request.app))


async def _refused(request: Request, error: Exception) -> Response:
    return _problem(request, error).response(request.scope["path"])


def _problem(request: Request, error: Exception) -> Problem:
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail))
    if not isinstance(error, RequestValidationError):
        return Problem.of(error)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in ("POST", "PUT") and kind != "application/json":
        return Problem(415, "the body must be application/json, and say so")
    found: list[dict[str, Any]] = list(error.errors())[:3]
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(400, "the body is no JSON")
    if any(each["loc"] == ("body",) and each["type"] == "model_attributes_type" for each in found):
        return Problem(400, "the body is no JSON object")
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
    return Problem(422, told)
