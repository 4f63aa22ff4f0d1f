"""The messages of one activation, put into an order before anything is done with them.

Rules:
  1. Handlers only post. What is posted is taken together: once all that the activation brought has been posted, and
     before anything else is decided (`take` is called there, too).
  2. Signals come first, as the history has them, then updates, as they were accepted: so a replay delivers them; a
     session that was reset gets them mixed. Nothing else may order them, or a reset session could not be replayed.
  3. But a signal that names an update of its sender's (`after`) comes behind that one, where both came together: what
     one handle sends keeps its order through a reset, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from temporalio.common import RawValue

from inturn import names, sizes
from inturn.decoding import Undecodable, decode

T = TypeVar("T")


@dataclass(slots=True)
class Signalled:
    """A signal, and what takes it."""

    args: Sequence[RawValue]
    take: Callable[[], None]
    """Never raises."""
    size: int

    @property
    def after(self) -> str | None:
        """The update that it names, if any."""
        try:
            named = decode(self.args, sizes.READ_EVENT).get(names.AFTER)
        except Undecodable:
            return None
        return named if isinstance(named, str) else None


@dataclass(slots=True)
class Updated(Generic[T]):
    """An update, and what takes it and gives its answer."""

    key: str
    """Its event or control."""
    answer: Callable[[], T]
    answered: asyncio.Future[T]
    size: int

    def take(self) -> None:
        """Answer it, or refuse it with what was raised."""
        try:
            self.answered.set_result(self.answer())
        except Exception as error:
            self.answered.set_exception(error)


class Mailbox:
    """Holds an activation's messages until all of them have come."""

    def __init__(self) -> None:
        self._signals: list[Signalled] = []
        self._updates: list[Updated[Any]] = []

    def __len__(self) -> int:
        return len(self._signals) + len(self._updates)

    @property
    def events(self) -> tuple[int, int]:
        """How many events are among them, and their bytes."""
        posted = [*(s.size for s in self._signals), *(u.size for u in self._updates)]
        return sum(map(bool, posted)), sum(posted)

    def signal(self, args: Sequence[RawValue], take: Callable[[], None], *, size: int = 0) -> None:
        """Post a signal; `size`: bytes of its event, where it brings one."""
        self._schedule()
        self._signals.append(Signalled(args, take, size))

    async def update(self, key: str, answer: Callable[[], T], *, size: int = 0) -> T:
        """Post an update and return its answer, in the same activation."""
        self._schedule()
        answered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._updates.append(Updated(key, answer, answered, size))
        return await answered

    def take(self) -> None:
        """Take all that was posted, in order."""
        signals, self._signals = self._signals, []
        updates, self._updates = self._updates, []
        for message in in_order(signals, updates):
            message.take()

    def _schedule(self) -> None:
        """Have it taken once all handlers of this activation have begun. As a callback of the loop it is no command."""
        if not len(self):
            asyncio.get_running_loop().call_soon(self.take)


def in_order(signals: Sequence[Signalled], updates: Sequence[Updated[Any]]) -> list[Signalled | Updated[Any]]:
    """Return the messages in the order in which they are taken."""
    if not (signals and updates):
        return [*signals, *updates]
    behind: dict[str, list[Signalled]] = {update.key: [] for update in updates}
    first: list[Signalled | Updated[Any]] = []
    for signal in signals:
        behind.get(signal.after or "", first).append(signal)
    for update in updates:
        first += [update, *behind.pop(update.key, ())]
    return first
