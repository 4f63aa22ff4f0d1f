"""What is built can be installed, and works where nothing of the checkout is: as a user's machine has it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.dev import DevProcess, environment, processes_in
from tests.support.processes.server import ROOT

APP = """
from inturn import Agent
from workflows import name
agents = [Agent(name, model="claude-sonnet-5-5", instructions="Be brief.")]
"""


def interpreter(version: str) -> str | None:
    """A Python of that version that starts."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    held = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{version}"), *sorted(held.glob(f"{version}*/bin/python"))):
        probe = [str(candidate), "-c", f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"]
        if candidate and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All distributions, built as `make dist` does."""
    out = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [ROOT / "scripts/dist", out],
        env={**os.environ, "VENV": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    kinds = sorted(path.name.partition("-")[0] + path.suffix for path in out.iterdir())
    names = ("inturn", "inturn_gateway", "inturn_worker")
    assert kinds == [f"{name}.{kind}" for name in names for kind in ("gz", "whl")]
    return out


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_a_user_installs_runs_dev_asks_kills_and_asks_again(version: str, wheels: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    home, directory = tmp_path / "environment", tmp_path / "mine"
    subprocess.run([python, "-m", "venv", "--without-pip", str(home)], check=True)
    inturn = home / "bin" / "inturn"
    _pip(home, "--require-hashes", "-r", str(ROOT / "requirements.txt"))

    _users_repository(directory)
    _pip(home, "--no-index", "--find-links", str(wheels), "inturn")
    for command in ("worker", "dev"):
        done = _run(inturn, directory, command, "app:agents")
        assert done.returncode == 2
        assert done.stderr.strip().endswith("pip install 'inturn[worker]'")

    _pip(home, "--no-index", "--find-links", str(wheels), "inturn[worker,gateway]")
    assert _run(inturn, directory, "keys", "create", "--file", "keys.json").stdout.startswith("ik_")
    assert _run(inturn, directory, "gateway", "--host", "0.0.0.0").returncode == 2
    assert _run(inturn, directory, "worker", "absent:agents").returncode == 2
    with DevProcess(directory, inturn=[str(inturn)]) as dev:
        worker = dev.ready()["worker"]
        assert worker["agents"] == "mine"
        assert dev.ask("hello", "one") == "You said: one"
        os.kill(int(worker["pid"]), signal.SIGKILL)
        assert dev.ask("hello", "two") == "You said: two"
        dev.until("reloaded")
        assert dev.end() == 0
    assert processes_in(directory) == []


def _users_repository(directory: Path) -> None:
    for package in ("workflows", "activities"):
        (directory / package).mkdir(parents=True)
        (directory / package / "__init__.py").write_text('name = "mine"\n')
    (directory / "app.py").write_text(APP)


def _pip(home: Path, *arguments: str) -> None:
    """Install there, as a pip of its own would."""
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    command = [*pip, "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _run(inturn: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [inturn, *arguments], cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
