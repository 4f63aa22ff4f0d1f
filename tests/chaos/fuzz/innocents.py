"""Ten sessions that do nothing wrong: how long each of their turns takes, while others are fired at.

Invariant: they are asked at the same pace whatever goes on beside them, so their times can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from inturn import Client, InturnError, Session
from tests.chaos.fuzz.answers import INNOCENT

COUNT: Final = 10
PAUSE: Final = 0.4
"""Seconds between two turns of one."""


@dataclass
class Innocents:
    """Asks them until it is left: `async with innocents.asking(): ...`."""

    client: Client
    slices: list[tuple[str, list[float]]] = field(default_factory=lambda: [("warm", [])])
    """What went on beside them, one after the other, and what the turns took that began meanwhile."""
    failed: list[str] = field(default_factory=list[str])

    def begin(self, phase: str) -> None:
        """Note what goes on beside them from now on."""
        self.slices.append((phase, []))

    def usual(self, phase: str, share: float) -> float:
        """Return a percentile of each slice of a phase, and of these the median; 0 of none."""
        return statistics.median(
            [percentile(took, share) for name, took in self.slices if name == phase and took] or [0]
        )

    @property
    def sessions(self) -> list[Session]:
        """They."""
        return [self.client.session(f"innocent-{n}", agent="fuzzed") for n in range(COUNT)]

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask each of them again and again."""
        tasks = [asyncio.create_task(self._ask(session, n)) for n, session in enumerate(self.sessions)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, session: Session, number: int) -> None:
        await asyncio.sleep(PAUSE * number / COUNT)
        turn = 0
        while True:
            (_, took), began = self.slices[-1], time.perf_counter()
            turn += 1
            try:
                answer = await session.ask(f"{INNOCENT} {turn}", event_id=f"i{turn}", timeout=60)
            except (InturnError, TimeoutError) as error:
                self.failed.append(f"{session.session_id} i{turn}: {type(error).__name__}: {error}")
            else:
                if answer.text != "ok":
                    self.failed.append(f"{session.session_id} i{turn}: answered {answer.text!r}")
                took.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return a percentile, in seconds; 0 of none."""
    ranked = sorted(seconds)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
