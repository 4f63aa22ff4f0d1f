"""Ten sessions that do nothing wrong: how long each of their turns takes, while others are fired at.

Invariant: they are asked at the same pace whatever goes on beside them, so their times can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """What their turns took, by what went on beside them."""
    failed: list[str] = field(default_factory=list[str])
    phase: str = "warm"

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
            phase, began = self.phase, time.perf_counter()
            turn += 1
            try:
                answer = await session.ask(f"{INNOCENT} {turn}", event_id=f"i{turn}", timeout=60)
            except (InturnError, TimeoutError) as error:
                self.failed.append(f"{session.session_id} i{turn}: {type(error).__name__}: {error}")
            else:
                if answer.text != "ok":
                    self.failed.append(f"{session.session_id} i{turn}: answered {answer.text!r}")
                self.seconds.setdefault(phase, []).append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return a percentile, in seconds; 0 of none."""
    ranked = sorted(seconds)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
