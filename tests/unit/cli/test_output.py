"""Output never decides how a command ends: what it did is done, whether that can be shown or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASKED = """
import json
import os
import sys
from inturn.cli import main
from inturn.client import client as module
from inturn.values import Turn

class Session:
    async def ask(self, content, **options):
        print("paid", file=sys.stderr)
        return Turn(event_id="e1", text=text, stop_reason="end_turn")
    wait = ask

class Client:
    def __init__(self, *arguments, **options): ...
    def session(self, *arguments, **options): return Session()
    async def aclose(self): ...

module.Client = Client
for number, (text, arguments, to) in enumerate(json.loads(sys.argv[1])):
    if not os.fork():
        os.dup2(os.open(to or f"{number}.out", os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(f"{number}.err", os.O_WRONLY | os.O_CREAT), 2)
        main(arguments)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
"""Each command is a process of its own, of one that has loaded all that they need: to load it takes half a second."""
ENCODINGS: Final = ("ascii", "latin-1", "cp1252", "utf-8")
TEXTS: Final = ("grüße 世界 🎉", "half \ud800 of it", "plain")
ODD: Final = ("grüße 世界 🎉", "\x9b31m\x1b[2J\u202e", "half \ud800")
FULL: Final = "/dev/full"


@dataclass(frozen=True)
class Command:
    """One whose turn says a text."""

    text: str
    arguments: tuple[str, ...]
    to: str | None = None


@dataclass(frozen=True)
class Ended:
    code: int
    out: bytes
    err: str


ASKS: Final = {text: Command(text, ("ask", "s", "hi")) for text in TEXTS}
JSON: Final = {text: Command(text, ("--json", "ask", "s", "hi")) for text in ODD}
TO_FULL: Final = {name: Command("hello", (name, "s", "hi"), FULL) for name in ("ask", "wait")}
EVERY: Final = (*ASKS.values(), *JSON.values(), *(TO_FULL.values() if Path(FULL).exists() else ()))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Command, str], Ended]:
    """Return how a command ended where output has an encoding."""

    @cache
    def all_of(encoding: str) -> dict[Command, Ended]:
        directory = tmp_path_factory.mktemp("output")
        path = os.pathsep.join(filter(None, [str(ROOT / "client"), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONPATH": path}
        commands = json.dumps([[command.text, command.arguments, command.to] for command in EVERY])
        done = subprocess.run(
            [sys.executable, "-c", ASKED, commands], capture_output=True, env=environment, cwd=directory, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        codes = map(int, done.stdout.split())
        return {
            command: Ended(
                code,
                b"" if command.to else (directory / f"{number}.out").read_bytes(),
                (directory / f"{number}.err").read_text("utf-8", "replace"),
            )
            for number, (command, code) in enumerate(zip(EVERY, codes, strict=True))
        }

    return lambda command, encoding: all_of(encoding)[command]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_cannot_be_shown_ends_no_turn_that_was_paid(
    ended: Callable[[Command, str], Ended], encoding: str, text: str
) -> None:
    done = ended(ASKS[text], encoding)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    assert "paid" in done.err
    assert done.out.strip()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ODD)
def test_json_stays_json_in_every_encoding(ended: Callable[[Command, str], Ended], encoding: str, text: str) -> None:
    done = ended(JSON[text], encoding)
    assert done.code == 0, done.err
    assert json.loads(done.out.decode(encoding))["text"] == text
    assert b"\x1b" not in done.out


@pytest.mark.skipif(not Path(FULL).exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(("command", "expected"), [("ask", 0), ("wait", 1)])
def test_a_full_disk_fails_what_only_reads_and_nothing_that_was_done(
    ended: Callable[[Command, str], Ended], command: str, expected: int
) -> None:
    done = ended(TO_FULL[command], "utf-8")
    assert (done.code, "Traceback" in done.err) == (expected, False), done.err
    assert "could not be written" in done.err
