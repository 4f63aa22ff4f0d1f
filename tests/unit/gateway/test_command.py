"""`inturn gateway` and `inturn keys` as people call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inturn.cli.app import app
from inturn.cli.options import hoisted

RUNNER = CliRunner()


def run(*arguments: str) -> tuple[int, str, str]:
    done = RUNNER.invoke(app, hoisted(arguments))
    return done.exit_code, done.stdout.strip(), done.stderr


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    code, shown, _ = run("keys", "create", "--file", file, "--tenant", "acme", "--scope", "read", "--name", "desk")
    assert code == 0
    assert shown.startswith("ik_")
    code, listed, _ = run("keys", "ls", "--file", file, "--json")
    key = json.loads(listed)
    assert (key["tenant"], key["scopes"], key["name"]) == ("acme", "read", "desk")
    assert shown not in listed
    assert run("keys", "revoke", key["id"], "--file", file)[0] == 0
    assert run("keys", "revoke", key["id"], "--file", file)[0] == 1
    assert run("keys", "ls", "--file", file)[:2] == (0, "")


@pytest.mark.parametrize(
    "wrong",
    [
        ["keys", "create", "--scope", "all"],
        ["keys", "create", "--tenant", "a/b"],
        ["keys", "ls", "--file", "absent.json"],
        ["gateway", "--host", "0.0.0.0"],
        ["gateway", "--keys", "absent.json"],
        ["gateway", "--channels", "absent:channels"],
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(
    wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = run(*wrong)
    assert code == 2
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "keys.json").exists()


def test_it_serves_until_it_is_told_to_stop_and_needs_no_temporal_to_begin(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INTURN_", "TEMPORAL_"))}
    command = [sys.executable, "-m", "inturn", "gateway", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("gateway: http://127.0.0.1:")
            with urllib.request.urlopen(said.split()[1] + "/livez", timeout=30) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
