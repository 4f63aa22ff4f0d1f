"""What a terminal shows of a turn as it goes."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from inturn.cli.live import screen as live
from inturn.cli.live.screen import Screen
from inturn.values import Delta, DeltaKind, Entry
from tests.support.journal import entry

ROOT = Path(__file__).resolve().parents[3]
WITHIN = 30.0
CHAT = """
import asyncio
from datetime import UTC, datetime
from inturn.cli import main
from inturn.client import client as module
from inturn.values import Delta, Entry, Turn

def entry(seq, type_, **body):
    return Entry(seq=seq, type=type_, event_id="e1", at=datetime.now(UTC), body=body, hash="", prev="")

def delta(kind, text, attempt):
    return Delta(event_id="e1", step="0", attempt=attempt, index=0, kind=kind, text=text)

class Session:
    session_id = "s"

    async def ask(self, content, **options):
        self.content, self.ended = content, asyncio.Event()
        await self.ended.wait()
        return Turn(event_id="e1", text="It is sunny", stop_reason="end_turn")

    async def cancel(self, event_id, **options):
        self.ended.set()

    async def wait(self, event_id):
        return Turn(event_id="e1", stop_reason="interrupted")

    async def stream(self, event_id, *, after=0):
        yield entry(1, "turn.started")
        if self.content == "for ever":
            yield delta("start", "", 1)
            yield delta("text", "It rains", 1)
            await self.ended.wait()
            yield entry(2, "turn.interrupted")
            return
        for kind, text, attempt in [("start", "", 1), ("text", "It rains", 1), ("start", "", 2), ("text", "It is", 2)]:
            await asyncio.sleep(0)
            yield delta(kind, text, attempt)
        yield entry(2, "agent.message", content="")
        yield entry(3, "agent.tool_use", tool="look", args={"at": "sky"})
        yield entry(4, "agent.message", content="It is sunny")
        self.ended.set()

class Client:
    def __init__(self, *arguments, **options): ...
    def session(self, *arguments, **options): return Session()
    async def aclose(self): ...

