"""A turn on a terminal, as it goes: the words of its model as they come, and what it does in between.

Invariant: what comes piece by piece stands below what is printed and gives way to it: an answer is printed once, from
its entry. Nothing that somebody said can move the cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from inturn.terminal import clean, one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from inturn.client.session import Session
    from inturn.values import Delta, Entry

QUIET: Final = 1.5
"""Seconds without news after which the session is asked what it waits for, and"""
SELDOM: Final = 12.0
"""after which it is asked again, at most."""
_TAIL: Final = 8_000
"""Characters that are kept of a block's end: the lines that fit are among them."""
_DOES: Final = {
    "turn.started": "asks the model",
    "agent.tool_use": "{tool} runs",
    "approval.requested": "{tool} waits for an approval",
    "approval.answered": "{tool}: {answer}",
    "agent.tool_result": "asks the model",
}


class Screen:
    """What a terminal shows of a turn; `with` it while the turn goes on."""

    def __init__(self, out: Console, shown: Callable[[Entry], None]) -> None:
        """Show on `out`; `shown` prints what an entry has to say."""
        from rich.live import Live

        self._out = out
        self._shown = shown
        self._pieces: dict[int, tuple[str, str]] = {}
        self._does = ""
        self._live = Live(console=out, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take away what was a preview."""
        self._live.stop()

    def take(self, new: Entry | Delta) -> None:
        """Show what came."""
        from inturn.values import Delta

        if isinstance(new, Delta):
            self._add(new)
        else:
            self._print(new)
        self._refresh()

    @contextmanager
    def paused(self) -> Generator[None]:
        """Take away what it shows while the block prints; it comes again below."""
        if not self._live.is_started:
            yield
            return
        self._live.update("", refresh=True)
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def waits(self, does: str) -> None:
        """Show what the turn does or waits for."""
        self._does = one_line(does)
        self._refresh()

    def _add(self, delta: Delta) -> None:
        if delta.kind == "start":
            self._pieces = {}
            return
        if delta.kind == "compacting":
            self._does = "summarises the conversation, to make room"
            return
        _, said = self._pieces.get(delta.block, ("", ""))
        gap = " " if delta.kind == "input" and not said else ""  # behind the tool's name
        self._pieces[delta.block] = (delta.kind, (said + clean(delta.text) + gap)[-_TAIL:])

    def _print(self, entry: Entry) -> None:
        if entry.type == "agent.message" or entry.type.startswith("turn."):
            self._pieces = {}
        said = {name: entry.body.get(name) for name in ("tool", "answer")}
        self._does = one_line(_DOES.get(entry.type, "").format(**said))
        with self.paused():
            self._shown(entry)

    def _refresh(self) -> None:
        self._live.update(self._rendered(), refresh=True)

    def _rendered(self) -> RenderableType:
        """Return the end of what is said, as many lines as fit."""
        from rich.text import Text

        text = Text()
        for _, (kind, said) in sorted(self._pieces.items()):
            style = {"thinking": "dim italic", "input": "magenta"}.get(kind, "")
            text.append("\n" if text else "").append(said.strip("\n"), style)
        if self._does and not self._pieces:
            text.append(f"… {self._does}", "dim")
        lines = text.wrap(self._out, max(self._out.width, 1), overflow="fold")
        return Text("\n").join(lines[-max(self._out.height - 2, 1) :])


async def show(session: Session, event_id: str | None, screen: Screen, *, after: int = 0) -> None:
    """Show a turn, or all of a session, until it ends; in quiet times what it waits for.

    Raises:
        JournalUnavailable: The journal cannot be read.
    """
    news = aiter(session.stream(event_id, after=after))
    while True:
        waiting = asyncio.create_task(_show_waiting(session, screen))
        try:
            new = await anext(news, None)
        finally:
            waiting.cancel()
        if new is None:
            return
        screen.take(new)


async def _show_waiting(session: Session, screen: Screen) -> None:
    """Show what a session waits for, for as long as nothing comes; it is asked seldom where that is long."""
    pause = QUIET
    while True:
        await asyncio.sleep(pause)
        screen.waits(await _doing(session))
        pause = min(pause * 2, SELDOM)


async def _doing(session: Session) -> str:
    """Return what a session does and waits for, as it says; nothing where it does not answer."""
    from inturn.errors import InturnError

    try:
        turn = (await session.status()).turn
    except InturnError:
        return ""
    if turn is None:
        return ""
    waits = f", waits for {turn.waiting_for}" if turn.waiting_for else ""
    tries = f", attempt {turn.attempt}" if turn.attempt > 1 else ""
    return f"{turn.doing}{waits}{tries}"
