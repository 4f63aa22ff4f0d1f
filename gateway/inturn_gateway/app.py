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
from starlette.responses import Response
from starlette.types import ASGIApp

from inturn import Client, __version__
from inturn.errors import InturnError, Unavailable
from inturn_gateway.auth.door import Door
from inturn_gateway.auth.keys import KeyFile
from inturn_gateway.auth.tokens import Issuer, Tokens
from inturn_gateway.problems import Json, Problem
from inturn_gateway.screening import Screen
from inturn_gateway.service import Service
from inturn_gateway.v1 import document, sessions

_READY_WITHIN = 3.0


def gateway(
    client: Client | None = None,
    *,
    keys: str | Path | None = None,
    issuer: Issuer | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    closing: asyncio.Event | None = None,
) -> ASGIApp:
    """Return the ASGI application, to be served or mounted in another one.

    Args:
        client: Reaches Temporal and the journal; whatever its tenant, each caller sees its own. Unset, one is made of
            the environment and closed with the application.
        keys: The file of API keys, as `inturn keys` writes it.
        issuer: Whose JWTs count. Without keys and issuer only callers of this machine are served.
        hosts: Names by which it is called, beside those of this machine; `*`: any.
        origins: Origins of pages that may call `/v1`.
        closing: Streams end when this is set; a server of your own sets it when it begins to end.

    Raises:
        Misconfigured: The file of keys cannot be read.
    """
    kept = client or Client()
    key_file = None if keys is None else KeyFile(Path(keys))
    if key_file is not None:
        key_file.refresh()
    door = Door(kept.tenant, key_file, None if issuer is None else Tokens(issuer))
    service = Service(kept, door, closing or asyncio.Event())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            service.closing.set()
            if client is None:
                await kept.aclose()

    app = FastAPI(
        title="inturn", version=__version__, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.state.service = service
    app.include_router(sessions.routes())
    app.add_api_route("/livez", _livez, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    app.add_api_route("/v1/openapi.json", _openapi, include_in_schema=False)
    for kind in (Problem, InturnError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refused)
    served: ASGIApp = app
    if origins:
        served = CORSMiddleware(
            app, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=_HEADERS, max_age=600
        )
    return Screen(served, hosts, origins)


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
    return _problem(error).response(request.scope["path"])


def _problem(error: Exception) -> Problem:
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail))
    if not isinstance(error, RequestValidationError):
        return Problem.of(error)
    found: list[dict[str, Any]] = list(error.errors())[:3]
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(400, "the body is no JSON")
    if any(each["loc"] == ("body",) and each["type"] == "model_attributes_type" for each in found):
        return Problem(400, "the body is no JSON object, or not said to be application/json")
    told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)
    return Problem(422, told)
