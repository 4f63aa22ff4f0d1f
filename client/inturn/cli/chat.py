"""chat: a session line by line.

Invariant: every line is an event of its own; Ctrl-C takes back the one that was asked last, never what others sent.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

from inturn.cli.options import AgentName, Options, SessionId, options_of
from inturn.cli.output import line, note, report, say
from inturn.cli.running import make_client, reported
from inturn.cli.talk import named, new_event_id

if TYPE_CHECKING:
    from inturn.client.session import Session
    from inturn.values import Turn

_HELP: Final = "/help"
_QUIT: Final = ("/quit", "/exit")
_COMMANDS: Final = (
    (_HELP, "lists these"),
    (" or ".join(_QUIT), "leaves; so does the end of the input (Ctrl-D)"),
    ("Ctrl-C", "takes back the line asked last, waiting or running; twice leaves"),
    ("anything else", "is an event of its own; its answer follows"),
)
_PROMPT: Final = "> "


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
            try:
                return await self.session.ask(text, event_id=event_id, source="cli")
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
                note("interrupting … (Ctrl-C again leaves)")
                # By its id, waiting or running: what others sent stays.
                await self.session.cancel(event_id, reason="Ctrl-C in chat")
                return await self.session.wait(event_id)

    def _show(self, turn: Turn) -> None:
        if self.options.json:
            line(turn)
            return
        if turn.text:
            say(turn.text)
        if turn.stop_reason != "end_turn":
            note(f"({turn.stop_reason})", style="yellow")


def _help() -> None:
    for command, effect in _COMMANDS:
        note(f"{command:<15} {effect}")
