"""What the attempt that runs here has used of models so far, answered or not.

Invariant: every request is paid from its first word on: one that breaks, or is stopped, counts with what it had used.
"""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from inturn.models.model import OnUsage
from inturn.turns.budget import add
from inturn.values import Usage

_COUNTED = {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "usd"}


class Meter:
    """The requests of one attempt, each with what it has used so far."""

    def __init__(self) -> None:
        """Begin without a request."""
        self._requests: list[Usage] = []

    def opened(self) -> OnUsage:
        """Begin a request; return what takes its usage so far."""
        at = len(self._requests)
        self._requests.append(Usage())

        def note(usage: Usage) -> None:
            self._requests[at] = usage

        return note

    @property
    def all(self) -> dict[str, float]:
        """What all requests used."""
        return self._sum(self._requests)

    @property
    def unanswered(self) -> dict[str, float]:
        """What all but the last one used: that one was answered, and counts by its answer."""
        return self._sum(self._requests[:-1])

    @staticmethod
    def _sum(usages: list[Usage]) -> dict[str, float]:
        total = functools.reduce(add, usages, Usage())
        return total.model_dump(include=_COUNTED, exclude_defaults=True)


_meter: ContextVar[Meter | None] = ContextVar("inturn_meter", default=None)


@contextmanager
def metered() -> Generator[Meter]:
    """Count what models use in the block."""
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def paying() -> OnUsage:
    """Return what takes the usage of a request that begins here."""
    meter = _meter.get() or Meter()
    return meter.opened()


def unanswered() -> dict[str, float]:
    """Return what this attempt used beside its answer."""
    meter = _meter.get()
    return meter.unanswered if meter is not None else {}
