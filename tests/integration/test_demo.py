"""The demo holds all its promises, and cleans up after itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.server import ROOT


@pytest.mark.timeout(600)
def test_the_demo_holds_every_promise_and_leaves_nothing_behind(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--svg", str(picture)],
        cwd=ROOT,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 of 11 promises held" in done.stdout
    assert "scripted model answers" in done.stdout
    assert "promises held" in picture.read_text().replace("&#160;", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.svg"]


@pytest.mark.timeout(300)
def test_the_demo_cleans_up_when_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.demo"]
    with subprocess.Popen(command, cwd=ROOT, env=_environment(tmp_path), stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "SIGKILL" in line:
                demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert str(tmp_path).encode() not in environ.read_bytes(), f"{environ} still runs"
        except OSError:
            continue  # ended meanwhile, or somebody else's


def _environment(directory: Path) -> dict[str, str]:
    """The environment without keys and other people's servers; all temporary files go to `directory`."""
    others = re.compile("ANTHROPIC_|TEMPORAL_|INTURN_(?!TEMPORAL|CACHE)|KEEP$")
    env = {name: value for name, value in os.environ.items() if not others.match(name)}
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    return {**env, "TMPDIR": str(directory), "PYTHONPATH": path}
