"""What a turn used so far, and the attempt that runs here: answered or not.

Invariant: a budget is checked against what the journal holds, so that no retry, worker or continue-as-new forgets a
cost; and every request is paid from its first word on: one that breaks, or is stopped, counts with what it had used.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from inturn.journal import Journal
from inturn.keys import TurnKey
from inturn.models.model import OnUsage
from inturn.turns.budget import add
from inturn.values import Usage

_COUNTED: Final = {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "usd"}


class Meter:
    """The requests of one attempt, each with what it has used so far."""

    def __init__(self) -> None:
        """Begin without a request."""
        self._requests: list[Usage] = []
        self.written: dict[str, float] = {}
        """What requests used whose usage is in the ledger already: the answer counts it, and no failure does."""

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

    def write(self, usage: Mapping[str, float]) -> None:
        """Note that the ledger has the usage of all requests so far."""
        self._requests = [Usage() for _ in self._requests]
        self.written = _together(self.written, usage)

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
    return _together(meter.unanswered, meter.written) if meter is not None else {}


def so_far() -> dict[str, float]:
    """Return what this attempt used so far of which the ledger has nothing."""
    meter = _meter.get()
    return meter.all if meter is not None else {}


def write_down(usage: Mapping[str, float]) -> None:
    """Note that the ledger has what this attempt used so far."""
    if (meter := _meter.get()) is not None:
        meter.write(usage)


def _together(used: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    return {name: used.get(name, 0) + more.get(name, 0) for name in {**used, **more}}


def added(used: Usage, more: Mapping[str, float]) -> Usage:
    """Return a usage with what attempts used that gave no answer: it is no step."""
    return used.model_copy(update={name: getattr(used, name, 0) + value for name, value in more.items()})


async def spent(journal: Journal, turn: TurnKey) -> Usage:
    """Add up the answers of a turn."""
    used = Usage()
    types = ("turn.started", "agent.message")
    async for entry in journal.entries(turn.session, event_id=turn.event_id, types=types):
        if entry.type == "turn.started":
            used = Usage()  # a redriven turn has its own budget
        else:
            used = add(used, Usage.model_validate(entry.body.get("usage", {})))
    return used
