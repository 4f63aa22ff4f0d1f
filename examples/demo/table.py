"""The board: what the sessions do, live on a terminal and as plain lines elsewhere.

Invariant: it shows what `session.status()` and `session.stream()` say, and nothing that the demo knows better.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.checks import Check
from examples.demo.producers import SESSIONS, Producers
from examples.demo.words import Words
from inturn import Client, InturnError, SessionStatus

REFRESH: Final = 0.25
"""Seconds."""
LAST: Final = 60
"""How many characters of an answer's end are shown while it comes."""
STATES: Final = {"running": "green", "idle": "dim", "requires_action": "bold yellow", "paused": "yellow"}


@dataclass
class Board:
    """What is on show."""

    client: Client
    producers: Producers
    words: Words
    console: Console
    statuses: dict[str, SessionStatus] = field(default_factory=dict)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    frame: Table | None = None

    def tell(self, text: str) -> None:
        """Put something on the timeline."""
        self.timeline.append((time.monotonic() - self.began, text))
        if not self.console.is_terminal:
            print(f"{self.timeline[-1][0]:5.1f} s  {text}", flush=True)

    async def show(self) -> None:
        """Follow the sessions until cancelled."""
        async with asyncio.TaskGroup() as group:
            for session_id in SESSIONS:
                group.create_task(self._follow(session_id))
            group.create_task(self.words.watch())
            group.create_task(self._draw() if self.console.is_terminal else self._print())

    async def keep_frame(self) -> None:
        """Keep the sessions' table for the summary, as it is when the next words come, within two seconds."""
        self.words.come.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self.words.come.wait()
        self.frame = self.sessions(f"as it was at {time.monotonic() - self.began:.1f} s: ")

    def sessions(self, when: str = "") -> Table:
        """Return the sessions' table."""
        sent = self.producers.sent
        title = f"{when}{len(sent.events)} events sent by 4 producers, {sent.repeated} of them delivered twice"
        table = Table(title=title, title_justify="left", expand=True, box=box.SIMPLE_HEAD)
        for name, width in (("session", 10), ("state", 15), ("waiting", 7), ("done", 4)):
            table.add_column(name, min_width=width, justify="right" if name in ("waiting", "done") else "left")
        table.add_column("now", ratio=1, no_wrap=True)
        for session_id in SESSIONS:
            table.add_row(session_id, *self._row(self.statuses.get(session_id), self.words.now.get(session_id, "")))
        return table

    def story(self) -> RenderableType:
        """Return the timeline."""
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column()
        for at, text in self.timeline:
            table.add_row(f"{at:.1f} s", Text(text, style="bold red" if "SIGKILL" in text else ""))
        return table

    def _row(self, status: SessionStatus | None, words: str) -> tuple[RenderableType, str, str, RenderableType]:
        if status is None:
            return Text("-", style="dim"), "", "", ""
        state = Text(status.state, style=STATES.get(status.state, ""))
        if status.health != "ok":
            state = Text(f"{status.state} ({status.health})", style="bold red")
        now = Text(f"{status.turn.event_id}: " if status.turn else "")
        if words:
            now.append(f"{words[-LAST:]}▌", style="cyan")
        elif status.turn:
            now.append(status.turn.doing)
            if status.turn.waiting_for:
                now.append(f", waiting for {status.turn.waiting_for}")
        return state, str(len(status.queue) or ""), str(status.counts.get("applied", 0)), now

    async def _follow(self, session_id: str) -> None:
        while True:
            with suppress(InturnError):  # not there yet, or nobody to ask for a moment
                self.statuses[session_id] = await self.client.session(session_id).status()
            await asyncio.sleep(REFRESH)

    async def _draw(self) -> None:
        with Live(console=self.console, refresh_per_second=4, get_renderable=self._frame, transient=True):
            await asyncio.Event().wait()

    def _frame(self) -> RenderableType:
        return Group(self.sessions(), self.story())

    async def _print(self) -> None:
        while True:
            await asyncio.sleep(2.0)
            done = sum(status.counts.get("applied", 0) for status in self.statuses.values())
            waiting = sum(len(status.queue) for status in self.statuses.values())
            at = time.monotonic() - self.began
            print(f"{at:5.1f} s  {len(self.producers.sent.events)} sent, {done} done, {waiting} waiting", flush=True)


def verdicts(checks: list[Check]) -> Table:
    """Return the checks' table."""
    title = "checked against the journal, the server's histories and the shop"
    table = Table(title=title, title_justify="left", expand=True, box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("promise", no_wrap=True)
    table.add_column("found", ratio=1)
    for check in checks:
        mark = Text("✓", style="bold green") if check.ok else Text("✗", style="bold red")
        table.add_row(mark, check.name, check.found)
    return table
