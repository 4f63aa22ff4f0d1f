"""What a turn used so far, and the attempt that runs here: answered or not.

Invariant: a budget is checked against what the journal holds, so that no retry, worker or continue-as-new forgets a
cost; and every request is paid from its first word on: one that breaks, or is stopped, counts with what it had used.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from inturn.journal import Journal
from inturn.journal.views.costs import TYPES, usage_of
from inturn.journal.views.turns import entries_of
from inturn.keys import TurnKey
from inturn.models.model import OnUsage
from inturn.turns.budget import counts, total
from inturn.values import Usage
from inturn_activities.telemetry.meters import count_cost


class Meter:
    """The requests of one attempt.

    Attributes:
        models: Whom they asked.
        requests: What each has used so far.
        most: What all of them may cost, in nanodollars.
    """

    def __init__(self) -> None:
        """Begin without a request."""
        self.models: list[str] = []
        self.requests: list[Usage] = []
        self.most: int | None = None
        self._written = 0

    def opened(self, model: str) -> OnUsage:
        """Begin a request; return what takes its usage so far."""
        at = len(self.requests)
        self.models.append(model)
        self.requests.append(Usage())

        def note(usage: Usage) -> None:
            self.requests[at] = usage

        return note

    def answer(self, at: int) -> None:
        """Note which request was answered, where others were made behind it: it counts as the last one."""
        self.models.append(self.models.pop(at))
        self.requests.append(self.requests.pop(at))

    @property
    def unwritten(self) -> dict[str, float]:
        """What requests used of which the ledger has nothing."""
        return _sum(self.requests[self._written :])

    @property
    def unanswered(self) -> dict[str, float]:
        """What all but the last one used: that one was answered, and counts by its answer."""
        return _sum(self.requests[:-1])

    @property
    def all(self) -> dict[str, float]:
        """What all requests used."""
        return _sum(self.requests)

    @property
    def paid(self) -> int:
        """What all requests cost, in nanodollars."""
        return sum(usage.usd_nanos for usage in self.requests)

    def write(self) -> None:
        """Note that the ledger has what all requests used so far: no failure counts it any more."""
        self._written = len(self.requests)


def _sum(usages: Sequence[Usage]) -> dict[str, float]:
    return counts(total(usages))


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
        for model, usage in zip(meter.models, meter.requests, strict=True):
            count_cost(model, usage)


def metering() -> Meter:
    """Return what counts the requests of the attempt that runs here."""
    return _meter.get() or Meter()


async def spent(journal: Journal, turn: TurnKey) -> Usage:
    """Add up the answers of a turn."""
    return usage_of(await entries_of(journal, turn.session, turn.event_id, TYPES))
