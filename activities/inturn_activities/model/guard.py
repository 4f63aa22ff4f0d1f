"""The model that a worker was given, held to the port's contract.

Invariant: what comes out is a complete `ModelMessage` that can be written, or an error that says who is to blame. A
model is users' code: whatever it returns or raises costs at most the turn of the event that asked it, no worker.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic_core import from_json

from inturn.errors import ModelError
from inturn.journal.log import codec
from inturn.models import Model, ModelMessage, ModelRequest, OnDelta, provider_of
from inturn.models.encoding import encode
from inturn.models.facts import ModelFacts, facts
from inturn.models.prices import Price, Prices, known_prices
from inturn.tools.event_loop import is_cancelled
from inturn.turns import tokens
from inturn.turns.showing import shown
from inturn.values import Usage
from inturn_activities.failures import OwnFailure
from inturn_activities.model.usage import Meter, metering

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer as written; the API takes 32 MB for a whole conversation."""
MAX_DETAILS: Final = 64 * 1024
"""Bytes of what else it says: of its usage, of why it stopped."""
MAX_NATIVE: Final = 256 * 1024
MOST: Final = 10**12
"""The largest number that counts: of tokens, of dollars."""


class GuardedModel:
    """Asks a model, and takes nothing of it on trust."""

    def __init__(self, model: Model, prices: Prices | None = None) -> None:
        """Guard a model; `prices`: what its answers cost."""
        self._model = model
        self._prices = prices or known_prices()

    def facts(self, model: str) -> ModelFacts:
        """Return what holds for a model: by its provider, where that knows, else by the table."""
        told: Any = getattr(self._model, "facts", None)
        known = told(model) if callable(told) else None
        return known if isinstance(known, ModelFacts) else facts(model)

    def price(self, model: str) -> Price | None:
        """Return what a model costs: by its provider, where that knows, else by the list; `None`: nobody knows."""
        told: Any = getattr(self._model, "price", None)
        known = told(model) if callable(told) else None
        return known if isinstance(known, Price) else self._prices.find(model)

    def worst_price(self, request: ModelRequest) -> Price | None:
        """Return what a request costs at worst: all of its prompt is kept for as long as it asks for."""
        price = self.price(request.model)
        return None if price is None else price.kept_for(request.settings.cache_ttl)

    def prompt(self, request: ModelRequest) -> int:
        """Return how many tokens a request's prompt may have, before anybody has counted them."""
        known = self.facts(request.model)
        size = tokens.of_request(request)
        return min(size, known.window) if known.known else size

    @property
    def priced(self) -> str:
        """Of when the list of prices is."""
        return self._prices.as_of

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer a request.

        Raises:
            ModelError: There is no answer, or what came is none.
            OwnFailure: Its turn has no money for the request.
        """
        paid, price = self._paid(request)
        asked = await shown(paid)
        return self._checked(await self._awaited(lambda: self._model.respond(asked, on_delta)), paid, price)

    async def compact(self, request: ModelRequest, instructions: str | None) -> ModelMessage | None:
        """Summarise a conversation; `None` where the model cannot.

        Raises:
            ModelError: There is no summary, or what came is none.
            OwnFailure: Its turn has no money for the request.
        """
        compact: Any = getattr(self._model, "compact", None)
        if not callable(compact):
            return None
        paid, price = self._paid(request)
        asked = await shown(paid)
        answer = await self._awaited(lambda: compact(asked, instructions))
        return None if answer is None else self._checked(answer, paid, price)

    def _paid(self, request: ModelRequest) -> tuple[ModelRequest, Price | None]:
        """Return a request whose usage is noted with what it costs, and the price."""
        price, meter = self.price(request.model), metering()
        self._check_money(request, meter)
        note = meter.opened(request.model)
        return dataclasses.replace(request, on_usage=lambda usage: note(_priced(usage, price))), price

    def _check_money(self, request: ModelRequest, meter: Meter) -> None:
        if request.max_tokens and meter.most is None:
            return
        price, left = self.worst_price(request), (meter.most or 0) - meter.paid
        if not request.max_tokens or not price or price.worst(self.prompt(request), request.max_tokens) > left:
            raise OwnFailure("no money is left in the budget to ask the model for this")

    async def _awaited(self, ask: Callable[[], Any]) -> Any:
        try:
            asked = ask()
            if not inspect.isawaitable(asked):
                raise ModelError(f"{self._name}.respond must be async: it gave {_named(asked)}")
            return await asked
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise ModelError(f"{self._name} cancelled itself") from error
        except Exception:
            raise
        except BaseException as error:  # it would end the worker, or leave the step without any end
            raise ModelError(f"{self._name} raised {type(error).__name__}") from error

    def _checked(self, answer: Any, paid: ModelRequest, price: Price | None) -> ModelMessage:
        if not isinstance(answer, ModelMessage):
            raise ModelError(f"{self._name} must give a ModelMessage: it gave {_named(answer)}")
        content: Any = answer.content
        if not isinstance(content, list) or not all(_is_block(block) for block in content):
            raise ModelError(
                f"{self._name} must give content blocks, each a dict with a type: it gave {_named(content)}"
            )
        blocks: list[dict[str, Any]] = content
        if (size := len(encode(blocks))) > MAX_ANSWER:
            raise ModelError(f"{self._name} gave an answer of {size:,} bytes: {MAX_ANSWER:,} are the most")
        model = _text(answer.model) or "unknown"
        message = ModelMessage(
            content=blocks,
            stop_reason=_text(answer.stop_reason),
            usage=_priced(answer.usage, self.price(model) or price),
            model=model,
            request_id=_text(answer.request_id),
            id=_text(answer.id),
            stop_details=_details(answer.stop_details),
            raw_usage=_details(answer.raw_usage) if isinstance(answer.raw_usage, dict) else None,
            cache_missed=_text(answer.cache_missed),
            container=_container(answer.container),
            native=self._native(answer.native),
        )
        paid.on_usage(message.usage)
        return message

    def _native(self, value: Any) -> Any:
        written = b"" if value is None else encode(value)
        if len(written) > MAX_NATIVE:
            raise ModelError(f"{self._name} gave native state of {len(written):,} bytes: {MAX_NATIVE:,} are the most")
        try:
            return from_json(written) if written else None
        except ValueError as error:
            raise ModelError(f"{self._name} gave native state that cannot be read back: {error}") from error

    @property
    def provider(self) -> str:
        """Whose model it is."""
        return codec.whole(provider_of(self._model))[:256]

    @property
    def _name(self) -> str:
        return f"the model {type(self._model).__name__}"


def _is_block(block: Any) -> bool:
    return isinstance(block, dict) and isinstance(block.get("type"), str)


def _details(value: Any) -> Any:
    written = b"" if value is None else encode(value)
    try:
        return from_json(written) if 0 < len(written) <= MAX_DETAILS else None
    except ValueError:  # a number of thousands of digits is written, and read by nobody
        return None


def _container(value: Any) -> dict[str, Any] | None:
    given: Mapping[Any, Any] = value if isinstance(value, dict) else {}
    named, until = _text(given.get("id")), given.get("until")
    return {"id": named, "until": until} if named and _is_count(until) else None


def _text(value: Any) -> str | None:
    try:
        return None if value is None else codec.whole(str(value))[:256]
    except Exception:  # the answer is whole without it
        return None


def _counted(usage: Any) -> Usage:
    """Return the counts of a usage that are counts; whatever else stands there used nothing."""
    given: Mapping[str, Any] = vars(usage) if isinstance(usage, Usage) else {}
    ours = {name: value for name, value in given.items() if name in Usage.model_fields and _is_count(value)}
    return Usage(**{name: int(value) for name, value in ours.items()})


def _priced(usage: Any, price: Price | None) -> Usage:
    """Return a usage with what it cost; what its provider itself says of that counts."""
    counted = _counted(usage)
    if counted.usd_nanos or price is None:
        return counted
    return counted.model_copy(update={"usd_nanos": price.of(counted)})


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MOST


def _named(value: Any) -> str:
    return type(value).__name__
