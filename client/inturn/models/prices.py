"""What models cost: exact, in whole numbers.

Invariant: money is never a float here. A price is in millionths of a US dollar for a million tokens, which is a
picodollar for one; what a request costs is rounded up once, to whole nanodollars, so no sum of requests is below what
they cost. A model of which nobody knows the price has none: nothing is guessed from another one's.

`prices.json` holds what was known on its date; `scripts/prices` renews it. Users' own prices win over it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from inturn.errors import Misconfigured
from inturn.values import Usage

_PICOS: Final = 1_000
"""Of a nanodollar."""
_MICROS: Final = 10**6
_DATED: Final = re.compile(r"-(?:\d{8}|latest)$")
_RATES: Final = ("input", "output", "read", "write", "write_1h")


@dataclass(frozen=True, slots=True)
class Tier:
    """What tokens cost in a request whose prompt is longer than `above`, in picodollars each.

    Attributes:
        input: Of the prompt, neither read from the cache nor written to it.
        read: Of the prompt, read from the cache.
        write: Of the prompt, written to the cache for five minutes.
        write_1h: The same, for an hour.
    """

    above: int
    input: int
    output: int
    read: int
    write: int
    write_1h: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs.

    Attributes:
        tiers: By the length of the prompt, in order; the first is above 0. None: it costs nothing.
        search: A search of the web, in picodollars.
    """

    tiers: tuple[Tier, ...] = ()
    search: int = 0

    def of(self, usage: Usage) -> int:
        """Return what one request cost, in nanodollars."""
        hour = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
        tier = self._tier(usage.prompt_tokens)
        picos = usage.searches * self.search
        if tier is not None:
            picos += usage.input_tokens * tier.input + usage.output_tokens * tier.output
            picos += usage.cache_read_tokens * tier.read
            picos += (usage.cache_write_tokens - hour) * tier.write + hour * tier.write_1h
        return _up(picos)

    def kept_for(self, ttl: Literal["5m", "1h"]) -> Price:
        """Return what it costs at worst where prompts stay in the cache for so long."""
        if ttl == "5m":
            return self
        return replace(self, tiers=tuple(replace(tier, write=max(tier.write, tier.write_1h)) for tier in self.tiers))

    def worst(self, prompt: int, output: int) -> int:
        """Return the most that a request may cost, in nanodollars: all of its prompt is written to the cache."""
        tier = self._tier(prompt)
        return 0 if tier is None else _up(prompt * max(tier.write, tier.input) + output * tier.output)

    def affordable(self, prompt: int, nanos: int) -> int | None:
        """Return the longest answer that such a prompt leaves money for; `None`: any, it costs nothing."""
        tier = self._tier(prompt)
        if tier is None or not tier.output:
            return None if self.worst(prompt, 0) <= nanos else 0
        return max(nanos * _PICOS - prompt * max(tier.write, tier.input), 0) // tier.output

    def _tier(self, prompt: int) -> Tier | None:
        return next((tier for tier in reversed(self.tiers) if prompt > tier.above or not tier.above), None)


FREE: Final = Price()
"""Of what costs nothing, such as the scripted model."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What models cost, by name.

    Attributes:
        models: As users name them.
        as_of: When that was so.
        source: Who said so.
    """

    models: Mapping[str, Price] = field(default_factory=dict[str, Price])
    as_of: str = ""
    source: str = ""

    def find(self, model: str) -> Price | None:
        """Return what a model costs: by its name, with or without a date behind it; `None`: nobody knows.

        A platform's name for it is another one: platforms have prices of their own.
        """
        return self.models.get(model) or self.models.get(_DATED.sub("", model))

    def over(self, others: Prices) -> Prices:
        """Return these, and others for what is not among them."""
        source = f"{self.source} over {others.source}" if self.models else others.source
        return Prices({**others.models, **self.models}, others.as_of, source)

    @classmethod
    def read(cls, text: str) -> Prices:
        """Read prices as `prices.json` has them, in US dollars for a million tokens and for 1,000 searches.

        Raises:
            ValueError: They are not of that form.
        """
        try:
            told = json.loads(text, parse_float=Decimal)
            models = {str(name): _price(model) for name, model in told["models"].items()}
            return cls(models, str(told.get("as_of", "")), str(told.get("source", "")))
        except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


@cache
def known_prices() -> Prices:
    """Return the prices that inturn knows."""
    return Prices.read(files("inturn.models").joinpath("prices.json").read_text())


def prices_of(path: str | None) -> Prices:
    """Return the prices of a file over those that inturn knows.

    Raises:
        Misconfigured: It cannot be read.
    """
    if path is None:
        return known_prices()
    try:
        own = Prices.read(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"the prices in {path} cannot be read: {error}. Write them as inturn/models/prices.json has them: "
            '{"models": {"NAME": {"tiers": [{"above": 0, "input": 2, "output": 10, "read": 0.1, "write": 2.5, '
            '"write_1h": 4}], "search": 10}}}'
        ) from error
    return Prices(own.models, own.as_of, own.source or path).over(known_prices())


def _price(told: Mapping[str, Any]) -> Price:
    made = [Tier(int(tier["above"]), *(_picos(tier[name]) for name in _RATES)) for tier in told["tiers"]]
    tiers = tuple(sorted(made, key=lambda tier: tier.above))
    if tiers and tiers[0].above != 0:
        raise ValueError("the first tier must be above 0")
    return Price(tiers, _picos(told.get("search", 0)) * 1_000)  # of one, from those of 1,000


def _picos(usd: Any) -> int:
    """Return what a token costs, from the dollars for a million; what is no whole number is rounded up."""
    amount = Decimal(str(usd))
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{usd} is no price")
    return int((amount * _MICROS).to_integral_value(ROUND_CEILING))


def _up(picos: int) -> int:
    return -(-picos // _PICOS)
