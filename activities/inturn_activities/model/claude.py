"""Claude by the anthropic SDK.

Invariant: an answer counts only when the stream said `message_stop`. A stream that ends, breaks, or goes silent
before that raises, whatever came through it; one that is whole stays so, however its connection ends. The SDK repeats
nothing on its own, since every repeat is paid. It keeps the connections, the credentials and the errors; requests go
out as bytes, and events are read once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import anthropic
import httpx2

from inturn.errors import ModelError
from inturn.journal.views.requests import is_block
from inturn.models import DeltaKind, ModelMessage, ModelRequest, OnDelta
from inturn.models.facts import ModelFacts, facts
from inturn_activities.model.claude_answer import Answer, BrokenStream
from inturn_activities.model.claude_errors import translated
from inturn_activities.model.claude_request import encoded, sent
from inturn_activities.model.event_stream import EventStream, TooLarge

CONNECTIONS: Final = 1_000
"""Of one provider at most, and so of a worker's process: its steps share them. Idle ones close after 5 s."""
CONNECT_TIMEOUT: Final = 5.0
STALL_TIMEOUT: Final = 60.0
"""Seconds without a byte from the model (it sends pings while it thinks)."""
_TAIL: Final = 1.0
"""Seconds that a whole answer's connection has to come to its end, to be used again."""
_PATH: Final = "/v1/messages"
_CONTAINER: Final = re.compile(r"\bcontainer", re.I)
_BETA: Final = "anthropic-beta"
COMPACTION: Final = "compact-2026-09-04"
"""The beta of the API's own summaries: of who asks for one, and of who sends one back."""

Stream = anthropic.AsyncStream[Any]


