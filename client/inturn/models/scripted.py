"""The scripted model: a `Model` without network, cost or chance.

Invariant: nobody can take its answers for a real model's: its name holds `scripted` and its cost is zero.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pydantic_core import to_json

from inturn.errors import InturnError
from inturn.models.model import ModelMessage, ModelRequest, OnDelta
from inturn.models.prices import FREE, Price
from inturn.models.scripted_answers import Answer, ToolCall, by_rule, pieces
from inturn.models.scripted_samples import obeying
from inturn.models.scripted_sizes import Sizes
from inturn.values import Usage

NAME: Final = "scripted"

Entry = str | ToolCall | Answer | Sequence[str | ToolCall] | BaseException | Callable[[ModelRequest], Any]
"""One line of a script: a text, a call, several calls (and texts), an error to raise, or a function of the request."""


class ScriptExhausted(InturnError):
    """The model was asked more often than its script has answers."""


class ScriptedModel:
    """Answers from a script, or by rule where it has none (see `inturn.models.scripted_answers` for the directives).

    Attributes:
        provider: Whose model it is.
        requests: What it was asked, in order; only with a script, since a worker would gather them for ever.
    """

    provider: str = NAME

    def __init__(self, script: Iterable[Entry] | None = None) -> None:
        """Make a model; `script=None` answers by rule, for ever."""
        self._script = None if script is None else deque(script)
        self.requests: list[ModelRequest] = []
        self._sizes = Sizes()

    @property
    def left(self) -> int:
        """Lines of the script that were not used yet."""
        return len(self._script or ())

    def price(self, model: str) -> Price:
        """Return what it costs: nothing."""
        return FREE

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Return the next answer, streaming it over the answer's delay.

        Raises:
            ScriptExhausted: The script has no more lines.
        """
        answer = await self._next(request)
        await _stream(answer, on_delta)
        content = answer.content(call_ids(request, len(answer.calls)))
        asked, answered = self._sizes.of(request.messages), len(to_json(content))
        usage = Usage(input_tokens=_tokens(asked), output_tokens=_tokens(answered), steps=1)
        return ModelMessage(content=content, stop_reason=answer.stop_reason, usage=usage, model=NAME)

    async def _next(self, request: ModelRequest) -> Answer:
        if self._script is None:
            return obeying(by_rule(request.messages), request.settings, request.tools)
        self.requests.append(request)
        if not self._script:
            raise ScriptExhausted(f"the script has no answer for call {len(self.requests)}")
        return await _answer(self._script.popleft(), request)


def call_ids(request: ModelRequest, count: int) -> list[str]:
    """Make ids for calls: the same for the same request, and different within a session, which only grows."""
    last = request.messages[-1] if request.messages else None
    digest = hashlib.blake2b(to_json([len(request.messages), last]), digest_size=10).hexdigest()
    return [f"toolu_scripted_{digest}_{index}" for index in range(count)]


async def _answer(entry: Any, request: ModelRequest) -> Answer:
    if isinstance(entry, BaseException):
        raise entry
    if isinstance(entry, Answer):
        return entry
    if isinstance(entry, ToolCall):
        return Answer(calls=(entry,))
    if isinstance(entry, str):
        return Answer(entry)
    if callable(entry):
        made = entry(request)
        return await _answer(await made if inspect.isawaitable(made) else made, request)
    if isinstance(entry, Sequence):
        texts = [part for part in entry if isinstance(part, str)]
        calls = [part for part in entry if isinstance(part, ToolCall)]
        if len(texts) + len(calls) == len(entry):
            return Answer(" ".join(texts), tuple(calls))
    raise TypeError(f"a script has texts, ToolCalls, lists of them, errors and functions; {entry!r} is none")


async def _stream(answer: Answer, on_delta: OnDelta) -> None:
    cut = pieces(answer.text) or [""]
    for piece in cut:
        if answer.delay:
            await asyncio.sleep(answer.delay / len(cut))
        on_delta(0, "text", piece)
    for block, call in enumerate(answer.calls, start=bool(answer.text)):
        on_delta(block, "input", call.name)
        on_delta(block, "input", to_json(call.args).decode())


def _tokens(size: int) -> int:
    return max(1, size // 4)
