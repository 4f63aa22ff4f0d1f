"""One look at a journal for everybody in a process who follows it, or runs steps that others may stop.

Invariant: every entry comes once and in order, whichever process wrote it, and so do previews of answers to those who
ask for them; and nothing is looked at while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakSet, WeakValueDictionary

from inturn.client.watching import Watching
from inturn.errors import JournalUnavailable
from inturn.journal.values import DeltaPlace, DeltaRow, News
from inturn.keys import SessionKey, StepKey
from inturn.per_loop import PerLoop
from inturn.values import Entry

if TYPE_CHECKING:
    from inturn.journal import SessionJournal

BUSY_PAUSE: Final = 0.030
"""Seconds between two looks while something happens, and the shortest ever."""
READING_PAUSE: Final = 0.050
"""The same where each look has to read: no number says that nothing was committed."""
QUIET_PAUSE: Final = 0.100
"""Seconds between two looks while nothing does. Who begins to wait is not kept waiting for that."""
QUIET_AFTER: Final = 1.0
"""Seconds without news that are quiet."""


Found = tuple[int, list[DeltaRow]]
"""A session's head, and rows of its previews behind a place."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """Somebody who waits for entries of a session behind a seq, or for rows of its previews behind a place."""

    session: SessionKey
    after: int
    place: DeltaPlace | None
    found: asyncio.Future[Found]
    looked: bool = False


class Hub:
    """What follows a journal, for everybody in one event loop."""

    def __init__(self, journal: SessionJournal) -> None:
        """Follow this journal, once somebody waits."""
        self.journal = journal
        self.watching = Watching(lambda: self.journal)
        self._others: WeakSet[SessionJournal] = WeakSet()
        """Connections of others in this process to the same database: their owners may close them at any time."""
        self._waiters: set[_Waiter] = set()
        self._stop_listeners: set[Callable[[StepKey], None]] = set()
        self._stopped: set[tuple[StepKey, float]] = set()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, journal: SessionJournal) -> Hub:
        """Return what follows the journal's database in this event loop, for as long as somebody keeps it."""
        hubs = _hubs.get()
        hub = hubs.get(journal.name)
        if hub is None:
            hub = hubs[journal.name] = cls(journal)
        elif hub.journal is not journal:
            hub._others.add(journal)
        return hub

    async def wait(self, session: SessionKey, *, after: int) -> int:
        """Wait until a session has entries behind `after`; return its head then.

        Raises:
            JournalUnavailable: The journal cannot be read. Waiting again is safe.
        """
        head, _ = await self._found(session, after, None)
        return head

    async def news(self, session: SessionKey, *, after: int, place: DeltaPlace | None) -> Found:
        """Wait for entries behind `after`, or rows of previews behind `place`; return the head then, and those rows.

        Raises:
            JournalUnavailable: As `wait`.
        """
        return await self._found(session, after, place)

    async def _found(self, session: SessionKey, after: int, place: DeltaPlace | None) -> Found:
        waiter = _Waiter(session, after, place, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        self._arrived.set()
        task = self._watched()
        try:
            return await waiter.found
        except asyncio.CancelledError:
            if self._waiters == {waiter} and not self._stop_listeners:
                task.cancel()
                self._task = None
            raise
        finally:
            self._waiters.discard(waiter)

    def on_stops(self, listener: Callable[[StepKey], None]) -> None:
        """Call `listener` for each step that some process writes to be stopped, until `off_stops`."""
        self._stop_listeners.add(listener)
        self._watched()

    def off_stops(self, listener: Callable[[StepKey], None]) -> None:
        """Call `listener` no more."""
        self._stop_listeners.discard(listener)

    async def entries(
        self, session: SessionKey, *, after: int = 0, event_id: str | None = None, types: Sequence[str] = ()
    ) -> AsyncGenerator[Entry, None]:
        """Yield a session's entries behind `after`, then each new one as it is committed, for ever.

        Args:
            session: Whose entries.
            after: The seq behind which to begin.
            event_id: Only this event's entries.
            types: Only entries of these types.

        Raises:
            JournalUnavailable: The journal cannot be read; following on from the last entry is safe.
        """
        while True:
            head = await self.wait(session, after=after)
            async for entry in self.journal.entries(session, after=after, event_id=event_id, types=types):
                after = entry.seq
                yield entry
            after = max(after, head)

    def _watched(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        return self._task

    async def _watch(self) -> None:
        """Look until nobody waits."""
        clock = asyncio.get_running_loop().time
        version: int | None = None
        news_at = clock()
        while self._waiters or self._stop_listeners:
            self._arrived.clear()
            try:
                before, version = version, await self.journal.version()
                if await self._look(everywhere=version is None or version != before):
                    news_at = clock()
            except Exception as error:
                version = None
                self._fail(error)
            await asyncio.sleep(BUSY_PAUSE if version is not None else READING_PAUSE)
            if clock() - news_at > QUIET_AFTER or not self._waiters:
                with suppress(TimeoutError):
                    async with asyncio.timeout(QUIET_PAUSE - BUSY_PAUSE):
                        await self._arrived.wait()

    async def _look(self, *, everywhere: bool) -> bool:
        """Read the heads that may be new to somebody; return whether one was."""
        due = [waiter for waiter in self._waiters if everywhere or not waiter.looked]
        after: dict[SessionKey, int] = {}
        places: dict[SessionKey, DeltaPlace] = {}
        for waiter in due:
            after[waiter.session] = min(waiter.after, after.get(waiter.session, waiter.after))
            if waiter.place is not None:
                places[waiter.session] = min(waiter.place, places.get(waiter.session, waiter.place))
        since = max((at for _, at in self._stopped), default=0.0) if self._stop_listeners and everywhere else None
        if not after and since is None:
            return False
        news = await self.journal.look(after, since, places)
        if since is not None:
            self._tell(news.stopped)
        for waiter in due:
            waiter.looked = True
            self._answer(waiter, news)
        return bool(news.heads or news.deltas)

    def _answer(self, waiter: _Waiter, news: News) -> None:
        """Give somebody what is news to them, if anything is."""
        head, rows = news.heads.get(waiter.session, 0), list[DeltaRow]()
        if waiter.place is not None:
            rows = [row for row in news.deltas.get(waiter.session, ()) if (row.fence, row.index) > waiter.place]
        if (head > waiter.after or rows) and not waiter.found.done():
            waiter.found.set_result((max(head, waiter.after), rows))

    def _tell(self, stopped: Sequence[tuple[StepKey, float]]) -> None:
        """Tell of the stops that no earlier look found."""
        fresh = [step for step, at in stopped if (step, at) not in self._stopped]
        self._stopped = set(stopped)
        for listener in tuple(self._stop_listeners):
            for step in fresh:
                listener(step)

    def _fail(self, error: Exception) -> None:
        """Look through another connection, if there is one: this one may be closed, and nobody need know.

        Else raise what went wrong to everybody, each an exception of their own: tracebacks are not to be shared.
        """
        if self._others:
            self.journal = self._others.pop()
            return
        for waiter in self._waiters:
            if not waiter.found.done():
                own = JournalUnavailable(str(error))
                own.__cause__ = error
                waiter.found.set_exception(own)


_hubs: Final = PerLoop(WeakValueDictionary[str, Hub])
