"""Output never decides how a command ends: what it did is done, whether that can be shown or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ASKED = """
import sys
from inturn.cli import main
from inturn.client import client as module
from inturn.values import Turn

class Session:
    async def ask(self, content, **options):
        print("paid", file=sys.stderr)
        return Turn(event_id="e1", text=TEXT, stop_reason="end_turn")
    wait = ask

class Client:
    def __init__(self, *arguments, **options): ...
    def session(self, *arguments, **options): return Session()
    async def aclose(self): ...

module.Client = Client
main(sys.argv[1:])
"""


def ended(text: str, *arguments: str, encoding: str = "utf-8", to: str | None = None) -> tuple[int, bytes, str]:
    """Run a command whose turn says a text; return its exit code, what it printed, and what it noted."""
    code = ASKED.replace("TEXT", ascii(text))
    path = os.pathsep.join(filter(None, [str(ROOT / "client"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONPATH": path}
    with open(to or os.devnull, "wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=file if to else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            check=False,
        )
    return done.returncode, done.stdout or b"", done.stderr.decode("utf-8", "replace")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("text", ["grüße 世界 🎉", "half \ud800 of it", "plain"])
def test_a_text_that_cannot_be_shown_ends_no_turn_that_was_paid(encoding: str, text: str) -> None:
    code, out, err = ended(text, "ask", "s", "hi", encoding=encoding)
    assert (code, "Traceback" in err) == (0, False), err
    assert "paid" in err
    assert out.strip()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["grüße 世界 🎉", "\x9b31m\x1b[2J\u202e", "half \ud800"])
def test_json_stays_json_in_every_encoding(encoding: str, text: str) -> None:
    code, out, err = ended(text, "--json", "ask", "s", "hi", encoding=encoding)
    assert code == 0, err
    assert json.loads(out.decode(encoding))["text"] == text
    assert b"\x1b" not in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(("command", "expected"), [("ask", 0), ("wait", 1)])
def test_a_full_disk_fails_what_only_reads_and_nothing_that_was_done(command: str, expected: int) -> None:
    code, _, err = ended("hello", command, "s", "hi", to="/dev/full")
    assert (code, "Traceback" in err) == (expected, False), err
    assert "could not be written" in err
