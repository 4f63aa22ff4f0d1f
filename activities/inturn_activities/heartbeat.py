"""The sign of life of a running step, and the way its cancel comes.

Invariant: a step beats from its start to its end, every so often and no more often: each beat is a request to the
server. Only the answer to one can be the cancel, so a step that is known to be stopped beats at once, and again and
again until the cancel is here: its first beat may overtake the workflow's own command.

A beat takes word to the step's next attempt, too: of claims that may have been committed, and whose bodies never began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token, copy_context
from types import TracebackType
from typing import Final, Self

from temporalio import activity

from inturn.journal.log import codec
from inturn.tools.secrets import redact

EARLY: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds after the notice of a stop at which a step beats."""
BEATS_PER_TIMEOUT: Final = 2.5
"""One may be late, or lost, before Temporal takes the worker for dead."""
SAID: Final = 0.5
"""Seconds at least between two beats that say at once what a step begins to wait for."""

_current: ContextVar[Heartbeat | None] = ContextVar("inturn_heartbeat", default=None)


class Heartbeat:
    """`with Heartbeat(…)` in an activity: beats until the block ends. Costs a timer.

    Attributes:
        look: Called with each beat: what watches the step needs no timer of its own.
    """

    def __init__(self, *, every: float) -> None:
        """Beat `every` so many seconds, more often where the step's timeout asks for it."""
        timeout = activity.info().heartbeat_timeout
        self._timeout = timeout.total_seconds() if timeout is not None else float("inf")
        self._every = min(every, self._timeout / BEATS_PER_TIMEOUT)
        self._waiting, self._said = "", float("-inf")
        self._unbegun = _told(activity.info().heartbeat_details)
        self._early: list[asyncio.TimerHandle] = []
        self.look: Callable[[], None] | None = None

    @property
    def stood_still(self) -> bool:
        """Whether this process ever stood still for so long that Temporal took it for dead."""
        return max(self._gap, self._loop.time() - self._last) >= self._timeout

    def hurry(self) -> None:
        """Beat early from now on: the step is told to stop."""
        self._stop_early()
        self._early = [self._loop.call_later(after, self._beat_early, context=self._context) for after in EARLY]

    def waits_for(self, text: str) -> None:
        """Say what the step waits for, which readers of the session's status see; "" once it has it."""
        begins = bool(text) and not self._waiting
        self._waiting = text
        if begins and self._loop.time() - self._said > SAID:
            self._said = self._loop.time()
            self._loop.call_soon(self._beat, context=self._context)

    @property
    def unbegun(self) -> Sequence[str]:
        """Tokens of claims that may stand, and whose bodies never began; at first those that earlier attempts left."""
        return self._unbegun

    @unbegun.setter
    def unbegun(self, tokens: Sequence[str]) -> None:
        self._unbegun = tokens
        if tokens:
            self._beat()

    def __enter__(self) -> Self:
        """Start beating."""
        self._token: Token[Heartbeat | None] = _current.set(self)
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._last, self._gap = self._loop.time(), 0.0
        self._timer = self._loop.call_later(self._every, self._beat_in_time)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop beating."""
        self._timer.cancel()
        self._stop_early()
        _current.reset(self._token)

    def _beat_in_time(self) -> None:
        now = self._loop.time()
        self._last, self._gap = now, max(self._gap, now - self._last)
        self._timer = self._loop.call_later(self._every, self._beat_in_time)
        self._beat()
        if self.look is not None:
            self.look()

    def _beat_early(self) -> None:
        if activity.is_cancelled():
            self._stop_early()
        else:
            self._beat()

    def _stop_early(self) -> None:
        for timer in self._early:
            timer.cancel()
        self._early.clear()

    def _beat(self) -> None:
        waiting = redact(codec.whole(self._waiting)) if self._waiting else ""  # Temporal keeps it
        activity.heartbeat(*([waiting, list(self._unbegun)] if self._unbegun else [waiting] if waiting else []))


def _told(details: Sequence[object]) -> Sequence[str]:
    """Return the tokens that an earlier attempt's last beat named."""
    match details:
        case [str(), list() as tokens]:
            return [token for token in tokens if isinstance(token, str)]
        case _:
            return []


def current() -> Heartbeat | None:
    """Return the heartbeat of the step that runs here, if it is one."""
    return _current.get()


def waits_for(text: str) -> None:
    """Say what the step that runs here waits for; "" once it has it."""
    if (beating := _current.get()) is not None:
        beating.waits_for(text)


def unbegun() -> Sequence[str]:
    """Return the tokens of claims that earlier attempts of this step may have left, whose bodies never began."""
    return [] if (beating := _current.get()) is None else beating.unbegun


def leave_unbegun(*tokens: str) -> None:
    """Tell the next attempt of this step of claims that may stand, whose bodies never began; none: there are none."""
    if (beating := _current.get()) is not None:
        beating.unbegun = tokens
