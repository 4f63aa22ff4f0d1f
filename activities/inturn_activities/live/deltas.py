"""What the models of a worker say, published as they say it: by one flusher for all of its steps.

Invariant: a preview never slows an answer down and never makes one fail, and what nobody looks at writes nothing. All
streams of a process share their transactions, however many there are, and who begins to look gets all that was said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from inturn.agents import Stream
from inturn.errors import JournalUnavailable
from inturn.journal import Claim, Journal, NewDelta
from inturn.keys import SessionKey, StepKey
from inturn.per_loop import PerLoop
from inturn_activities.live.pen import Pen

logger = logging.getLogger("inturn.worker")

PAUSE: Final = 0.040
"""Seconds between two transactions. What comes after a longer pause is published at once."""
FIRST_LOOK: Final = 0.15
LOOK: Final = 1.0
"""Seconds between two looks at who looks; most answers of a few words have ended before the first."""
KEPT: Final = 2.0
"""Seconds for which rows are kept once their attempt has ended."""
OLD: Final = 3600.0
"""Seconds after which rows are anybody's to delete: their worker died."""
ROWS: Final = 64
"""Rows of one stream in a transaction, and"""
ALL_ROWS: Final = 512
"""of all streams."""


class Deltas:
    """The previews of a worker's steps."""

    def __init__(self, journal: Journal) -> None:
        """Publish in this journal."""
        self._desk = PerLoop(lambda: _Desk(journal))

    @contextmanager
    def written(self, step: StepKey, claim: Claim, stream: Stream) -> Generator[Pen | None]:
        """Publish what the block writes, as its agent allows; `None`: nothing of it."""
        if stream == "never":
            yield None
            return
        desk = self._desk.get()
        pen = desk.open(step, claim, always=stream == "always")
        try:
            yield pen
        finally:
            desk.close(pen)


class _Desk:
    """The pens of one event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._always: set[Pen] = set()
        self._pens: dict[Pen, None] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._ended: dict[SessionKey, int] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._ready = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self, step: StepKey, claim: Claim, *, always: bool) -> Pen:
        pen = Pen(step, claim, live=claim.watched or always, ready=self._wake)
        self._pens[pen] = None
        if always:
            self._always.add(pen)
        if self._looking is None:
            self._looking = self._loop.call_later(FIRST_LOOK, self._look)
        return pen

    def close(self, pen: Pen) -> None:
        pen.give_up()
        del self._pens[pen]
        self._always.discard(pen)
        if pen.published:
            session = pen.step.session
            if not self._ended:
                self._loop.call_later(KEPT, self._forget)
            self._ended[session] = max(pen.fence, self._ended.get(session, 0))

    def _wake(self) -> None:
        """Have what is written published; called with each piece, from any thread."""
        if not self._ready:
            self._ready = True
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        if self._flusher is None:
            self._flusher = self._spawn(self._publish())
            self._flusher.add_done_callback(self._flushed)

    def _flushed(self, _: asyncio.Task[None]) -> None:
        self._flusher = None
        if self._ready:  # a thread wrote as it ended
            self._flush()

    async def _publish(self) -> None:
        """Publish, with a pause after each transaction, until there is nothing to publish."""
        while True:
            self._ready = False
            if not (batch := self._batch()):
                return
            try:
                await self._journal.publish([row for _, rows in batch for row in rows])
            except Exception as error:
                if not isinstance(error, JournalUnavailable):
                    logger.exception("previews could not be published")
                for pen, _ in batch:
                    pen.give_up()
            await asyncio.sleep(PAUSE)

    def _batch(self) -> list[tuple[Pen, list[NewDelta]]]:
        """Take what is next of each stream that somebody looks at; who had to wait comes first the next time."""
        batch: list[tuple[Pen, list[NewDelta]]] = []
        left = ALL_ROWS
        for pen in [pen for pen in self._pens if pen.live]:
            if left > 0 and (rows := pen.take(min(ROWS, left))):
                batch.append((pen, rows))
                left -= len(rows)
                self._pens[pen] = self._pens.pop(pen)
        return batch

    def _look(self) -> None:
        """Look who looks, every now and then while models answer."""
        self._looking = self._loop.call_later(LOOK, self._look) if self._pens else None
        if self._pens:
            self._spawn(self._find_watched())

    async def _find_watched(self) -> None:
        pens = [pen for pen in self._pens if pen not in self._always]
        try:
            watched = await self._journal.watched({pen.step.session for pen in pens})
        except JournalUnavailable:
            return
        for pen in pens:
            pen.live = pen.step.session in watched
        if watched:
            self._wake()

    def _forget(self) -> None:
        ended, self._ended = self._ended, {}
        self._spawn(self._delete(ended))

    async def _delete(self, ended: dict[SessionKey, int]) -> None:
        try:
            await self._journal.forget_deltas(list(ended.items()), age=OLD)
        except JournalUnavailable:
            pass  # whoever claims the session's next step does, or whoever finds them old

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