class Claude:
    """The Messages API as an `inturn.models.Model`; settings as every Anthropic client (`ANTHROPIC_*`)."""

    provider: str = "anthropic"

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        stall_timeout: float = STALL_TIMEOUT,
        connections: int = CONNECTIONS,
        diagnosed: bool = True,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        """Make the client; no I/O.

        Args:
            api_key: Instead of what the SDK finds by itself.
            base_url: Instead of the API's address.
            stall_timeout: Seconds of silence after which a request or an answer is given up.
            connections: How many there are at most.
            diagnosed: Ask why a prompt was not found in the cache; not for gateways that refuse what they do not know.
            http_client: Instead of the SDK's over aiohttp, which reads a stream with half the CPU of its default.
        """
        self._diagnosed = diagnosed
        self._stall = stall_timeout
        self._within = CONNECT_TIMEOUT + 2 * stall_timeout
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(stall_timeout, connect=CONNECT_TIMEOUT),
            http_client=http_client
            or anthropic.DefaultAioHttpClient(limits=httpx2.Limits(max_connections=connections)),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def facts(self, model: str) -> ModelFacts:
        """Return what holds for a model."""
        return facts(model)

    @property
    def has_credentials(self) -> bool:
        """Whether the SDK found any: a key, a token, a profile, or an identity of the machine's."""
        client = self._client
        return bool(client.api_key or client.auth_token or client.credentials)

    async def look_up(self, model: str) -> None:
        """Look a model up.

        Raises:
            ModelError: The API does not have it, or cannot say so.
        """
        with _model_errors():
            try:
                await self._client.models.retrieve(model)
            except ValueError as error:
                raise _unasked(error) from error
            except anthropic.NotFoundError as error:
                # A gateway that lists no models answers so, too, but does not name this one.
                if model in (error.api_message or ""):
                    raise ModelError(f"404: the API has no model {model!r}", kind="account") from error

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer a request.

        Raises:
            ModelError: The API refused it or failed, or the connection broke on the way.
        """
        compacted = bool(request.messages) and is_block(request.messages[0])
        headers = {_BETA: COMPACTION} if compacted else {}
        try:
            return await self._answer(encoded(request, diagnosed=self._diagnosed), request, on_delta, headers)
        except ModelError as error:
            if request.container is None or not _CONTAINER.search(str(error)):
                raise
        again = dataclasses.replace(request, container=None)  # it is gone: code runs in another one from here on
        return await self._answer(encoded(again, diagnosed=self._diagnosed), again, on_delta, headers)

    async def compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        """Return the API's own summary of a conversation; `None` where the model has none.

        Raises:
            ModelError: As `respond` does.
        """
        if not facts(request.model).compaction:
            return None
        asked = {} if instructions is None else {"instructions": instructions}
        body = encoded(request, compaction=asked, diagnosed=False)
        return await self._answer(body, request, _unheard, {_BETA: COMPACTION})

    async def _answer(
        self, body: bytes, request: ModelRequest, on_delta: OnDelta, headers: dict[str, str]
    ) -> ModelMessage:
        async with self._opened(body, headers) as response:
            answer = Answer(request_id=response.headers.get("request-id"), on_delta=on_delta)
            try:
                await self._read(response, answer)
                return answer.complete()
            except (httpx2.HTTPError, TooLarge, TimeoutError) as error:
                reason = f"the stream broke: {type(error).__name__}: {error}"[:200]
                raise BrokenStream(reason, place=answer.place) from error
            finally:
                request.on_usage(answer.used())

    async def _read(self, response: httpx2.Response, answer: Answer) -> None:
        """Read an answer to its end, or to its stream's."""
        loop, events, chunks = asyncio.get_running_loop(), EventStream(), response.aiter_bytes()
        async with asyncio.timeout(self._stall) as silence:  # aiohttp forgets its own where what comes is no HTTP
            renewed = loop.time()
            async for chunk in chunks:
                if (now := loop.time()) - renewed > self._stall / 10:  # not with each piece: that is what a piece costs
                    silence.reschedule(now + self._stall)
                    renewed = now
                for data in events.take(chunk):
                    answer.take(data)
                if answer.stopped:
                    break
        if answer.stopped:
            await _run_out(chunks)

    @asynccontextmanager
    async def _opened(self, body: bytes, headers: dict[str, str]) -> AsyncGenerator[httpx2.Response]:
        with _model_errors():
            stream = await self._send(body, headers)
        try:
            yield stream.response
        finally:
            await stream.close()

    async def _send(self, body: bytes, headers: dict[str, str]) -> Stream:
        try:
            return await self._posted(self._client, body, headers)
        except anthropic.AuthenticationError:
            if self._client.credentials is None:
                raise
            # A token that was withdrawn: one repeat of the SDK's own asks for another.
            return await self._posted(self._client.with_options(max_retries=1), body, headers)

    async def _posted(self, client: anthropic.AsyncAnthropic, body: bytes, headers: dict[str, str]) -> Stream:
        content, how = sent(body)
        try:
            async with asyncio.timeout(self._within):  # aiohttp has no bound for a body that nobody takes
                return await client.post(
                    _PATH,
                    cast_to=object,
                    content=content,
                    options={"headers": {**how, **headers}},
                    stream=True,
                    stream_cls=Stream,
                )
        except TimeoutError as error:
            raise ModelError(f"the request got no answer within {self._within:g} s", kind="outage") from error


async def _run_out(chunks: AsyncIterator[bytes]) -> None:
    """Read a connection to its end, which is all that is left: then it can be used again."""
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(_TAIL):
            async for _ in chunks:
                pass


def _unheard(block: int, kind: DeltaKind, text: str) -> None:
    """Show nobody a summary as it comes."""


@contextmanager
def _model_errors() -> Generator[None]:
    """Raise what the SDK raises as the port's errors."""
    try:
        yield
    except ModelError:
        raise
    except TypeError as error:  # how the SDK says that it has no credentials
        raise _unasked(error) from error
    except Exception as error:
        judged = translated(error)
        if judged is None:
            raise
        raise judged from error


def _unasked(error: Exception) -> ModelError:
    return ModelError(f"Anthropic cannot be asked: {error}", kind="account")
