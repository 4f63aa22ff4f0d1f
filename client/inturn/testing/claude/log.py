"""The log of requests: what a test reads to see what the model was really asked.

Invariant: an exchange ends no later than its client could see the end: it is marked before the last bytes are sent,
so two calls that follow each other never look as if they overlapped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel

KEEP_BODIES: Final = 1_000

Outcome = Literal["open", "completed", "rejected", "faulted", "aborted"]


class Exchange(BaseModel):
    """One request and what became of it.

    Attributes:
        number: Counts requests from 1.
        session: `metadata.user_id`, where the request had one.
        outcome: `rejected`: the request was wrong. `faulted`: a fault on demand. `aborted`: the client left.
        status: The HTTP status; 0 while it is open.
        began: Seconds by the server's monotonic clock; `ended` likewise.
        began_at: Seconds since 1970; `ended_at` likewise.
        digest: Of the request's body.
        messages: How many it had.
        text: The last user text, at most 200 characters.
        ignored: How many of them were instructions that the model does not read.
        stop_reason: Of the answer.
        error: Why it was rejected.
        body: The request; kept for the latest requests only, and left out of listings unless asked for.
        answer: The answer's content; likewise.
    """

    number: int
    request_id: str
    session: str | None = None
    outcome: Outcome = "open"
    status: int = 0
    began: float
    ended: float | None = None
    began_at: float
    ended_at: float | None = None
    digest: str = ""
    messages: int = 0
    text: str = ""
    ignored: int = 0
    stop_reason: str | None = None
    error: str | None = None
    usage: dict[str, Any] | None = None
    answer: list[dict[str, Any]] | None = None
    body: Any = None

    def end(self, outcome: Outcome, status: int | None = None) -> None:
        """Mark the end; only the first one counts."""
        if self.ended is None:
            self.outcome = outcome
            self.status = status if status is not None else self.status
            self.ended, self.ended_at = time.monotonic(), time.time()


class Log:
    """All requests since the start or the last reset."""

    def __init__(self, keep_bodies: int = KEEP_BODIES) -> None:
        """Make an empty log that keeps the bodies of the last requests only: a long session's are large."""
        self.exchanges: list[Exchange] = []
        self._count = 0
        self._keep_bodies = keep_bodies

    def begin(self, request_id: str) -> Exchange:
        """Note that a request came."""
        self._count += 1
        made = Exchange(number=self._count, request_id=request_id, began=time.monotonic(), began_at=time.time())
        self.exchanges.append(made)
        if len(self.exchanges) > self._keep_bodies:
            stale = self.exchanges[-self._keep_bodies - 1]
            stale.body = stale.answer = None
        return made

    def clear(self) -> None:
        """Forget them."""
        self.exchanges.clear()


def overlaps(exchanges: Iterable[Exchange]) -> list[tuple[Exchange, Exchange]]:
    """Find pairs of one session's model calls that overlap in time."""
    found: list[tuple[Exchange, Exchange]] = []
    latest: dict[str, Exchange] = {}
    for exchange in sorted(exchanges, key=lambda e: e.began):
        if exchange.session is None or exchange.outcome == "rejected":
            continue
        earlier = latest.get(exchange.session)
        if earlier is not None and (earlier.ended is None or exchange.began < earlier.ended):
            found.append((earlier, exchange))
        if earlier is None or (earlier.ended is not None and (exchange.ended or float("inf")) >= earlier.ended):
            latest[exchange.session] = exchange
    return found
