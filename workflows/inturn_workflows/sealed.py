"""Messages that a worker with keys does not take: they came in clear, or under a key that it does not have.

Invariant: what was decided of a message is decided the same in each replay, whichever keys the worker has by then. That
one was turned away stands in the history as a marker; in a replay the marker alone counts. So a session goes on when
somebody sends it what nobody can read, and what it took before it had keys stays taken. What is noted of it is the
same, too, and so never what it says: with its key here a replay would read that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from inturn import names
from inturn.encryption.payload_codec import CLEAR, LOCKED, UNREADABLE, verdict
from inturn.wire import Exchanged

T = TypeVar("T", bound=Exchanged)

_TURNED_AWAY: Final = {
    CLEAR: "it came in clear, and only what is encrypted is taken (INTURN_ENCRYPTION_KEYS)",
    LOCKED: UNREADABLE,
}
"""What depends on the keys that a worker has; that something is broken is the same for all that have its key."""


class Unreadable(Exception):
    """The session's history has what this worker cannot decrypt: the task fails until one that can takes it."""


class NotTaken(Exception):
    """What a step gave is not by a worker that has the keys."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a signal is not taken."""

    number: int
    """Of the run's signals."""
    reason: str
    readable: bool
    """It came in clear: what it says can be told."""


def turned_away(args: Sequence[RawValue], number: int) -> TurnedAway | None:
    """Return why a signal is not taken; `None` where it is. `number`: of the run's signals.

    Raises:
        Unreadable: It was taken before, by a worker that had its key.
    """
    said, reason = _verdict(args)
    if workflow.unsafe.is_replaying():
        for marked in _TURNED_AWAY:
            if workflow.patched(_marker(marked, number)):
                return TurnedAway(number, _TURNED_AWAY[marked], marked == CLEAR)
        if said == LOCKED:
            raise Unreadable(f"a signal was taken that this worker cannot read: {reason}")
    elif said in _TURNED_AWAY:
        workflow.patched(_marker(said, number))
        return TurnedAway(number, _TURNED_AWAY[said], said == CLEAR)
    return None


def takes_start(start: RawValue) -> bool:
    """Return whether what a session was started with may be read: not what came in clear to a worker with keys."""
    return verdict(start.payload)[0] != CLEAR or not workflow.patched(names.CLEAR_START)


class Results:
    """Which results of a run's steps were not made by a worker with the keys: the step is done again then."""

    def __init__(self) -> None:
        self._questioned = 0

    async def of(self, step: workflow.ActivityHandle[T]) -> T:
        """Return what a step gave.

        Raises:
            NotTaken: It is not by a worker that has the keys.
            ActivityError: It failed.
            Unreadable: It failed, and why is under a key that this worker does not have.
        """
        try:
            result = await step
        except ActivityError as error:
            if not self._takes(getattr(error.cause, "refused", None)):
                raise NotTaken from error
            raise
        if not self._takes(result.refused):
            raise NotTaken
        return result

    def _takes(self, refused: str | None) -> bool:
        """Return whether the next result is taken. `refused`: why it is not to be, as it was decoded here."""
        if refused == LOCKED:
            raise Unreadable("a step failed, and what it says cannot be read by this worker (INTURN_ENCRYPTION_KEYS)")
        if not refused:
            return True
        self._questioned += 1
        return not workflow.patched(names.STRANGE_RESULT.format(number=self._questioned))


def check_update(args: Sequence[RawValue]) -> None:
    """Check that an update may be read.

    Raises:
        ApplicationError: It is refused.
    """
    said, reason = _verdict(args)
    if said:
        raise ApplicationError(reason, type=names.INVALID_EVENT, non_retryable=True)


def check_accepted(args: Sequence[RawValue]) -> None:
    """Check that an update that was accepted can be read here.

    Raises:
        Unreadable: Not by this worker.
    """
    said, reason = _verdict(args)
    if said == LOCKED:
        raise Unreadable(f"an update was accepted that this worker cannot read: {reason}")


def _verdict(args: Sequence[RawValue]) -> tuple[str, str]:
    return next((found for raw in args if (found := verdict(raw.payload))[0]), ("", ""))


def _marker(said: str, number: int) -> str:
    return names.TURNED_AWAY.format(said=said, number=number)