module.Client = Client
main(["chat", "s"])
"""
_CLEARED = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A terminal of 60 columns and 12 lines; `frames` are the previews that stood there, one after the other."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        options: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
        self.out = Console(file=self.file, force_terminal=True, width=60, height=12, **options)
        self.printed: list[str] = []
        self.screen = Screen(self.out, self._print)

    def _print(self, new: Entry) -> None:
        self.printed.append(new.type)
        self.out.print(f"<{new.type}>")

    @property
    def frames(self) -> list[str]:
        return [_STYLE.sub("", frame).strip("\r\n") for frame in _CLEARED.split(self.file.getvalue())]

    def says(self, *texts: str, attempt: int = 1, kind: DeltaKind = "text", block: int = 0) -> None:
        for text in texts:
            self.screen.take(_delta(text, attempt, kind, block))


def _delta(text: str, attempt: int = 1, kind: DeltaKind = "text", block: int = 0) -> Delta:
    return Delta(event_id="e1", step="0", attempt=attempt, index=0, kind=kind, block=block, text=text)


def test_words_stand_there_as_they_come_and_give_way_to_the_entry() -> None:
    terminal = Terminal()
    with terminal.screen:
        terminal.says("", kind="start")
        terminal.says("It ", "is sunny")
        terminal.screen.take(entry(2, "agent.message", {"content": "It is sunny"}))
    frames = terminal.frames
    assert frames.index("It ") < frames.index("It is sunny")
    assert terminal.printed == ["agent.message"]
    assert frames[-1] == ""
    assert "It is sunny" not in frames[frames.index("It is sunny") + 1 :]


def test_a_retried_attempt_clears_the_line() -> None:
    terminal = Terminal()
    with terminal.screen:
        terminal.says("", kind="start")
        terminal.says("It rains")
        terminal.says("", kind="start", attempt=2)
        terminal.says("Sunny", attempt=2)
    assert "Sunny" in terminal.frames
    assert not any("It rains" in frame and "Sunny" in frame for frame in terminal.frames)


def test_calls_and_what_is_waited_for_stand_in_between() -> None:
    terminal = Terminal()
    with terminal.screen:
        terminal.screen.take(entry(1, "turn.started", {}))
        terminal.says("", kind="start")
        terminal.says("refund", '{"cents":900}', kind="input", block=1)
        terminal.screen.take(entry(2, "agent.message", {"content": ""}))
        terminal.screen.take(entry(3, "agent.tool_use", {"tool": "refund"}))
        terminal.screen.waits("run_tool refund, waits for lock order:17")
        terminal.screen.take(entry(4, "approval.requested", {"tool": "refund"}))
    shown = [frame for frame in terminal.frames if frame]
    for expected in (
        "… asks the model",
        'refund {"cents":900}',
        "… refund runs",
        "… run_tool refund, waits for lock order:17",
        "… refund waits for an approval",
    ):
        assert expected in shown, shown


def test_nothing_that_is_said_moves_the_cursor() -> None:
    terminal = Terminal()
    with terminal.screen:
        terminal.says("", kind="start")
        terminal.says("a\x1b[2J\x1b[H\rb")
        terminal.screen.take(entry(1, "agent.tool_use", {"tool": "x\x1b[2Jy"}))
    assert "\x1b[2J" not in terminal.file.getvalue()
    assert "\x1b[H" not in terminal.file.getvalue()


def test_of_a_long_answer_the_end_is_seen() -> None:
    terminal = Terminal()
    with terminal.screen:
        terminal.says("", kind="start")
        terminal.says("\n".join(f"line {n}" for n in range(500)))
    shown, *_ = [frame for frame in terminal.frames if "line 499" in frame]
    assert len(shown.splitlines()) <= 11
    assert "line 480" not in shown


async def test_words_are_shown_while_a_session_does_not_say_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUIET", 0.01)
    terminal, asked = Terminal(), asyncio.Event()

    class Silent:
        async def status(self) -> None:
            asked.set()
            await asyncio.Event().wait()

        async def stream(self, event_id: str | None, *, after: int = 0) -> AsyncIterator[Entry | Delta]:
            yield entry(1, "turn.started", {})
            await asked.wait()
            yield _delta("", kind="start")
            yield _delta("It rains")

    session: Any = Silent()
    with terminal.screen:
        async with asyncio.timeout(WITHIN):
            await live.show(session, "e1", terminal.screen)
    assert "It rains" in terminal.frames


@contextmanager
def _chat() -> Iterator[int]:
    """A chat in a process of its own; yields its terminal."""
    path = os.pathsep.join(filter(None, [str(ROOT / "client"), os.environ.get("PYTHONPATH")]))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm", "COLUMNS": "80"}
    chat = subprocess.Popen(
        [sys.executable, "-c", CHAT], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=_own
    )
    os.close(theirs)
    try:
        assert _read(ours, "> ")
        yield ours
        os.write(ours, b"/quit\n")
        assert chat.wait(WITHIN) == 0
    finally:
        chat.kill()
        os.close(ours)


def test_a_chat_on_a_terminal_shows_words_as_they_come_and_the_answer_once() -> None:
    with _chat() as terminal:
        os.write(terminal, b"how is it?\n")
        frames = [_STYLE.sub("", frame).strip("\r\n") for frame in _CLEARED.split(_read(terminal, "> ", lines=2))]
    for expected in ("It rains", "It is", '→ look {"at":"sky"}', "… look runs"):
        assert expected in frames, frames
    assert not any("It rains" in frame and "It is" in frame for frame in frames)
    assert sum("It is sunny" in frame for frame in frames) == 1


def test_what_a_chat_says_of_an_interrupt_stands_on_lines_of_its_own() -> None:
    with _chat() as terminal:
        os.write(terminal, b"for ever\n")
        _read(terminal, "It rains")
        os.write(terminal, b"\x03")
        frames = [_STYLE.sub("", frame).strip("\r\n") for frame in _CLEARED.split(_read(terminal, "> ", lines=2))]
    [said] = [frame for frame in frames if "interrupting" in frame]
    assert said.splitlines()[0] == "interrupting … (Ctrl-C again leaves)", frames


def _own() -> None:
    """Have a process's terminal be the one that it reads: Ctrl-C there is for it."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs tests in the background ignores it


def _read(terminal: int, end: str, *, lines: int = 0) -> str:
    """Read until that is the end, with so many lines before it at least."""
    until, read = time.monotonic() + WITHIN, ""
    while not (_STYLE.sub("", read).endswith(end) and read.count("\n") >= lines):
        assert select.select([terminal], [], [], until - time.monotonic())[0], read
        read += os.read(terminal, 65_536).decode()
    return read
