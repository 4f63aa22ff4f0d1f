"""The sessions that are looked at here, word by word: workers publish for as long as that is renewed.

Invariant: a process that dies, or a reader that goes away, is watched for a quarter of a minute more and no longer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from inturn.errors import JournalUnavailable
from inturn.keys import SessionKey

if TYPE_CHECKING:
    from inturn.journal import SessionJournal

LEASE: Final = 15.0
RENEWAL: Final = 5.0
"""Seconds."""


class Watching:
    """Watches sessions for everybody in one event loop. Costs nothing while nobody looks."""

    def __init__(self, journal: Callable[[], SessionJournal]) -> None:
        """Write to the journal that this function returns."""
        self._journal = journal
        self._readers: Counter[SessionKey] = Counter()
        self._new: set[SessionKey] = set()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watched(self, session: SessionKey) -> Generator[None]:
        """Watch a session while the block runs."""
        self._readers[session] += 1
        if self._readers[session] == 1:
            self._new.add(session)
            self._arrived.set()
        if self._task is None:
            self._task = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            self._readers[session] -= 1
            self._readers += Counter()  # without those that nobody looks at any more
            if not self._readers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _renew(self) -> None:
        """Watch what is new at once, and all that is looked at every few seconds."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            self._arrived.clear()
            sessions, self._new = self._new, set()
            if clock() >= due:
                sessions, due = set(self._readers), clock() + RENEWAL
            with suppress(JournalUnavailable):  # then the entries alone are seen until it is back
                await self._journal().watch(sessions, seconds=LEASE)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._arrived.wait()
