"""chat: a session line by line, its answers word by word.

Invariant: every line is an event of its own; Ctrl-C takes back the one that was asked last, never what others sent.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

from inturn.cli.live.screen import Screen, show
from inturn.cli.live.tail import summary
from inturn.cli.options import AgentName, Options, SessionId, options_of
from inturn.cli.output import console, line, note, report, say
from inturn.cli.running import make_client, reported
from inturn.cli.talk import named, new_event_id
from inturn.sizes import clip
from inturn.terminal import one_line

if TYPE_CHECKING:
    from inturn.client.session import Session
    from inturn.values import Entry, Turn

_HELP: Final = "/help"
_QUIT: Final = ("/quit", "/exit")
_COMMANDS: Final = (
    (_HELP, "lists these"),
    (" or ".join(_QUIT), "leaves; so does the end of the input (Ctrl-D)"),
    ("Ctrl-C", "takes back the line asked last, waiting or running; twice leaves"),
    ("anything else", "is an event of its own; its answer follows"),
)
_PROMPT: Final = "> "
_DONE: Final = {"agent.tool_use": "→", "agent.tool_result": "←", "tool.progress": "·"}
_WIDE: Final = 400
"""Bytes that are shown of a call or its result."""
_LATE: Final = 2.0
"""Seconds for which a turn's last entries may come after its answer."""


def chat(ctx: typer.Context, session: SessionId, agent: AgentName = None) -> None:
    """Talk to a session: a line, its answer, a line … Ctrl-C interrupts the turn, /help lists what else there is."""
    options = options_of(ctx)
    with reported(options), asyncio.Runner() as runner:
        client = make_client(options)
        try:
            _Chat(runner, client.session(session, agent=agent), options).run()
        finally:
            runner.run(client.aclose())


@dataclass
class _Chat:
    # Lines are read outside the event loop, so that the terminal's own editing and Ctrl-C work at the prompt.
    runner: asyncio.Runner
    session: Session
    options: Options
    said: str | None = None
    """What was printed last of the running turn's answers."""
    screen: Screen | None = None
    """What the running turn is shown on."""

    def run(self) -> None:
        if sys.stdin.isatty():
            with suppress(ImportError):
                import_module("readline")  # line editing and history for input()
            note("/help lists the commands, Ctrl-C interrupts the running turn")
        while (text := self._read()) is not None:
            command = text.strip()
            if command in _QUIT:
                return
            if command == _HELP:
                _help()
            elif command:
                self._answer(text)

    def _read(self) -> str | None:
        try:
            return input(_PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            return None

    def _answer(self, text: str) -> None:
        from inturn.cli import failures
        from inturn.errors import InvalidEvent, Refused, TurnFailed

        try:
            turn = self.runner.run(self._turn(text))
        except (TurnFailed, Refused, InvalidEvent) as error:  # this line's own; the next one may do
            report(self.options, failures.described(error), failures.to_do(error))
        else:
            self._show(turn)

    async def _turn(self, text: str) -> Turn:
        event_id = new_event_id()
        with named(self.session.session_id, event_id):
            async with self._shown_live(event_id):
                return await self._asked(text, event_id)

    async def _asked(self, text: str, event_id: str) -> Turn:
        try:
            return await self.session.ask(text, event_id=event_id, source="cli")
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            with self.screen.paused() if self.screen else nullcontext():
                note("interrupting … (Ctrl-C again leaves)")
            # By its id, waiting or running: what others sent stays.
            await self.session.cancel(event_id, reason="Ctrl-C in chat")
            return await self.session.wait(event_id)

    @asynccontextmanager
    async def _shown_live(self, event_id: str) -> AsyncGenerator[None]:
        """Show the turn as it goes while the block waits for its end; on a terminal."""
        self.said = self.screen = None
        if self.options.json or not console().is_terminal:
            yield
            return
        showing = asyncio.create_task(self._follow(event_id))
        try:
            yield
            await asyncio.wait({showing}, timeout=_LATE)
        finally:
            showing.cancel()
            await asyncio.wait({showing})

    async def _follow(self, event_id: str) -> None:
        from inturn.errors import JournalUnavailable

        with Screen(console(), self._print) as screen, suppress(JournalUnavailable):  # then the answer alone is shown
            self.screen = screen
            await show(self.session, event_id, screen)

    def _print(self, entry: Entry) -> None:
        """Print what an entry has to say to whoever reads along."""
        partial = entry.body.get("partial")
        said = entry.text if entry.type == "agent.message" else partial if entry.type == "turn.interrupted" else None
        if said:
            self.said = said
            say(said)
        elif entry.type in _DONE:
            note(clip(f"{_DONE[entry.type]} {one_line(summary(entry))}", _WIDE))
        elif entry.type == "approval.requested":
            answer = f"inturn approve {self.session.session_id} {entry.body.get('approval_id')}"
            note(f"{entry.body.get('tool')} waits for an approval; elsewhere: {answer}", style="yellow")

    def _show(self, turn: Turn) -> None:
        if self.options.json:
            line(turn)
            return
        if turn.text and turn.text != self.said:
            say(turn.text)
        if turn.stop_reason != "end_turn":
            note(f"({turn.stop_reason})", style="yellow")


def _help() -> None:
    for command, effect in _COMMANDS:
        note(f"{command:<15} {effect}")
