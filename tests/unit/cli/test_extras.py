"""Commands of other distributions: listed without an import, found when invoked, explained when they are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from inturn.cli import extras
from inturn.cli.app import app
from inturn.cli.options import Options, hoisted, options_of

seen: list[tuple[Options, str, int]] = []


def probe(ctx: typer.Context, word: str, times: int = 1) -> None:
    """Remember what it was called with."""
    seen.append((options_of(ctx), word, times))


def installed(monkeypatch: pytest.MonkeyPatch, *found: EntryPoint) -> None:
    monkeypatch.setattr(extras, "entry_points", lambda group: found)


def test_help_lists_the_workers_commands_and_imports_neither_them_nor_temporalio() -> None:
    code = (
        "import sys\nfrom inturn.cli.app import app\n"
        "try:\n    app(['--help'])\nfinally:\n"
        "    print([m for m in sys.modules if m.startswith(('temporalio', 'inturn_worker', 'inturn_gateway'))],"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert {"worker", "dev", "gateway", "keys"} <= set(done.stdout.split())
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "extra"), [("worker", "worker"), ("dev", "worker"), ("gateway", "gateway"), ("keys", "gateway")]
)
def test_without_the_extra_a_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    installed(monkeypatch)
    ended = CliRunner().invoke(app, [name, "app:agents"])
    assert ended.exit_code == 2
    assert f"pip install 'inturn[{extra}]'" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--address", "a:1", "--json", "probe", "x", "--times", "3", "--journal=j", "--task-queue", "q"],
        ["probe", "x", "--task-queue", "q", "--times", "3", "--address", "a:1", "--journal", "j", "--json"],
    ],
)
def test_global_options_mean_the_same_before_and_behind_it(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("INTURN_", "TEMPORAL_"))]:
        monkeypatch.delenv(name)
    installed(monkeypatch, EntryPoint("probe", f"{__name__}:probe", extras.GROUP))
    seen.clear()
    ended = CliRunner().invoke(app, hoisted(arguments))
    assert ended.exit_code == 0, ended.output
    [(options, word, times)] = seen
    assert (options.address, options.journal, options.task_queue, options.json) == ("a:1", "j", "q", True)
    assert (word, times) == ("x", 3)


def test_a_command_that_nobody_brings_is_a_mistake_in_the_call() -> None:
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2
