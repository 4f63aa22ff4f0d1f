"""The HTTP surface: the API's paths under `/v1`, and `/_test/` for the tests.

Invariant: whatever bytes come in, the answer is a success or an error of the client's in the API's shape; a 5xx is
only ever a fault that somebody asked for.

| test path | does |
|---|---|
| `POST /_test/script` | queue replies: a list of `Reply` objects or strings |
| `POST /_test/faults` | queue faults: a list of `Fault` objects or short forms |
| `POST /_test/gone` | a list of addresses behind which there is nothing any more |
| `POST /_test/withdrawn` | a list of betas that there are no more |
| `GET /_test/requests` | the log: `?session=`, `?after=` (a number), `?bodies=1` |
| `POST /_test/reset` | forget script, faults, log and cache |
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inturn.models.facts import facts
from inturn.models.scripted_answers import last_text, step_of
from inturn.testing.claude import listing, rules, streaming
from inturn.testing.claude.answering import CONTEXT_WINDOW, Api, Judged
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.faults import STREAM_KINDS, Fault
from inturn.testing.claude.log import Exchange, Log
from inturn.testing.claude.script import Queue, Reply
from inturn.testing.claude.sending import Chunk, Sending, broken, paced
from inturn.testing.claude.shapes import explain

MAX_BODY: Final = 32 * 1024 * 1024
"""Bytes of a request, as the API has it."""

_REPLIES = TypeAdapter(list[Reply])
_FAULTS = TypeAdapter(list[Fault])
_NAMES = TypeAdapter(list[str])


class Claude:
    """The server's state and its answers.

    Attributes:
        api: What judges and answers.
        faults: Faults to come.
        log: Requests so far.
        closing: Set when the server stops: streams end then.
    """

    def __init__(self, *, context_window: int = CONTEXT_WINDOW, min_cache_tokens: int = 0) -> None:
        """Make one without script and faults."""
        self.api = Api(context_window=context_window, min_cache_tokens=min_cache_tokens)
        self.faults: Queue[Fault] = Queue()
        self.log = Log()
        self.closing = asyncio.Event()
        self._asked: Counter[tuple[str | None, str, str, int]] = Counter()

    def reset(self) -> None:
        """Forget script, faults, log and cache; running requests go on."""
        self.api.reset()
        self.faults.clear()
        self.log.clear()
        self._asked.clear()

    def app(self) -> Starlette:
        """Make the ASGI application."""
        routes = [
            Route("/v1/messages", self._messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
            Route("/v1/models", _models, methods=["GET"]),
            Route("/v1/models/{name:path}", _model, methods=["GET"]),
            Route("/_test/script", self._script, methods=["POST"]),
            Route("/_test/faults", self._faults, methods=["POST"]),
            Route("/_test/gone", self._gone, methods=["POST"]),
            Route("/_test/withdrawn", self._withdrawn, methods=["POST"]),
            Route("/_test/requests", self._requests, methods=["GET"]),
            Route("/_test/reset", self._reset, methods=["POST"]),
            Route("/health", _health, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {Rejection: _rejected, HTTPException: _http_error, Exception: _crashed}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _messages(self, request: Request) -> Response:
        exchange = self.log.begin(f"req_{secrets.token_hex(12)}")
        try:
            return await self._answered(request, exchange)
        except Rejection as rejection:
            return self._refuse(exchange, rejection)
        except ClientDisconnect:
            exchange.end("aborted", 499)
            return Response(status_code=499)
        except BaseException:
            exchange.end("aborted", 499)
            raise

    async def _answered(self, request: Request, exchange: Exchange) -> Response:
        rules.check_headers(request.headers)
        raw = await _body(request)
        exchange.digest = hashlib.sha256(raw).hexdigest()[:16]
        body = _json(raw)
        _note(exchange, body)
        asked = self.api.judge(body, betas=rules.betas_of(request.headers))
        fault = self._fault(asked)
        if fault and fault.kind in ("status", "spend_limit"):
            return self._refuse(exchange, fault.rejection(), fault)
        message, delay = self.api.answer(asked)
        exchange.stop_reason, exchange.usage = message["stop_reason"], message["usage"]
        exchange.answer = message["content"]
        if asked.body.get("stream"):
            kind = "text/event-stream; charset=utf-8"
            chunks = paced([streaming.encode(event) for event in streaming.events(message)], delay)
        else:
            kind = "application/json"
            chunks = [Chunk(to_json(message), delay)]
        if fault and fault.kind in STREAM_KINDS:
            chunks = broken(chunks, fault, exchange.request_id)
        headers = {**_headers(exchange), "content-type": kind}
        return Sending(exchange, chunks, headers, fault=fault, closing=self.closing)

    def _fault(self, asked: Judged) -> Fault | None:
        """Return the fault that is due: a queued one, else one that the text asks for and did not get yet."""
        session, messages = asked.session, asked.body["messages"]
        text, step = last_text(messages)
        fault = self.faults.take(session, text, compacts=bool(asked.body.get("compaction")))
        for wish in () if fault else step_of(messages).faults:
            try:
                wished = Fault.model_validate(wish)
            except ValidationError:
                continue
            key = (session, text, wish, step)
            if wished.times is None or self._asked[key] < wished.times:
                self._asked[key] += 1
                fault = wished
                break
        return None if fault and fault.kind in STREAM_KINDS and not asked.body.get("stream") else fault

    def _refuse(self, exchange: Exchange, rejection: Rejection, fault: Fault | None = None) -> Response:
        exchange.error = rejection.message
        headers = {**_headers(exchange), **(fault.headers() if fault else {})}
        exchange.end("faulted" if fault else "rejected", rejection.status)
        return JSONResponse(rejection.body(exchange.request_id), rejection.status, headers)

    async def _count(self, request: Request) -> Response:
        rules.check_headers(request.headers)
        tokens = self.api.count(_json(await _body(request)), betas=rules.betas_of(request.headers))
        return JSONResponse({"input_tokens": tokens})

    async def _script(self, request: Request) -> Response:
        self.api.replies.extend(_validated(_REPLIES, await _body(request)))
        return JSONResponse({"waiting": len(self.api.replies)})

    async def _faults(self, request: Request) -> Response:
        self.faults.extend(_validated(_FAULTS, await _body(request)))
        return JSONResponse({"waiting": len(self.faults)})

    async def _gone(self, request: Request) -> Response:
        self.api.memory.lose(_validated(_NAMES, await _body(request)))
        return JSONResponse({})

    async def _withdrawn(self, request: Request) -> Response:
        self.api.memory.withdrawn.update(_validated(_NAMES, await _body(request)))
        return JSONResponse({})

    async def _requests(self, request: Request) -> Response:
        query = request.query_params
        after = query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise Rejection("after: a number is required")
        left_out = set() if query.get("bodies") else {"body", "answer"}
        listed = [
            exchange.model_dump(mode="json", exclude=left_out)
            for exchange in self.log.exchanges
            if exchange.number > int(after) and query.get("session") in (None, exchange.session)
        ]
        return JSONResponse({"requests": listed})

    async def _reset(self, request: Request) -> Response:
        self.reset()
        return JSONResponse({})


def _note(exchange: Exchange, body: Any) -> None:
    """Note in the log what was asked, as far as its shape lets it be read."""
    try:
        text, _ = last_text(body["messages"])
        exchange.session = (body.get("metadata") or {}).get("user_id")
        exchange.messages, exchange.text, exchange.body = len(body["messages"]), text[:200], body
        if facts(body["model"]).system == "ignored":
            exchange.ignored = sum(message["role"] == "system" for message in body["messages"])
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # its shape is wrong, which it is told next


async def _models(request: Request) -> Response:
    rules.check_headers(request.headers)
    return JSONResponse(listing.models())


async def _model(request: Request) -> Response:
    rules.check_headers(request.headers)
    return JSONResponse(listing.model(request.path_params["name"]))


def _headers(exchange: Exchange) -> dict[str, str]:
    headers = {"request-id": exchange.request_id, "anthropic-organization-id": "org_strict"}
    for what, limit in (("requests", 4_000), ("tokens", 4_000_000), ("input-tokens", 4_000_000)):
        headers[f"anthropic-ratelimit-{what}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{what}-remaining"] = str(limit - 1)
    return headers


async def _body(request: Request) -> bytes:
    size = 0
    parts: list[bytes] = []
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise Rejection("Request exceeds the maximum allowed number of bytes.", status=413)
        parts.append(part)
    return b"".join(parts)


def _json(raw: bytes) -> Any:
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Rejection(f"The request body is not valid JSON: {error}") from None


def _validated(adapter: TypeAdapter[Any], raw: bytes) -> Any:
    try:
        return adapter.validate_python(_json(raw))
    except ValidationError as error:
        raise Rejection(explain(error)) from None


async def _health(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def _rejected(request: Request, error: Rejection) -> Response:
    return JSONResponse(error.body(""), error.status)


async def _http_error(request: Request, error: HTTPException) -> Response:
    rejection = Rejection(str(error.detail), status=error.status_code)
    return JSONResponse(rejection.body(""), error.status_code, dict(error.headers or {}))


async def _crashed(request: Request, error: Exception) -> Response:
    rejection = Rejection(f"the strict server itself failed: {type(error).__name__}: {error}", status=500)
    return JSONResponse(rejection.body(""), 500)
